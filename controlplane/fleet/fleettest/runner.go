// Package fleettest has a runner that lives in memory and does as it is told:
// it can fail, be slow, block until it is let go, lose a sandbox or be
// unreachable. It keeps runnerapi.Runner's promises otherwise, so it also stands
// for what survives when the process of the control plane dies.
package fleettest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// Runner is a programmable runnerapi.Runner.
type Runner struct {
	id string

	mu        sync.Mutex
	sandboxes map[string]*sandbox
	deleted   map[string]bool
	snapshots map[string]runnerapi.Snapshot
	warm      []string // ids that Reserve offers
	offered   map[string]bool
	hooks     map[string]func(ctx context.Context, id string) error
	calls     map[string]int
	watchers  map[chan runnerapi.Event]bool
	images    images
}

type sandbox struct {
	spec  runnerapi.Spec
	state runnerapi.State
	end   *runnerapi.End
	warm  bool
	at    time.Time
	files []byte // what it has written
}

// New returns a runner that holds the snapshots given.
func New(id string, snapshots ...string) *Runner {
	r := &Runner{
		id: id, sandboxes: map[string]*sandbox{}, deleted: map[string]bool{}, snapshots: map[string]runnerapi.Snapshot{},
		offered: map[string]bool{}, hooks: map[string]func(context.Context, string) error{}, calls: map[string]int{},
		watchers: map[chan runnerapi.Event]bool{},
	}
	for _, name := range snapshots {
		r.snapshots[name] = runnerapi.Snapshot{Name: name, State: runnerapi.SnapshotReady, SizeBytes: 5e8, Entrypoint: []string{"sleep", "infinity"}}
	}
	return r
}

// On runs hook in every call of a method ("Create", "Start", "Stop", "SetNetwork", "Delete",
// "Inspect", "List", "Resize", "Snapshots", "Reserve", "Export", "Import"), before it does anything. An error is
// what the call returns. nil removes the hook.
func (r *Runner) On(method string, hook func(ctx context.Context, id string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks[method] = hook
}

// Calls counts the calls of a method.
func (r *Runner) Calls(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[method]
}

// SetSnapshot changes what the runner says about a snapshot.
func (r *Runner) SetSnapshot(s runnerapi.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshots[s.Name] = s
}

// Warm puts a booted sandbox into the pool and returns its id.
func (r *Runner) Warm() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := uuid.NewString()
	r.warm = append(r.warm, id)
	return id
}

// End ends a running sandbox by itself and tells the watchers.
func (r *Runner) End(id string, state runnerapi.State, end runnerapi.End) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	s.state, s.end = state, &end
	r.tellLocked(runnerapi.Event{Sandbox: r.viewLocked(id)})
}

// Lose forgets a sandbox without a trace.
func (r *Runner) Lose(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, id)
}

// Plant makes a running sandbox that nobody asked for.
func (r *Runner) Plant(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sandboxes[id] = &sandbox{spec: runnerapi.Spec{ID: id}, state: runnerapi.StateRunning}
}

// Spec returns what a sandbox was made of.
func (r *Runner) Spec(id string) (runnerapi.Spec, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return runnerapi.Spec{}, false
	}
	return s.spec, true
}

// States returns the state of every sandbox.
func (r *Runner) States() map[string]runnerapi.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]runnerapi.State{}
	for id, s := range r.sandboxes {
		out[id] = s.state
	}
	return out
}

func (r *Runner) enter(ctx context.Context, method, id string) error {
	r.mu.Lock()
	r.calls[method]++
	hook := r.hooks[method]
	r.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, id); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *Runner) viewLocked(id string) runnerapi.Sandbox {
	s := r.sandboxes[id]
	return runnerapi.Sandbox{ID: id, State: s.state, Isolation: "fake", End: s.end, StartedAt: s.at, Warm: s.warm}
}

// Info implements runnerapi.Runner.
func (r *Runner) Info(context.Context) (runnerapi.Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return runnerapi.Info{
		ID: r.id, Version: "fake-1", Isolations: []string{"fake"}, CPU: 4, MemoryMiB: 8192, DiskMiB: 1 << 20, Sandboxes: len(r.sandboxes),
	}, nil
}

// Reserve implements runnerapi.Runner.
func (r *Runner) Reserve(ctx context.Context, spec runnerapi.Spec) (string, bool) {
	if r.enter(ctx, "Reserve", "") != nil {
		return "", false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.warm) == 0 || spec.ID != "" {
		return "", false
	}
	id := r.warm[0]
	r.warm = r.warm[1:]
	r.offered[id] = true
	return id, true
}

// SetPools implements runnerapi.Runner: no organization has one here.
func (r *Runner) SetPools(ctx context.Context, _ []runnerapi.Pool) ([]runnerapi.PoolState, error) {
	return nil, r.enter(ctx, "SetPools", "")
}

