package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/sandbox"
)

// dyingStore dies after a number of calls: the next one, and all later ones, do
// nothing and fail, as for a process that was killed there.
type dyingStore struct {
	sandbox.Store
	mu    sync.Mutex
	calls int // left
}

var errDead = errors.New("the process is dead")

func (d *dyingStore) dead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls--
	return d.calls < 0
}

func (d *dyingStore) CreateSandbox(ctx context.Context, sb sandbox.Sandbox, k *sandbox.Idempotency, a sandbox.Admit) (sandbox.Sandbox, bool, error) {
	if d.dead() {
		return sandbox.Sandbox{}, false, errDead
	}
	return d.Store.CreateSandbox(ctx, sb, k, a)
}

func (d *dyingStore) Sandbox(ctx context.Context, id string) (sandbox.Sandbox, error) {
	if d.dead() {
		return sandbox.Sandbox{}, errDead
	}
	return d.Store.Sandbox(ctx, id)
}

func (d *dyingStore) FindSandbox(ctx context.Context, orgID, id string) (sandbox.Sandbox, error) {
	if d.dead() {
		return sandbox.Sandbox{}, errDead
	}
	return d.Store.FindSandbox(ctx, orgID, id)
}

func (d *dyingStore) SetSandboxWork(ctx context.Context, from sandbox.Sandbox, w sandbox.Work, a sandbox.Admit, now time.Time) (sandbox.Sandbox, error) {
	if d.dead() {
		return sandbox.Sandbox{}, errDead
	}
	return d.Store.SetSandboxWork(ctx, from, w, a, now)
}

func (d *dyingStore) MoveSandbox(ctx context.Context, from sandbox.Sandbox, to sandbox.State, c sandbox.Change, now time.Time) (sandbox.Sandbox, error) {
	if d.dead() {
		return sandbox.Sandbox{}, errDead
	}
	return d.Store.MoveSandbox(ctx, from, to, c, now)
}

// TestCrash kills the process at every call of the store, so also between the
// store and the runner, in each kind of work. The next process must bring every
// row and the runner to what was asked for, if it was acknowledged or recorded,
// and to the state before, if not.
func TestCrash(t *testing.T) {
	type act struct {
		name string
		do   func(w *world, m *sandbox.Manager, id string) error
		rest map[sandbox.State]runnerapi.State // allowed ends, row and runner ("" is not there)
	}
	for _, a := range []act{
		{"create", func(w *world, m *sandbox.Manager, _ string) error {
			_, err := m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{Name: ptr("new")}, "key")
			return err
		}, map[sandbox.State]runnerapi.State{sandbox.Started: runnerapi.StateRunning}},
		{"stop", func(w *world, m *sandbox.Manager, id string) error {
			_, err := m.Stop(w.ctx, w.org, id, false)
			return err
		}, map[sandbox.State]runnerapi.State{sandbox.Started: runnerapi.StateRunning, sandbox.Stopped: runnerapi.StateStopped}},
		{"stop and start", func(w *world, m *sandbox.Manager, id string) error {
			_, err := m.Stop(w.ctx, w.org, id, false)
			_, err2 := m.Start(w.ctx, w.org, id)
			return errors.Join(err, err2)
		}, map[sandbox.State]runnerapi.State{sandbox.Started: runnerapi.StateRunning, sandbox.Stopped: runnerapi.StateStopped}},
		{"delete", func(w *world, m *sandbox.Manager, id string) error {
			_, err := m.Delete(w.ctx, w.org, id)
			return err
		}, map[sandbox.State]runnerapi.State{sandbox.Started: runnerapi.StateRunning, sandbox.Destroyed: ""}},
		{"stop and archive", func(w *world, m *sandbox.Manager, id string) error {
			_, err := m.Stop(w.ctx, w.org, id, false)
			_, err2 := m.Archive(w.ctx, w.org, id)
			return errors.Join(err, err2)
		}, map[sandbox.State]runnerapi.State{sandbox.Started: runnerapi.StateRunning, sandbox.Stopped: runnerapi.StateStopped}},
		{"archive and start", func(w *world, m *sandbox.Manager, id string) error {
			_, err := m.Stop(w.ctx, w.org, id, false)
			_, err2 := m.Archive(w.ctx, w.org, id)
			_, err3 := m.Start(w.ctx, w.org, id)
			return errors.Join(err, err2, err3)
		}, map[sandbox.State]runnerapi.State{sandbox.Started: runnerapi.StateRunning, sandbox.Stopped: runnerapi.StateStopped}},
		{"archive, start and delete", func(w *world, m *sandbox.Manager, id string) error {
			_, err := m.Stop(w.ctx, w.org, id, false)
			_, err2 := m.Archive(w.ctx, w.org, id)
			_, err3 := m.Start(w.ctx, w.org, id)
			_, err4 := m.Delete(w.ctx, w.org, id)
			return errors.Join(err, err2, err3, err4)
		}, map[sandbox.State]runnerapi.State{
			sandbox.Started: runnerapi.StateRunning, sandbox.Stopped: runnerapi.StateStopped, sandbox.Destroyed: "",
		}},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			acknowledged := false
			for calls := 0; !acknowledged; calls++ {
				if calls > 60 {
					t.Fatal("never acknowledged")
				}
				w := newWorld(t)
				old := w.create(sandbox.CreateRequest{Name: ptr("old")})
				w.runner.SetFiles(old.ID, []byte("files"))
				dying := w.manager(&dyingStore{Store: w.db, calls: calls})
				acknowledged = a.do(w, dying, old.ID) == nil
				dying.Close()

				next := w.manager(w.db)
				w.resync(next)
				if r := w.resync(next); r.Driven != 0 {
					t.Errorf("dead at call %d: not at rest after recovery: %+v", calls, r)
				}
				checkWorld(t, w, fmt.Sprintf("dead at call %d", calls), a.rest)
				switch sb := w.get(old.ID); sb.State {
				case sandbox.Archived:
					if sb.RunnerID != "" || len(w.runner.States()) != 0 {
						t.Errorf("dead at call %d: archived, and the runner has %v", calls, w.runner.States())
					}
					_, err := next.Start(w.ctx, w.org, old.ID)
					w.must(err)
					fallthrough
				case sandbox.Started, sandbox.Stopped:
					if got := w.runner.Files(old.ID); string(got) != "files" {
						t.Errorf("dead at call %d: its files are %q", calls, got)
					}
				}
				if a.name == "create" { // the client tries again with its key
					sb, err := next.Create(w.ctx, w.org, "u", sandbox.CreateRequest{Name: ptr("new")}, "key")
					if err != nil || sb.State != sandbox.Started {
						t.Errorf("dead at call %d: repeat: %s, %v", calls, sb.State, err)
					}
					checkWorld(t, w, fmt.Sprintf("dead at call %d, after the repeat", calls), a.rest)
				}
			}
		})
	}
}

// checkWorld compares every row with the runner.
func checkWorld(t *testing.T, w *world, when string, rest map[sandbox.State]runnerapi.State) {
	t.Helper()
	rows, err := w.db.SandboxesOn(w.ctx, "r1")
	w.must(err)
	there := w.runner.States()
	for _, sb := range rows {
		want, ok := rest[sb.State]
		if !ok || there[sb.ID] != want {
			t.Errorf("%s: row %s is %s (%v), on the runner %q", when, sb.Name, sb.State, sb.ErrorReason, there[sb.ID])
		}
		delete(there, sb.ID)
	}
	if len(there) != 0 {
		t.Errorf("%s: the runner has sandboxes without rows: %v", when, there)
	}
}
