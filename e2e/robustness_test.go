//go:build root

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/internal/footprint"
)

// alone gives a test the server for itself, in another mode, and returns it to
// the others as it was.
func alone(t *testing.T, m mode) *client {
	t.Helper()
	if shared.external {
		t.Skip("this test restarts the server, and this one is not ours")
	}
	t.Cleanup(func() {
		if err := shared.restartAs(defaultMode); err != nil {
			t.Fatal(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := shared.api.deleteAll(ctx); err != nil {
		t.Fatal(err)
	}
	if err := shared.restartAs(m); err != nil {
		t.Fatal(err)
	}
	return shared.api
}

func restart(t *testing.T, m mode) {
	t.Helper()
	if err := shared.startAs(m); err != nil {
		t.Fatal(err)
	}
}

// A process that counts, and where it says which one it is.
const counter = `cat > /tmp/count.sh <<'END'
i=0
while :; do i=$((i+1)); echo $i > /tmp/count.new; mv /tmp/count.new /tmp/count; sleep 0.1; done
END
setsid nohup bash /tmp/count.sh >/dev/null 2>&1 &
echo $! > /tmp/count.pid
until [ -s /tmp/count ]; do sleep 0.05; done`

// identity prints the process and when it was started; 22 is "starttime".
const identity = `p=$(cat /tmp/count.pid); echo $p $(cut -d' ' -f22 /proc/$p/stat)`

// TestKillKeepsSandboxes kills the server under running sandboxes.
func TestKillKeepsSandboxes(t *testing.T) {
	for _, isolation := range []string{"gvisor", "runc"} {
		t.Run(isolation, func(t *testing.T) {
			m := mode{isolation: isolation}
			api := alone(t, m)
			type box struct {
				sandbox
				identity, count string
			}
			var boxes []box
			for range 3 {
				b := box{sandbox: mustCreate(t, api, nil)}
				if r := mustExec(t, api, b.ID, counter); r.ExitCode != 0 {
					t.Fatalf("starting the counter: %+v", r)
				}
				b.identity = mustExec(t, api, b.ID, identity).Result
				b.count = mustExec(t, api, b.ID, "cat /tmp/count").Result
				boxes = append(boxes, b)
			}
			before, err := shared.host().Processes()
			if err != nil {
				t.Fatal(err)
			}

			shared.kill()

			during, err := shared.host().Processes()
			if err != nil {
				t.Fatal(err)
			}
			if len(during) < len(before) {
				t.Errorf("of %d processes %d went with the server", len(before), len(before)-len(during))
			}
			restart(t, m)
			for _, b := range boxes {
				sb, err := api.get(t.Context(), b.ID)
				if err != nil || sb.State != "started" {
					t.Errorf("sandbox %s after the restart: %+v, %v", b.ID, sb, err)
					continue
				}
				if got := mustExec(t, api, b.ID, identity).Result; got != b.identity {
					t.Errorf("the counting process was %q and is %q", b.identity, got)
				}
				progress := fmt.Sprintf("for i in $(seq 100); do [ $(cat /tmp/count) -gt %s ] && exit 0; sleep 0.1; done; exit 1", strings.TrimSpace(b.count))
				if r := mustExec(t, api, b.ID, progress); r.ExitCode != 0 {
					t.Errorf("the counting process stands still at %s", b.count)
				}
				if err := api.do(t.Context(), "POST", "/sandbox/"+b.ID+"/stop", nil, nil); err != nil {
					t.Errorf("stopping: %v", err)
				}
			}
		})
	}
}

// TestKillAtRandomPoints kills the server at random points of creates and
// deletes. What was acknowledged is there, and in the end nothing is left.
func TestKillAtRandomPoints(t *testing.T) {
	for _, isolation := range []string{"gvisor", "runc"} {
		t.Run(isolation, func(t *testing.T) {
			m := mode{isolation: isolation, warm: 1}
			api := alone(t, mode{isolation: isolation})
			before, err := look(shared)
			if err != nil {
				t.Fatal(err)
			}
			if err := shared.restartAs(m); err != nil {
				t.Fatal(err)
			}

			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			ledger := &ledger{alive: map[string]bool{}}
			rounds := 0
			for end := time.Now().Add(30 * time.Second); time.Now().Before(end); rounds++ {
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() { ledger.churn(ctx, api) })
				}
				time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond) // the random point
				shared.kill()
				cancel()
				wg.Wait()
				restart(t, m)
			}
			t.Logf("%d kills, %d sandboxes acknowledged, %d deletes acknowledged", rounds, ledger.created, ledger.deleted)
			if ledger.created == 0 || ledger.deleted == 0 {
				t.Error("nothing was created or deleted between the kills")
			}

			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			for id := range ledger.alive {
				if _, err := api.waitFor(ctx, id, "started"); err != nil {
					t.Errorf("an acknowledged sandbox is lost: %v", err)
				} else if r, err := api.exec(ctx, id, "echo here", 20); err != nil || r.Result != "here\n" {
					t.Errorf("sandbox %s does not answer: %+v, %v", id, r, err)
				}
			}
			if err := api.settled(ctx); err != nil {
				t.Error(err)
			}
			if err := api.deleteAll(ctx); err != nil {
				t.Fatal(err)
			}
			if err := shared.restartAs(mode{isolation: isolation}); err != nil { // drops the warm one
				t.Fatal(err)
			}
			nothingMore(t, before)
		})
	}
}

// ledger remembers what the server has acknowledged.
type ledger struct {
	mu               sync.Mutex
	alive            map[string]bool
	created, deleted int
}

// churn creates sandboxes, keeps a third and deletes the others, until the
// server or the round ends.
func (l *ledger) churn(ctx context.Context, api *client) {
	for n := 0; ; n++ {
		sb, err := api.create(ctx, nil)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.alive[sb.ID] = true
		l.created++
		keep := len(l.alive) <= 4
		l.mu.Unlock()
		if keep {
			continue
		}
		// From here on it may be there or not.
		l.mu.Lock()
		delete(l.alive, sb.ID)
		l.mu.Unlock()
		if api.delete(ctx, sb.ID) != nil {
			return
		}
		l.mu.Lock()
		l.deleted++
		l.mu.Unlock()
	}
}

// settled waits until no sandbox is on its way from one state to another.
func (c *client) settled(ctx context.Context) error {
	for {
		all, err := c.list(ctx)
		if err != nil {
			return err
		}
		busy := ""
		for _, sb := range all {
			switch sb.State {
			case "started", "stopped", "error":
			default:
				busy = sb.ID + " is " + sb.State
			}
		}
		if busy == "" {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("sandbox %s: %w", busy, err)
		}
	}
}

// nothingMore waits until the host looks as it did before.
func nothingMore(t *testing.T, before footprint.Footprint) {
	t.Helper()
	// A sandbox of the pool that was on offer when the server was killed stays
	// for a minute: the row that names it may have been written.
	for deadline := time.Now().Add(100 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		now, err := look(shared)
		if err != nil {
			t.Fatal(err)
		}
		more := before.More(now)
		if len(more) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind:\n%s", strings.Join(more, "\n"))
		}
	}
}
