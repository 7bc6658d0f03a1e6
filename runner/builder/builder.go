package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/solver/llbsolver"
	"github.com/moby/buildkit/solver/llbsolver/history"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/rootfs"
)

// Limits bound what one RUN step may use.
type Limits struct {
	CPU         float64
	MemoryBytes int64
	Pids        int64
	DiskBytes   int64         // that it may add
	Time        time.Duration // of a whole build
}

// DefaultLimits are those of a builder that was told nothing.
var DefaultLimits = Limits{CPU: 2, MemoryBytes: 4 << 30, Pids: 1024, DiskBytes: 20 << 30, Time: time.Hour}

// Config configures a Builder.
type Config struct {
	Dir     string // the builder's own; made when missing
	Store   *rootfs.Store
	Driver  runner.Driver // runs the steps; must be a runner.Attacher
	UserNS  uint32        // first host id of the steps' user namespace; 0 for drivers without
	Network runner.Network
	Limits  Limits // zero fields mean DefaultLimits'
	// CA is a file of trusted certificates that RUN steps see while they run;
	// "" or a missing file means none.
	CA string
	// Env reaches RUN steps, such as the address of a package mirror. It does
	// not become part of the image.
	Env map[string]string
	// CacheBytes is how much the build cache may hold beyond what images use.
	CacheBytes int64
	// ContextBytes bounds the files of one build's context. Defaults to 10 GiB.
	ContextBytes int64
	Log          *slog.Logger
}

// Builder implements runner.Builder.
type Builder struct {
	cfg Config
	log *slog.Logger

	work     sync.WaitGroup
	stopping context.Context
	stop     context.CancelFunc

	borrowed keyedMutex // BuildKit's mounts that a step has taken away

	mu     sync.Mutex
	engine *engine // nil before Recover
}

// engine is what BuildKit needs.
type engine struct {
	sessions *session.Manager
	worker   *base.Worker
	workers  *worker.Controller
	cache    *bboltcachestorage.Store
	history  io.Closer
	solver   *llbsolver.Solver
}

var _ runner.Builder = (*Builder)(nil)

// New returns a builder. Recover must be called before it builds.
func New(cfg Config) (*Builder, error) {
	if _, ok := cfg.Driver.(runner.Attacher); !ok {
		return nil, fault.New(fault.Invalid, "the isolation %q cannot run the steps of a build", cfg.Driver.Name())
	}
	l, d := &cfg.Limits, DefaultLimits
	l.CPU, l.MemoryBytes, l.Pids = or(l.CPU, d.CPU), or(l.MemoryBytes, d.MemoryBytes), or(l.Pids, d.Pids)
	l.DiskBytes, l.Time = or(l.DiskBytes, d.DiskBytes), or(l.Time, d.Time)
	cfg.ContextBytes = or(cfg.ContextBytes, 10<<30)
	cfg.CacheBytes = or(cfg.CacheBytes, 20<<30)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Builder{cfg: cfg, log: cfg.Log}
	b.stopping, b.stop = context.WithCancel(context.Background())
	return b, nil
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// tempMounts begins the names of the directories in which BuildKit mounts layers
// for itself.
func tempMounts() string { return filepath.Join(os.TempDir(), "buildkit-mount") }

// Recover implements runner.Builder.
func (b *Builder) Recover(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.engine != nil {
		return nil
	}
	dir, err := filepath.Abs(b.cfg.Dir)
	if err != nil {
		return err
	}
	b.cfg.Dir = dir
	if err := b.cfg.Store.ClearMounts(ctx, dir, tempMounts()); err != nil {
		return err
	}
	for _, d := range []string{"steps", "contexts"} {
		if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
			return err
		}
	}
	for _, d := range []string{"", "steps", "contexts"} {
		// A step's root may belong to a user namespace, which has to get through.
		if err := os.MkdirAll(filepath.Join(dir, d), 0o711); err != nil {
			return err
		}
	}
	e, err := b.open(ctx)
	if err != nil {
		return err
	}
	b.engine = e
	return b.dropOrphans(ctx)
}

func (b *Builder) open(ctx context.Context) (_ *engine, err error) {
	quietBuildKit(b.log)
	e := &engine{workers: &worker.Controller{}}
	if e.sessions, err = session.NewManager(); err != nil {
		return nil, err
	}
	md, err := openOrBeginAnew(b.log, filepath.Join(b.cfg.Dir, "metadata_v2.db"), func(path string) (*metadata.Store, error) { return metadata.NewStore(path) })
	if err != nil {
		return nil, fmt.Errorf("build cache: %w", err)
	}
	if err := b.dropHollow(ctx, md); err != nil {
		return nil, errors.Join(fmt.Errorf("build cache: %w", err), md.Close())
	}
	if e.worker, err = b.newWorker(ctx, md); err != nil {
		return nil, errors.Join(fmt.Errorf("build cache: %w", err), md.Close())
	}
	if err := e.workers.Add(e.worker); err != nil {
		return nil, err
	}
	e.cache, err = openOrBeginAnew(b.log, filepath.Join(b.cfg.Dir, "cache.db"), func(path string) (*bboltcachestorage.Store, error) { return bboltcachestorage.NewStore(path) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("build cache: %w", err), e.workers.Close())
	}
	past, err := b.openHistory(e)
	if err != nil {
		return nil, errors.Join(err, e.cache.Close(), e.workers.Close())
	}
	e.solver, err = llbsolver.New(llbsolver.Opt{
		WorkerController: e.workers,
		SessionManager:   e.sessions,
		HistoryQueue:     past,
		CacheManager:     solver.NewCacheManager(ctx, "local", e.cache, worker.NewCacheResultStorage(e.workers)),
		Frontends:        map[string]frontend.Frontend{frontEnd: forwarder.NewGatewayForwarder(e.workers.Infos(), builder.Build)},
	})
	if err != nil {
		return nil, errors.Join(err, e.history.Close(), e.cache.Close(), e.workers.Close())
	}
	return e, nil
}

