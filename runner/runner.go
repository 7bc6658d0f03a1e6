package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/internal/version"
	"daytona/runner/imagequeue"
)

// Runner keeps the sandboxes of one host. It implements runnerapi.Runner.
type Runner struct {
	cfg     Config
	log     *slog.Logger
	drivers map[string]Driver
	store   *store
	lock    *os.File
	userns  *idRanges
	metrics *metrics
	toolbox program
	probes  probes
	bootID  string
	boots   *semaphore.Weighted // bounds sandboxes that boot at once
	busy    atomic.Int64        // creates and starts that somebody waits for
	// lastBusy is when the last of them ended, in nanoseconds since 1970.
	lastBusy atomic.Int64

	mu        sync.Mutex
	sandboxes map[string]*sandbox
	closed    bool
	subs      map[chan runnerapi.Event]struct{}
	ops       sync.WaitGroup

	pools  []pool // the operator's
	asked  orgPools
	refill chan struct{} // wakes the warm pool's worker
	builds builds        // our snapshots while they are made
	images *imagequeue.Queue

	ctx    context.Context // ends with Close; watches live in it
	cancel context.CancelFunc
}

var _ runnerapi.Runner = (*Runner)(nil)

// tombstoneAge is how long a deleted id is remembered.
const tombstoneAge = 24 * time.Hour

// Open recovers what an earlier process left, and returns a runner that serves.
// Call Run for the work in the background.
func Open(ctx context.Context, cfg Config) (*Runner, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("runner: %w", err)
	}
	lock, err := lockDir(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	r := &Runner{
		cfg:       cfg,
		log:       cfg.Log.With("runner", cfg.ID),
		drivers:   map[string]Driver{},
		lock:      lock,
		userns:    newIDRanges(),
		metrics:   newMetrics(cfg.Registerer),
		boots:     semaphore.NewWeighted(int64(cfg.Parallel)),
		sandboxes: map[string]*sandbox{},
		subs:      map[chan runnerapi.Event]struct{}{},
		refill:    make(chan struct{}, 1),
		probes:    defaultProbes,
	}
	if r.pools, err = cfg.pools(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("runner: %w", err)
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(poolCollector{r})
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for _, d := range cfg.Drivers {
		r.drivers[d.Name()] = d
	}
	err = r.open(ctx)
	if err != nil {
		r.cancel()
		lock.Close()
		return nil, fmt.Errorf("runner: %w", err)
	}
	return r, nil
}

func (r *Runner) open(ctx context.Context) (err error) {
	if r.store, err = openStore(r.cfg.Dir, r.log); err != nil {
		return err
	}
	if r.bootID, err = bootID(); err != nil {
		return err
	}
	if r.toolbox, err = keepProgram(filepath.Join(r.cfg.Dir, "toolbox"), r.cfg.Toolbox); err != nil {
		return err
	}
	r.images, err = imagequeue.Open(imagequeue.Config{
		Dir: filepath.Join(r.cfg.Dir, "images"), Parallel: r.cfg.ImageJobs, Make: r.makeImage, Log: r.log,
		Changed: func(name string) { r.publish(runnerapi.Event{Snapshot: name}) },
	})
	if err != nil {
		return err
	}
	if err := r.recover(ctx); err != nil {
		return err
	}
	return r.openImages(ctx)
}

// Run does the work in the background until ctx ends: our snapshots, the
// warm pool, deletions that failed, old tombstones.
func (r *Runner) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { r.refillLoop(ctx) })
	wg.Go(func() { r.janitor(ctx) })
	if len(r.cfg.Snapshots) > 0 {
		wg.Go(func() { r.snapshotsLoop(ctx) })
	}
	<-ctx.Done()
	return nil
}

