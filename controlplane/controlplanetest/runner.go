package controlplanetest

import (
	"context"
	"fmt"
	"io"
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

// Runner is a runner in memory. Its sandboxes do whatever Toolbox says.
type Runner struct {
	// Toolbox serves requests to toolboxes. It may be set before the first
	// request; the default answers 200 with the path.
	Toolbox http.Handler

	mu        sync.Mutex
	boxes     map[string]runnerapi.Sandbox
	deleted   map[string]bool
	snapshots []runnerapi.Snapshot
	down      error
	onCreate  func(runnerapi.Spec) error
	specs     map[string]runnerapi.Spec
	ports     map[int]string
	conns     map[string][]net.Conn // into sandboxes, by id
	watchers  []chan runnerapi.Event
	images    images
	pools     []runnerapi.Pool
}

// Snapshot is the name of the snapshot that a Runner holds from the start.
const Snapshot = "daytona-slim"

// NewRunner returns a Runner that holds Snapshot, ready.
func NewRunner() *Runner {
	return &Runner{
		boxes: map[string]runnerapi.Sandbox{}, deleted: map[string]bool{}, specs: map[string]runnerapi.Spec{},
		ports: map[int]string{}, conns: map[string][]net.Conn{},
		snapshots: []runnerapi.Snapshot{{Name: Snapshot, State: runnerapi.SnapshotReady, SizeBytes: 1_500_000_000}},
		Toolbox: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(r.URL.Path))
		}),
	}
}

// SetSnapshots replaces what the runner holds.
func (r *Runner) SetSnapshots(list ...runnerapi.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshots = list
}

// SetDown makes every call fail with err; nil ends that.
func (r *Runner) SetDown(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = err
}

// OnCreate is called for each Create, and may refuse it.
func (r *Runner) OnCreate(f func(runnerapi.Spec) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onCreate = f
}

// SpecOf returns what a sandbox was created with.
func (r *Runner) SpecOf(id string) runnerapi.Spec {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.specs[id]
}

// Info implements runnerapi.Runner.
func (r *Runner) Info(context.Context) (runnerapi.Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return runnerapi.Info{ID: "test", Version: "test", Isolations: []string{"fake"}, CPU: 64, MemoryMiB: 1 << 20, DiskMiB: 1 << 20, Sandboxes: len(r.boxes)}, r.down
}

// Reserve implements runnerapi.Runner: there is no warm pool.
func (r *Runner) Reserve(context.Context, runnerapi.Spec) (string, bool) { return "", false }

// SetPools implements runnerapi.Runner: what is asked for is there at once.
func (r *Runner) SetPools(_ context.Context, pools []runnerapi.Pool) ([]runnerapi.PoolState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return nil, r.down
	}
	r.pools = slices.Clone(pools)
	states := make([]runnerapi.PoolState, len(pools))
	for i, p := range pools {
		states[i] = runnerapi.PoolState{ID: p.ID, Ready: p.Target}
	}
	return states, nil
}

// Pools returns what was last asked for.
func (r *Runner) Pools() []runnerapi.Pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pools)
}

// Create implements runnerapi.Runner.
func (r *Runner) Create(_ context.Context, spec runnerapi.Spec) (runnerapi.Sandbox, error) {
	r.mu.Lock()
	refuse := r.onCreate
	r.mu.Unlock()
	if refuse != nil {
		if err := refuse(spec); err != nil {
			return runnerapi.Sandbox{}, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.down != nil:
		return runnerapi.Sandbox{}, r.down
	case r.deleted[spec.ID]:
		return runnerapi.Sandbox{}, fault.New(fault.Gone, "sandbox %s was deleted", spec.ID)
	}
	if spec.ID == "" {
		spec.ID = uuid.NewString()
	}
	r.specs[spec.ID] = spec
	return r.put(spec.ID, runnerapi.StateRunning, runnerapi.CauseNone), nil
}

// put stores a sandbox. r.mu is held.
func (r *Runner) put(id string, state runnerapi.State, cause runnerapi.Cause) runnerapi.Sandbox {
	sb := runnerapi.Sandbox{ID: id, State: state, Isolation: "fake", StartedAt: time.Now()}
	if cause != runnerapi.CauseNone {
		sb.End = &runnerapi.End{Cause: cause, ExitCode: -1, At: time.Now()}
	}
	r.boxes[id] = sb
	if state != runnerapi.StateRunning {
		for _, conn := range r.conns[id] {
			_ = conn.Close()
		}
		delete(r.conns, id)
	}
	return sb
}

// Start implements runnerapi.Runner.
func (r *Runner) Start(_ context.Context, id string) (runnerapi.Sandbox, error) {
	return r.change(id, runnerapi.StateRunning, runnerapi.CauseNone)
}

// Stop implements runnerapi.Runner.
func (r *Runner) Stop(_ context.Context, id string, _ bool) (runnerapi.Sandbox, error) {
	return r.change(id, runnerapi.StateStopped, runnerapi.CauseUser)
}

func (r *Runner) change(id string, state runnerapi.State, cause runnerapi.Cause) (runnerapi.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return runnerapi.Sandbox{}, r.down
	}
	sb, ok := r.boxes[id]
	switch {
	case !ok:
		return sb, fault.New(fault.NotFound, "sandbox %s is unknown", id)
	case sb.State == state:
		return sb, nil
	}
	return r.put(id, state, cause), nil
}