// openHistory opens BuildKit's record of past builds, which the solver asks for
// progress. It keeps nothing: the queue of images has its own records and logs.
func (b *Builder) openHistory(e *engine) (*history.Queue, error) {
	db, err := openOrBeginAnew(b.log, filepath.Join(b.cfg.Dir, "history.db"), func(path string) (*bbolt.DB, error) {
		return bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second, NoSync: true})
	})
	if err != nil {
		return nil, fmt.Errorf("build history: %w", err)
	}
	e.history = db
	return history.NewQueue(history.QueueOpt{
		DB: db, LeaseManager: e.worker.LeaseManager(), ContentStore: e.worker.ContentStore(),
		CleanConfig:    &config.HistoryConfig{MaxEntries: new(int64)},
		GarbageCollect: e.worker.GarbageCollect, GracefulStop: b.stopping.Done(),
	})
}

const frontEnd = "dockerfile.v0"

// openOrBeginAnew opens a database of the cache. One that is damaged, as after a
// power cut, is put aside: a cache can be filled again.
func openOrBeginAnew[T any](log *slog.Logger, path string, open func(string) (T, error)) (T, error) {
	db, err := open(path)
	if err == nil {
		return db, nil
	}
	log.Error("the build cache cannot be read; it begins anew", "file", path, "error", err)
	if rerr := os.Rename(path, path+".damaged"); rerr != nil {
		return db, errors.Join(err, rerr)
	}
	return open(path)
}

// Close closes the cache. No build may be under way.
func (b *Builder) Close() error {
	b.stop()
	b.work.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.engine == nil {
		return nil
	}
	e := b.engine
	b.engine = nil
	return errors.Join(e.solver.Close(), e.history.Close(), e.cache.Close(), e.workers.Close())
}

// Build implements runner.Builder.
func (b *Builder) Build(ctx context.Context, name string, spec runnerapi.ImageSpec, log io.Writer, progress func(string)) (img rootfs.Image, err error) {
	b.mu.Lock()
	e := b.engine
	b.mu.Unlock()
	if e == nil {
		return img, fault.New(fault.Unavailable, "the builder is not ready")
	}
	if err := check(spec.Build); err != nil {
		return img, err
	}
	if err := b.cfg.Store.Room(0); err != nil {
		return img, err
	}
	limit := b.cfg.Limits.Time
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fault.New(fault.Unprocessable, "the build took longer than %s, the limit of this runner", limit))
	defer cancel()
	id := identity.NewID()
	work := filepath.Join(b.cfg.Dir, "contexts", id)
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	progress("fetching the build's context")
	if err := b.prepareContext(ctx, work, spec.Build); err != nil {
		return img, err
	}
	sess, err := openSession(ctx, e.sessions, work, spec)
	if err != nil {
		return img, err
	}
	defer sess.close()
	progress("building")
	out := &publisher{builder: b, name: name}
	err = b.solve(ctx, e, id, sess.id, spec.Build, out, log, progress)
	b.Prune()
	if err != nil {
		return img, buildFault(ctx, err)
	}
	return out.image, nil
}

// solve runs the build and prints how it goes.
func (b *Builder) solve(ctx context.Context, e *engine, id, sessionID string, spec *runnerapi.Build, out *publisher, log io.Writer, progress func(string)) error {
	opts := map[string]string{
		"filename": dockerfileName,
		// That the front end was chosen: a line "# syntax=" fetches none.
		"cmdline": frontEnd,
	}
	for k, v := range spec.Args {
		opts["build-arg:"+k] = v
	}
	status := make(chan *client.SolveStatus)
	shown := make(chan *client.SolveStatus)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		_, err := e.solver.Solve(gctx, id, sessionID, frontend.SolveRequest{Frontend: frontEnd, FrontendOpt: opts}, 0,
			llbsolver.ExporterRequest{Exporters: exporters(out)}, nil, nil, true, nil, "", false)
		return err
	})
	// What is printed is read to its end, also after a failure.
	printing := context.WithoutCancel(ctx)
	g.Go(func() error { return e.solver.Status(printing, id, status) })
	g.Go(func() error {
		defer close(shown)
		for s := range status {
			for _, v := range s.Vertexes {
				if v.Started != nil && v.Completed == nil {
					progress(v.Name)
				}
			}
			shown <- s
		}
		return nil
	})
	g.Go(func() error {
		d, err := progressui.NewDisplay(log, progressui.PlainMode)
		if err != nil {
			return err
		}
		_, err = d.UpdateFrom(printing, shown)
		return err
	})
	return g.Wait()
}
