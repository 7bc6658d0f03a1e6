package runner_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/rootfs"
)

func withOne(c *runner.Config) { c.Warm = map[string]int{snapshot: 1} }

// running runs the background work until the returned function is called.
func (w *world) running() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	return func() { cancel(); <-done }
}

// reserve waits for a sandbox of the pool.
func (w *world) reserve(s runnerapi.Spec) (id string) {
	w.t.Helper()
	s.ID = ""
	eventually(w.t, "a warm sandbox is offered", func() (ok bool) {
		id, ok = w.Reserve(w.t.Context(), s)
		return ok
	})
	return id
}

func TestClaim(t *testing.T) {
	w := newWorld(t, withOne)
	stop := w.running()
	s := spec(func(s *runnerapi.Spec) {
		s.Env = map[string]string{"GREETING": "hello"}
		s.Network.BlockAll = true
	})
	s.ID = w.reserve(s)
	stop() // no second one
	if list, _ := w.List(t.Context()); len(list) != 0 {
		t.Errorf("a sandbox of the pool is listed: %+v", list)
	}
	if _, err := w.Inspect(t.Context(), s.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a sandbox of the pool can be seen: %v", err)
	}
	if rec := w.request("GET", s.ID, "/version", ""); rec.Code != 404 {
		t.Errorf("a sandbox of the pool can be used: %d", rec.Code)
	}
	if _, err := w.Start(t.Context(), s.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a sandbox of the pool can be started: %v", err)
	}
	if _, ok := w.Reserve(t.Context(), s); ok {
		t.Error("one sandbox is offered twice")
	}
	before := pids(t, w.driver)
	if !w.driver.Background(s.ID) {
		t.Error("a sandbox of the pool takes processor time that others want")
	}
	if sb := w.create(s); !sb.Warm {
		t.Error("it was not claimed")
	}
	if w.driver.Background(s.ID) {
		t.Error("a claimed sandbox gets only the processor time that no other wants")
	}
	if after := pids(t, w.driver); len(after) != 1 || after[s.ID] != before[s.ID] {
		t.Errorf("processes before %v, after %v", before, after)
	}
	if _, out := w.run(s.ID, "echo $GREETING $DAYTONA_SANDBOX_ID $DAYTONA_ORGANIZATION_ID"); out != "hello "+s.ID+" org" {
		t.Errorf("identity: %q", out)
	}
	if policy, err := w.net.Policy(s.ID); err != nil || !policy.BlockAll {
		t.Errorf("network policy: %+v %v", policy, err)
	}
	other := s
	other.OrgID = "another"
	if _, err := w.Create(t.Context(), other); !fault.Is(err, fault.Conflict) {
		t.Errorf("claim by another organization: %v", err)
	}
	if err := w.Delete(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()
}

func TestReserveFitsOnly(t *testing.T) {
	w := newWorld(t, withOne)
	stop := w.running()
	defer stop()
	eventually(t, "the pool is filled", func() bool { return len(pids(t, w.driver)) == 1 })
	for name, change := range map[string]func(*runnerapi.Spec){
		"snapshot": func(s *runnerapi.Spec) { s.Snapshot = big },
		"cpu":      func(s *runnerapi.Spec) { s.CPU = 2 },
		"memory":   func(s *runnerapi.Spec) { s.MemoryMiB = 2048 },
		"disk":     func(s *runnerapi.Spec) { s.DiskMiB = 1 << 14 },
		"user":     func(s *runnerapi.Spec) { s.User = "root" },
	} {
		if id, ok := w.Reserve(t.Context(), spec(change)); ok {
			t.Errorf("another %s, and still %s is offered", name, id)
		}
	}
	w.reserve(spec(func(s *runnerapi.Spec) { s.User, s.CPU, s.Env = "daytona", 1, map[string]string{"A": "b"} }))
}

func TestPoolIsRefilledAndRenewed(t *testing.T) {
	w := newWorld(t, func(c *runner.Config) { c.Warm = map[string]int{snapshot: 2} })
	stop := w.running()
	defer stop()
	s := spec()
	s.ID = w.reserve(s)
	w.create(s)
	eventually(t, "the pool is full again", func() bool { return len(pids(t, w.driver)) == 3 })
	old := pids(t, w.driver)
	// A new image under the same name: what was booted from the old one goes.
	w.roots.SetImage(rootfs.Image{Name: snapshot, Digest: "sha256:new"})
	w.create(spec(func(n *runnerapi.Spec) { n.ID = w.reserve(*n) })) // wakes the worker
	eventually(t, "every waiting sandbox is new", func() bool {
		now := pids(t, w.driver)
		same := 0
		for id := range now {
			if _, ok := old[id]; ok {
				same++
			}
		}
		return len(now) == 4 && same == 1 // the one that was claimed before
	})
}

func TestWarmSandboxThatDied(t *testing.T) {
	w := newWorld(t, withOne)
	stop := w.running()
	defer stop()
	s := spec()
	s.ID = w.reserve(s)
	if err := w.driver.End(s.ID, runnerapi.End{Cause: runnerapi.CauseOutOfMemory}); err != nil {
		t.Fatal(err)
	}
	w.create(s) // whoever was promised it gets one all the same
	if _, out := w.run(s.ID, "echo $DAYTONA_SANDBOX_ID"); out != s.ID {
		t.Errorf("identity: %q", out)
	}
}

func TestClaimThatFailsBootsAnew(t *testing.T) {
	w := newWorld(t, withOne)
	stop := w.running()
	s := spec()
	s.ID = w.reserve(s)
	stop()
	w.net.Fail("SetPolicy", errors.New("broken"))
	if sb := w.create(s); sb.Warm {
		t.Error("it was claimed without its network policy")
	}
	if _, out := w.run(s.ID, "echo $DAYTONA_SANDBOX_ID"); out != s.ID {
		t.Errorf("identity: %q", out)
	}
}

func TestPoolAfterRestart(t *testing.T) {
	w := newWorld(t, withOne)
	stop := w.running()
	s := spec()
	id := w.reserve(s)
	stop()
	w.close()
	kept := reopen(t, w.dir, withOne)
	if _, ok := kept.Reserve(t.Context(), s); ok {
		t.Error("a reservation was forgotten over the restart")
	}
	s.ID = id
	if sb := kept.create(s); !sb.Warm {
		t.Error("the reserved sandbox was not adopted")
	}
	stop = kept.running()
	kept.reserve(spec())
	stop()
	kept.close()

	// Another toolbox: sandboxes of the pool go, those in use stay.
	program, err := os.ReadFile(toolbox)
	if err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(t.TempDir(), "toolbox")
	if err := os.WriteFile(newer, append(program, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	last := reopen(t, w.dir, func(c *runner.Config) { c.Toolbox = newer })
	if now := pids(t, last.driver); len(now) != 1 || now[id] == 0 {
		t.Errorf("after the upgrade there are %v, want %s alone", now, id)
	}
	if _, out := last.run(id, "echo fine"); out != "fine" {
		t.Errorf("the sandbox in use: %q", out)
	}
	programs, _ := os.ReadDir(filepath.Join(w.dir, "runner", "toolbox"))
	if len(programs) != 2 {
		t.Errorf("%d toolbox programs kept, want the new one and the one in use", len(programs))
	}
}
