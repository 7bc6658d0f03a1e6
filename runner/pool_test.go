package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
)

// TestManyClaimsAtOnce has 200 callers ask for a sandbox of a pool of three at
// once: three get one each, and of the rest those that go on get new ones.
func TestManyClaimsAtOnce(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, func(c *runner.Config) { c.Warm, c.Registerer = map[string]int{snapshot: 3}, reg })
	stop := w.running()
	eventually(t, "the pool is full", func() bool { return len(w.Waiting()) == 3 })
	stop() // no fourth one
	const callers, cold = 200, 3
	var mu sync.Mutex
	offered := map[string]int{}
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range callers {
		wg.Go(func() {
			<-begin
			s := spec()
			s.ID = ""
			if id, ok := w.Reserve(t.Context(), s); ok {
				mu.Lock()
				offered[id]++
				mu.Unlock()
			}
		})
	}
	close(begin)
	wg.Wait()
	if len(offered) != 3 {
		t.Fatalf("%d sandboxes offered, want 3: %v", len(offered), offered)
	}
	for id, n := range offered {
		if n != 1 {
			t.Errorf("%s was offered %d times", id, n)
		}
	}
	// Each is claimed by many at once, of several organizations: one gets it.
	for id := range offered {
		var got, refused int
		for i := range 10 {
			wg.Go(func() {
				s := spec()
				s.ID, s.OrgID = id, fmt.Sprint("org", i)
				_, err := w.Create(t.Context(), s)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					got++
				case fault.Is(err, fault.Conflict):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got != 1 || refused != 9 {
			t.Errorf("%s went to %d of 10 owners, %d were refused", id, got, refused)
		}
	}
	// The burst goes on past the pool.
	for range cold {
		wg.Go(func() {
			if sb, err := w.Create(t.Context(), spec()); err != nil || sb.Warm || sb.State != runnerapi.StateRunning {
				t.Errorf("past the pool: %+v, %v", sb, err)
			}
		})
	}
	wg.Wait()
	if hit, miss := sum(t, reg, "runner_warm_offers_total", "hit"), sum(t, reg, "runner_warm_offers_total", "miss"); hit != 3 || miss != callers-3 {
		t.Errorf("%v hits and %v misses are counted, want 3 and %d", hit, miss, callers-3)
	}
}

// sum adds up the series of a metric that have a label of the value.
func sum(t *testing.T, reg *prometheus.Registry, name, value string) (total float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == value {
					total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return total
}

// TestPoolBySize holds sandboxes of two sizes of one snapshot.
func TestPoolBySize(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, func(c *runner.Config) {
		c.Warm, c.Registerer = map[string]int{snapshot: 1, snapshot + "@2-1-4": 1}, reg
	})
	stop := w.running()
	defer stop()
	eventually(t, "both pools are full", func() bool { return len(w.Waiting()) == 2 })
	large := func(s *runnerapi.Spec) { s.CPU, s.MemoryMiB, s.DiskMiB = 2, 1024, 4096 }
	s := spec(large)
	s.ID = w.reserve(s)
	if sb := w.create(s); !sb.Warm {
		t.Error("it was not claimed")
	}
	if _, ok := w.Reserve(t.Context(), spec(func(s *runnerapi.Spec) { s.ID, s.CPU = "", 3 })); ok {
		t.Error("a size that no pool has is offered")
	}
	eventually(t, "both are full again", func() bool { return len(w.Waiting()) == 2 })
	for _, pool := range []string{snapshot, snapshot + "@2-1-4"} {
		if ready, target := sum(t, reg, "runner_warm_ready", pool), sum(t, reg, "runner_warm_target", pool); ready != 1 || target != 1 {
			t.Errorf("pool %s: depth %v of %v", pool, ready, target)
		}
	}
	for _, bad := range []string{"", "@1-1-1", "x@", "x@1", "x@1-2", "x@1-2-0", "x@a-b-c", "x@1-2-3-4"} {
		if _, err := runner.Open(t.Context(), runner.Config{
			Dir: t.TempDir(), Drivers: []runner.Driver{w.driver}, Roots: w.roots, Network: w.net, Toolbox: toolbox, Warm: map[string]int{bad: 1},
		}); err == nil {
			t.Errorf("pool %q was accepted", bad)
		}
	}
}

// TestPoolIsDrained removes what waits when its snapshot is gone, and offers none
// of a snapshot that has changed, even before that.
func TestPoolIsDrained(t *testing.T) {
	w := newWorld(t, withOne)
	stop := w.running()
	eventually(t, "the pool is full", func() bool { return len(w.Waiting()) == 1 })
	stop()
	s := spec()
	s.ID = ""
	if err := w.roots.RemoveImage(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
	if id, ok := w.Reserve(t.Context(), s); ok {
		t.Errorf("%s is offered although its snapshot is gone", id)
	}
	stop = w.running()
	defer stop()
	eventually(t, "the pool is drained", func() bool { return len(pids(t, w.driver)) == 0 })
}

// TestUnwellIsNotHandedOut stops the toolbox of a waiting sandbox, so that it
// runs and does not answer.
func TestUnwellIsNotHandedOut(t *testing.T) {
	w := newWorld(t, withOne)
	stop := w.running()
	defer stop()
	s := spec()
	s.ID = w.reserve(s)
	before := pids(t, w.driver)[s.ID]
	if err := unix.Kill(-before, unix.SIGSTOP); err != nil { // the toolbox and what it has started
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(-before, unix.SIGCONT) }) // it may be gone
	eventually(t, "every thread has stopped", func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", before))
		if err != nil || len(stats) == 0 {
			return false
		}
		for _, stat := range stats {
			text, err := os.ReadFile(stat)
			if err != nil || !strings.Contains(string(text), ") T ") {
				return false
			}
		}
		return true
	})
	if sb := w.create(s); sb.State != runnerapi.StateRunning {
		t.Errorf("%+v", sb)
	}
	if after := pids(t, w.driver)[s.ID]; after == before {
		t.Error("a sandbox that does not answer was handed out")
	}
	if _, out := w.run(s.ID, "echo fine"); out != "fine" {
		t.Errorf("the sandbox: %q", out)
	}
}
