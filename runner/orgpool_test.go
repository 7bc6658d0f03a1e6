package runner_test

import (
	"testing"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
)

// of is the spec of a sandbox of an organization, without an id.
func of(org string) runnerapi.Spec {
	return spec(func(s *runnerapi.Spec) { s.ID, s.OrgID = "", org })
}

func (w *world) pools(asked ...runnerapi.Pool) []runnerapi.PoolState {
	w.t.Helper()
	states, err := w.SetPools(w.t.Context(), asked)
	if err != nil {
		w.t.Fatal(err)
	}
	return states
}

func poolFor(org, snapshot string, target int) runnerapi.Pool {
	return runnerapi.Pool{ID: "pool-of-" + org + "-" + snapshot, Target: target, Spec: runnerapi.Spec{OrgID: org, Snapshot: snapshot}}
}

// What waits for one organization no other gets, and the organization gets it
// before what waits for everybody.
func TestPoolOfAnOrganization(t *testing.T) {
	w := newWorld(t, nil)
	stop := w.running()
	mine := poolFor("acme", snapshot, 1)
	eventually(t, "the pool is full", func() bool { return w.pools(mine)[0] == runnerapi.PoolState{ID: mine.ID, Ready: 1} })
	stop()
	waiting := w.Waiting()
	if id, ok := w.Reserve(t.Context(), of("org")); ok {
		t.Fatalf("%s is offered to another organization", id)
	}
	if id, ok := w.Reserve(t.Context(), of("")); ok {
		t.Fatalf("%s is offered to nobody in particular", id)
	}
	// Who knows the id does not get it, either.
	stolen := of("org")
	stolen.ID = waiting[0]
	if sb, err := w.Create(t.Context(), stolen); err == nil && sb.Warm || err != nil && !fault.Is(err, fault.Conflict) {
		t.Errorf("another organization claimed it: %+v, %v", sb, err)
	}
	stop = w.running()
	defer stop()
	eventually(t, "the pool is full again", func() bool { return w.pools(mine)[0].Ready == 1 })
	s := of("acme")
	s.ID = w.reserve(s)
	if sb := w.create(s); !sb.Warm {
		t.Error("its own organization did not get it")
	}
	if _, out := w.run(s.ID, "echo $DAYTONA_ORGANIZATION_ID"); out != "acme" {
		t.Errorf("whose it is: %q", out)
	}
	eventually(t, "the pool is full again", func() bool { return w.pools(mine)[0].Ready == 1 })
	if mine.Target = 0; w.pools(mine)[0].Reason != "" {
		t.Errorf("a pool that is drained: %+v", w.pools(mine))
	}
	eventually(t, "the pool is drained", func() bool { return len(w.Waiting()) == 0 })
	missing := poolFor("acme", "no-such-snapshot", 1)
	if state := w.pools(missing)[0]; state.Ready != 0 || state.Reason == "" {
		t.Errorf("a pool that cannot be filled: %+v", state)
	}
	for _, bad := range []runnerapi.Pool{{}, {ID: "x"}, {ID: "x", Spec: runnerapi.Spec{OrgID: "o", Snapshot: snapshot}, Target: -1}, {ID: "x", Spec: runnerapi.Spec{OrgID: "o", Isolation: "none"}}} {
		if _, err := w.SetPools(t.Context(), []runnerapi.Pool{bad}); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestOwnPoolComesFirst(t *testing.T) {
	w := newWorld(t, withOne)
	stop := w.running()
	mine := poolFor("acme", snapshot, 1)
	eventually(t, "both pools are full", func() bool { return w.pools(mine)[0].Ready == 1 && len(w.Waiting()) == 2 && w.Settled() })
	stop()
	first := w.reserve(of("acme"))
	second := w.reserve(of("acme")) // everybody's
	if id, ok := w.Reserve(t.Context(), of("acme")); ok {
		t.Errorf("%s is offered twice", id)
	}
	s := of("acme")
	s.ID = first
	w.create(s)
	if state := w.pools(mine)[0]; state.Ready != 0 {
		t.Errorf("its own was not the first: %+v, %s and %s", state, first, second)
	}
}

// A runner that starts keeps what waits until it hears which pools there are.
func TestPoolsOfOrganizationsAfterRestart(t *testing.T) {
	w := newWorld(t, nil)
	stop := w.running()
	mine, theirs := poolFor("acme", snapshot, 1), poolFor("other", snapshot, 1)
	eventually(t, "both pools are full", func() bool {
		states := w.pools(mine, theirs)
		return states[0].Ready == 1 && states[1].Ready == 1
	})
	stop()
	w.close()
	before := pids(t, w.driver)
	again := reopen(t, w.dir, func(c *runner.Config) { c.Warm = map[string]int{big: 1} })
	stop = again.running()
	defer stop()
	eventually(t, "the operator's pool is full", func() bool { return len(again.Waiting()) == 3 }) // its worker has looked at all
	for id, pid := range before {
		if pids(t, again.driver)[id] != pid {
			t.Errorf("%s did not survive the restart", id)
		}
	}
	again.pools(mine)
	eventually(t, "what nobody asks for is gone", func() bool { return len(again.Waiting()) == 2 })
	if state := again.pools(mine)[0]; state.Ready != 1 {
		t.Errorf("%+v", state)
	}
}
