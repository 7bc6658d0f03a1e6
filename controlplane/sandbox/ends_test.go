package sandbox_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/sandbox"
	"daytona/internal/chunkstore"
	"daytona/internal/fault"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) has(parts ...string) bool {
	for line := range strings.Lines(l.text()) {
		ok := true
		for _, p := range parts {
			ok = ok && strings.Contains(line, p)
		}
		if ok {
			return true
		}
	}
	return false
}

// TestEveryEndHasOneCause ends a sandbox in each way there is. Its row tells the
// one cause with the evidence, and so does the log.
func TestEveryEndHasOneCause(t *testing.T) {
	byItself := func(cause runnerapi.Cause, state runnerapi.State) func(*world, *sandbox.Manager, string) {
		return func(w *world, _ *sandbox.Manager, id string) {
			w.runner.End(id, state, runnerapi.End{Cause: cause, Evidence: "seen by the runner: " + string(cause), At: time.Now()})
		}
	}
	for cause, c := range map[string]struct {
		end      func(w *world, m *sandbox.Manager, id string)
		to       sandbox.State
		evidence string
	}{
		"user": {func(w *world, m *sandbox.Manager, id string) {
			_, err := m.Stop(w.ctx, w.org, id, false)
			w.must(err)
		}, sandbox.Stopped, "stop was called"},
		"idle":          {func(w *world, _ *sandbox.Manager, _ string) { w.pass(16 * time.Minute) }, sandbox.Stopped, "auto-stop after 15 min"},
		"exit":          {byItself(runnerapi.CauseExit, runnerapi.StateStopped), sandbox.Stopped, "seen by the runner: exit"},
		"out_of_memory": {byItself(runnerapi.CauseOutOfMemory, runnerapi.StateStopped), sandbox.Stopped, "seen by the runner: out_of_memory"},
		"pids":          {byItself(runnerapi.CausePids, runnerapi.StateStopped), sandbox.Stopped, "seen by the runner: pids"},
		"disk_full":     {byItself(runnerapi.CauseDiskFull, runnerapi.StateStopped), sandbox.Stopped, "seen by the runner: disk_full"},
		"host_lost":     {func(w *world, _ *sandbox.Manager, id string) { w.runner.Lose(id) }, sandbox.Error, "missing on its runner"},
		"quota": {func(w *world, m *sandbox.Manager, _ string) {
			_, err := m.StopAll(w.ctx, w.org, "the organization was suspended: unpaid")
			w.must(err)
		}, sandbox.Stopped, "suspended: unpaid"},
		"start_failed": {func(w *world, m *sandbox.Manager, id string) {
			_, err := m.Stop(w.ctx, w.org, id, false)
			w.must(err)
			w.runner.On("Start", func(context.Context, string) error { return fault.New(fault.Unprocessable, "no such program") })
			_, err = m.Start(w.ctx, w.org, id)
			w.must(err)
		}, sandbox.Error, "no such program"},
	} {
		t.Run(cause, func(t *testing.T) {
			w := newWorld(t)
			log := &lines{}
			m := sandbox.NewManager(sandbox.Config{
				Store: w.db, Runners: w.fleet, Snapshots: w.images, Images: w.made, Regions: fleet.NewRegions(w.db, "us", "us"),
				Archives: &chunkstore.Store{Bucket: w.bucket, Limit: time.Second, Pause: time.Millisecond, Attempts: 1},
				Log:      slog.New(slog.NewTextHandler(log, nil)), Metrics: prometheus.NewRegistry(), AnswerWithin: 10 * time.Second,
				Resync: 20 * time.Millisecond, Now: w.now,
			})
			t.Cleanup(m.Close)
			w.run(m)
			sb, err := m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{}, "")
			w.must(err)
			c.end(w, m, sb.ID)
			got := w.wait(sb.ID, c.to)
			if got.EndCause != cause || !strings.Contains(got.EndEvidence, c.evidence) || got.EndedAt == nil {
				t.Errorf("the row says %q (%s) at %v", got.EndCause, got.EndEvidence, got.EndedAt)
			}
			// The log is written after the row.
			for deadline := time.Now().Add(20 * time.Second); !log.has(sb.ID, "cause="+cause, c.evidence); time.Sleep(2 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the log does not tell:\n%s", log.text())
				}
			}
		})
	}
}