// Create implements runnerapi.Runner.
func (r *Runner) Create(ctx context.Context, spec runnerapi.Spec) (runnerapi.Sandbox, error) {
	if err := r.enter(ctx, "Create", spec.ID); err != nil {
		return runnerapi.Sandbox{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deleted[spec.ID] {
		return runnerapi.Sandbox{}, fault.New(fault.Gone, "sandbox %s was deleted", spec.ID)
	}
	if s, ok := r.sandboxes[spec.ID]; ok {
		s.state, s.end = runnerapi.StateRunning, nil
		return r.viewLocked(spec.ID), nil
	}
	switch sn, ok := r.snapshots[spec.Snapshot]; {
	case !ok:
		return runnerapi.Sandbox{}, fault.New(fault.NotFound, "snapshot %s is not here", spec.Snapshot)
	case sn.State != runnerapi.SnapshotReady:
		return runnerapi.Sandbox{}, fault.New(fault.Unavailable, "snapshot %s is %s", spec.Snapshot, sn.State)
	}
	r.sandboxes[spec.ID] = &sandbox{spec: spec, state: runnerapi.StateRunning, warm: r.offered[spec.ID], at: time.Now()}
	delete(r.offered, spec.ID)
	return r.viewLocked(spec.ID), nil
}

// Start implements runnerapi.Runner.
func (r *Runner) Start(ctx context.Context, id string) (runnerapi.Sandbox, error) {
	return r.set(ctx, "Start", id, runnerapi.StateRunning, nil)
}

// Stop implements runnerapi.Runner.
func (r *Runner) Stop(ctx context.Context, id string, force bool) (runnerapi.Sandbox, error) {
	method := "Stop"
	if force {
		method = "StopForce"
	}
	return r.set(ctx, method, id, runnerapi.StateStopped, &runnerapi.End{Cause: runnerapi.CauseUser, At: time.Now()})
}

func (r *Runner) set(ctx context.Context, method, id string, state runnerapi.State, end *runnerapi.End) (runnerapi.Sandbox, error) {
	if err := r.enter(ctx, method, id); err != nil {
		return runnerapi.Sandbox{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return runnerapi.Sandbox{}, fault.New(fault.NotFound, "sandbox %s is not here", id)
	}
	if s.state != state {
		s.state, s.end = state, end
	}
	return r.viewLocked(id), nil
}

// SetNetwork implements runnerapi.Runner. Spec tells what was set.
func (r *Runner) SetNetwork(ctx context.Context, id string, policy runnerapi.NetworkPolicy) error {
	if err := r.enter(ctx, "SetNetwork", id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return fault.New(fault.NotFound, "sandbox %s is not here", id)
	}
	s.spec.Network = policy
	return nil
}

// Resize implements runnerapi.Runner. Spec tells what was set.
func (r *Runner) Resize(ctx context.Context, id string, size runnerapi.Size) (runnerapi.Sandbox, error) {
	if err := r.enter(ctx, "Resize", id); err != nil {
		return runnerapi.Sandbox{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return runnerapi.Sandbox{}, fault.New(fault.NotFound, "sandbox %s is not here", id)
	}
	s.spec.CPU, s.spec.MemoryMiB, s.spec.DiskMiB = size.CPU, size.MemoryMiB, size.DiskMiB
	return r.viewLocked(id), nil
}

// Delete implements runnerapi.Runner.
func (r *Runner) Delete(ctx context.Context, id string) error {
	if err := r.enter(ctx, "Delete", id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, id)
	r.deleted[id] = true
	return nil
}

// Inspect implements runnerapi.Runner.
func (r *Runner) Inspect(ctx context.Context, id string) (runnerapi.Sandbox, error) {
	if err := r.enter(ctx, "Inspect", id); err != nil {
		return runnerapi.Sandbox{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sandboxes[id]; !ok {
		return runnerapi.Sandbox{}, fault.New(fault.NotFound, "sandbox %s is not here", id)
	}
	return r.viewLocked(id), nil
}

// List implements runnerapi.Runner.
func (r *Runner) List(ctx context.Context) ([]runnerapi.Sandbox, error) {
	if err := r.enter(ctx, "List", ""); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runnerapi.Sandbox
	for id := range r.sandboxes {
		out = append(out, r.viewLocked(id))
	}
	return out, nil
}

// Watch implements runnerapi.Runner.
func (r *Runner) Watch(ctx context.Context) <-chan runnerapi.Event {
	ch := make(chan runnerapi.Event, 16)
	r.mu.Lock()
	r.watchers[ch] = true
	r.mu.Unlock()
	go func() {
		<-ctx.Done()
		r.mu.Lock()
		delete(r.watchers, ch)
		close(ch)
		r.mu.Unlock()
	}()
	return ch
}

// Snapshots implements runnerapi.Runner.
func (r *Runner) Snapshots(ctx context.Context) ([]runnerapi.Snapshot, error) {
	if err := r.enter(ctx, "Snapshots", ""); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runnerapi.Snapshot
	for _, s := range r.snapshots {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b runnerapi.Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// ServeToolbox answers with what reached it, as JSON.
func (r *Runner) ServeToolbox(w http.ResponseWriter, req *http.Request, id string) {
	r.mu.Lock()
	s, ok := r.sandboxes[id]
	running := ok && s.state == runnerapi.StateRunning
	r.mu.Unlock()
	if !running {
		http.Error(w, fmt.Sprintf("sandbox %s is not running", id), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"sandbox": id, "method": req.Method, "path": req.URL.EscapedPath(), "query": req.URL.RawQuery})
}

// RoundTripToolbox answers as ServeToolbox does.
func (r *Runner) RoundTripToolbox(req *http.Request, id string) (*http.Response, error) {
	rec := httptest.NewRecorder()
	r.ServeToolbox(rec, req, id)
	return rec.Result(), nil
}

// DialPort reaches nobody.
func (r *Runner) DialPort(_ context.Context, _ string, port int) (net.Conn, error) {
	return nil, fault.New(fault.Upstream, "nothing listens on port %d, nor on any other", port).WithCode(runnerapi.CodeNotListening)
}

var _ runnerapi.Runner = (*Runner)(nil)