// janitor repeats deletions that failed, and forgets old tombstones.
func (r *Runner) janitor(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		for _, sb := range r.all() {
			if rec := sb.record(); rec.Phase == phaseDeleting {
				if err := r.Delete(ctx, sb.id); err != nil && ctx.Err() == nil {
					r.log.Warn("a sandbox could not be deleted yet", "sandbox", sb.id, "error", err)
				}
			}
		}
		if err := r.store.expireTombstones(time.Now(), tombstoneAge); err != nil {
			r.log.Warn("old tombstones stay", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close waits for the operations under way and releases the directory. No
// sandbox is touched. When ctx ends first, what is under way is left to the
// recovery of the next Open; another call waits for it.
func (r *Runner) Close(ctx context.Context) error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	err := errors.Join(r.images.Close(), r.awaitOperations(ctx))
	if closed {
		return err
	}
	r.cancel()
	for _, sb := range r.all() {
		sb.mu.Lock()
		if sb.link != nil {
			sb.link.close()
		}
		sb.mu.Unlock()
	}
	for _, part := range slices.Backward(r.cfg.Parts) {
		err = errors.Join(err, part.Close())
	}
	return errors.Join(err, r.lock.Close())
}

func (r *Runner) awaitOperations(ctx context.Context) error {
	idle := make(chan struct{})
	go func() { r.ops.Wait(); close(idle) }()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("runner: operations are still under way: %w", ctx.Err())
	}
}

// StopAll ends every sandbox: those that somebody has asked for are stopped and
// can be started again, those of the pool are removed. Run must
// have ended, or the pool would be filled again.
func (r *Runner) StopAll(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(r.cfg.Parallel)
	for _, sb := range r.all() {
		rec := sb.record()
		g.Go(func() error {
			if rec.hidden() {
				return r.Delete(ctx, sb.id)
			}
			_, err := r.Stop(ctx, sb.id, false)
			if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
				return nil // it is on its way out
			}
			return err
		})
	}
	return g.Wait()
}

// all returns the sandboxes in memory, in the order of their ids.
func (r *Runner) all() []*sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*sandbox, 0, len(r.sandboxes))
	for _, sb := range r.sandboxes {
		all = append(all, sb)
	}
	slices.SortFunc(all, func(a, b *sandbox) int { return strings.Compare(a.id, b.id) })
	return all
}

// Info describes the runner and its host.
func (r *Runner) Info(ctx context.Context) (runnerapi.Info, error) {
	info := runnerapi.Info{ID: r.cfg.ID, Version: version.Version, CPU: runtime.NumCPU()}
	for _, d := range r.cfg.Drivers {
		info.Isolations = append(info.Isolations, d.Name())
	}
	mem, err := readMeminfo()
	if err != nil {
		return info, err
	}
	info.MemoryMiB = mem.totalMiB
	var st unix.Statfs_t
	if err := unix.Statfs(r.cfg.Dir, &st); err != nil {
		return info, err
	}
	info.DiskMiB = int64(st.Blocks) * int64(st.Bsize) >> 20
	list, err := r.List(ctx)
	info.Sandboxes = len(list)
	return info, err
}

// Inspect reports one sandbox.
func (r *Runner) Inspect(ctx context.Context, id string) (runnerapi.Sandbox, error) {
	r.mu.Lock()
	sb := r.sandboxes[id]
	r.mu.Unlock()
	if sb != nil {
		if rec := sb.record(); rec.Phase != "" && !rec.hidden() {
			return rec.view(), nil
		}
	}
	return runnerapi.Sandbox{}, errUnknown(id)
}

// List reports every sandbox that somebody has asked for.
func (r *Runner) List(ctx context.Context) ([]runnerapi.Sandbox, error) {
	list := []runnerapi.Sandbox{}
	for _, sb := range r.all() {
		if rec := sb.record(); rec.Phase != "" && !rec.hidden() {
			list = append(list, rec.view())
		}
	}
	return list, nil
}

// Watch delivers an event for each sandbox that changed by itself.
func (r *Runner) Watch(ctx context.Context) <-chan runnerapi.Event {
	ch := make(chan runnerapi.Event, 64)
	r.mu.Lock()
	r.subs[ch] = struct{}{}
	r.mu.Unlock()
	go func() {
		select {
		case <-ctx.Done():
		case <-r.ctx.Done():
		}
		r.mu.Lock()
		delete(r.subs, ch)
		close(ch)
		r.mu.Unlock()
	}()
	return ch
}

// publish hands an event to everybody who watches and is not too slow.
func (r *Runner) publish(ev runnerapi.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ch := range r.subs {
		select {
		case ch <- ev:
		default:
		}
	}
}

// driver returns the isolation of a name, "" meaning the default.
func (r *Runner) driver(name string) (Driver, error) {
	if name == "" {
		return r.cfg.Drivers[0], nil
	}
	if d := r.drivers[name]; d != nil {
		return d, nil
	}
	return nil, fault.New(fault.Invalid, "isolation %q is not offered", name)
}

// lockPatience is how long a lock may be held by a child that a killed runner
// was just starting, and that has not yet become another program.
const lockPatience = 2 * time.Second

// lockDir makes sure that one process at a time works on a directory.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("runner: %w", err)
	}
	for deadline := time.Now().Add(lockPatience); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || ctx.Err() != nil || time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("runner: %s is in use by another process: %w", dir, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// newToken returns a secret of 256 bits.
func newToken() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