// SetNetwork implements runnerapi.Runner. SpecOf tells what was set.
func (r *Runner) SetNetwork(_ context.Context, id string, policy runnerapi.NetworkPolicy) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return r.down
	}
	if _, ok := r.boxes[id]; !ok {
		return fault.New(fault.NotFound, "sandbox %s is unknown", id)
	}
	spec := r.specs[id]
	spec.Network = policy
	r.specs[id] = spec
	return nil
}

// Resize implements runnerapi.Runner. SpecOf tells what was set.
func (r *Runner) Resize(ctx context.Context, id string, size runnerapi.Size) (runnerapi.Sandbox, error) {
	sb, err := r.Inspect(ctx, id)
	if err != nil {
		return sb, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	spec := r.specs[id]
	spec.CPU, spec.MemoryMiB, spec.DiskMiB = size.CPU, size.MemoryMiB, size.DiskMiB
	r.specs[id] = spec
	return sb, nil
}

// Delete implements runnerapi.Runner.
func (r *Runner) Delete(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return r.down
	}
	delete(r.boxes, id)
	r.deleted[id] = true
	return nil
}

// Export implements runnerapi.Files; nothing was written in any sandbox here.
func (r *Runner) Export(_ context.Context, id string, _ io.Writer) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.boxes[id]; !ok {
		return "", fault.New(fault.NotFound, "Sandbox with ID %s not found", id)
	}
	return "empty", r.down
}

// Import implements runnerapi.Files.
func (r *Runner) Import(_ context.Context, spec runnerapi.Spec, _ string, files io.Reader) (runnerapi.Sandbox, error) {
	if _, err := io.Copy(io.Discard, files); err != nil {
		return runnerapi.Sandbox{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return runnerapi.Sandbox{}, r.down
	}
	if sb, ok := r.boxes[spec.ID]; ok {
		return sb, nil
	}
	delete(r.deleted, spec.ID)
	r.specs[spec.ID] = spec
	r.boxes[spec.ID] = runnerapi.Sandbox{ID: spec.ID, State: runnerapi.StateStopped, Isolation: spec.Isolation}
	return r.boxes[spec.ID], nil
}

// Fork implements runnerapi.Files.
func (r *Runner) Fork(ctx context.Context, from string, spec runnerapi.Spec) (runnerapi.Sandbox, error) {
	if _, err := r.Inspect(ctx, from); err != nil {
		return runnerapi.Sandbox{}, err
	}
	return r.Import(ctx, spec, "", strings.NewReader(""))
}

// Inspect implements runnerapi.Runner.
func (r *Runner) Inspect(_ context.Context, id string) (runnerapi.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sb, ok := r.boxes[id]
	if !ok {
		return sb, fault.New(fault.NotFound, "sandbox %s is unknown", id)
	}
	return sb, r.down
}

// List implements runnerapi.Runner.
func (r *Runner) List(context.Context) ([]runnerapi.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []runnerapi.Sandbox{}
	for _, sb := range r.boxes {
		out = append(out, sb)
	}
	return out, r.down
}

// Watch implements runnerapi.Runner.
func (r *Runner) Watch(ctx context.Context) <-chan runnerapi.Event {
	ch := make(chan runnerapi.Event, 16)
	r.mu.Lock()
	r.watchers = append(r.watchers, ch)
	r.mu.Unlock()
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.watchers = slices.DeleteFunc(r.watchers, func(c chan runnerapi.Event) bool { return c == ch })
		close(ch)
	})
	return ch
}

// Die ends a sandbox as if by itself, and tells who watches.
func (r *Runner) Die(id string, cause runnerapi.Cause) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sb := r.put(id, runnerapi.StateStopped, cause)
	r.tell(runnerapi.Event{Sandbox: sb})
}

// Snapshots implements runnerapi.Runner.
func (r *Runner) Snapshots(context.Context) ([]runnerapi.Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.snapshots), r.down
}

// ServeToolbox implements runnerapi.Runner.
func (r *Runner) ServeToolbox(w http.ResponseWriter, req *http.Request, _ string) {
	r.Toolbox.ServeHTTP(w, req)
}

// RoundTripToolbox implements runnerapi.Runner. An upgrade is passed on as by
// ServeToolbox.
func (r *Runner) RoundTripToolbox(req *http.Request, _ string) (*http.Response, error) {
	server := httptest.NewServer(r.Toolbox)
	context.AfterFunc(req.Context(), server.Close)
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", server.Listener.Addr().String(), ""
	return http.DefaultTransport.RoundTrip(out)
}

// SetPort says at which address a port of every sandbox listens; "" is nowhere.
func (r *Runner) SetPort(port int, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ports[port] = address
}

// DialPort implements runnerapi.Runner. A connection ends with its sandbox.
func (r *Runner) DialPort(ctx context.Context, id string, port int) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return nil, r.down
	}
	if r.boxes[id].State != runnerapi.StateRunning {
		return nil, fault.New(fault.Invalid, "Sandbox is not running").WithCode("SANDBOX_NOT_RUNNING")
	}
	var open []int
	for p, address := range r.ports {
		if address != "" {
			open = append(open, p)
		}
	}
	slices.Sort(open)
	address := r.ports[port]
	if address == "" {
		return nil, fault.New(fault.Upstream, "nothing listens on port %d. Ports with a listener: %s",
			port, strings.Trim(strings.ReplaceAll(fmt.Sprint(open), " ", ", "), "[]")).WithCode(runnerapi.CodeNotListening)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "port %d cannot be reached", port)
	}
	r.conns[id] = append(r.conns[id], conn)
	return conn, nil
}
