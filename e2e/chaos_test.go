//go:build root

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"daytona/e2e/chaos"
)

// TestChaos is the short form of "make chaos": without a disk of its own that
// could be filled, and without PostgreSQL.
func TestChaos(t *testing.T) {
	alone(t, mode{isolation: "gvisor"})
	s := &breakable{shared, mode{isolation: "gvisor", warm: 1}}
	report, err := chaos.Run(t.Context(), chaos.Config{
		URL: shared.api.url, Key: shared.api.key, Snapshot: snapshot, Server: s, Host: shared.host(),
		Seed: uint64(time.Now().UnixNano()), For: 45 * time.Second, Every: 3 * time.Second, Workers: 3, Boxes: 2,
		Drain: func(context.Context) error { return shared.restartAs(mode{isolation: "gvisor"}) },
		Say:   t.Logf,
	})
	var text strings.Builder
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Violations {
		t.Error(v)
	}
	if operations, faults := report.Total(); operations < 20 || faults < 3 || report.Files == 0 {
		t.Errorf("only %d operations, %d faults and %d files: nothing was shown", operations, faults, report.Files)
	}
}

// breakable is the shared server, started again in another mode.
type breakable struct {
	*server
	mode mode
}

func (b *breakable) Kill()                       { b.kill() }
func (b *breakable) Start(context.Context) error { return b.startAs(b.mode) }
func (b *breakable) PID() int                    { return b.cmd.Process.Pid }
