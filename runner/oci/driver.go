package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Engine is what tells one OCI engine from another.
type Engine interface {
	// Name is the isolation's name.
	Name() string
	// Spec is the container that a bundle describes. It refuses a bundle
	// that it cannot isolate as it should.
	Spec(b runner.Bundle) (*specs.Spec, error)
	// Args returns the global arguments of the engine's command for a
	// container with its own state directory and log file.
	Args(b runner.Bundle, stateDir, logFile string) []string
	// Started reports whether the engine's state says that a container was
	// started.
	Started(stateDir, id string) bool
	// HostPids is the limit for the container's control group that lets a
	// container have pids processes of its own; 0 is the engine's default.
	HostPids(pids int64) int64
	// LastWords returns what an ended container left in its bundle's
	// directory that explains the end, or "".
	LastWords(bundleDir string) string
}

// Config is what every driver needs.
type Config struct {
	// Binary is the engine's executable.
	Binary string
	// Root is a directory for the driver's state, which must survive restarts
	// of this process. It is made when missing.
	Root string
	// CgroupParent is the path, from the root of each hierarchy, of the
	// control group in which each container gets its own. Default "/daytona".
	CgroupParent string
	Log          *slog.Logger
	// Env is the environment of the engine's commands.
	Env []string
}

// Driver implements runner.Driver for an OCI engine.
type Driver struct {
	cfg    Config
	engine Engine
	groups *cgroups
	store  store
	locks  locks
}

// Names of the files in a bundle's directory.
const (
	specFile = "config.json"
	// LogFile is where the engine writes errors. Only the engine's commands
	// write to it, never the container.
	LogFile = "engine.log"
)

// killTime bounds how long the kernel may take to end killed processes.
const killTime = 20 * time.Second

// New returns a driver. It makes the root directory and looks for the control
// groups of the host, and fails when they cannot be used.
func New(engine Engine, cfg Config) (*Driver, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.CgroupParent == "" {
		cfg.CgroupParent = "/daytona"
	}
	cfg.CgroupParent = filepath.Clean("/" + cfg.CgroupParent)
	if cfg.CgroupParent == "/" {
		return nil, fault.New(fault.Invalid, "the parent control group must not be the root")
	}
	if !filepath.IsAbs(cfg.Root) {
		return nil, fault.New(fault.Invalid, "the state directory of the %s driver must be an absolute path", engine.Name())
	}
	binary, err := filepath.Abs(cfg.Binary)
	if err != nil {
		return nil, err
	}
	cfg.Binary = binary
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	groups, err := findCgroups(f)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the host's control groups cannot be used")
	}
	s := store{root: filepath.Join(cfg.Root, "containers")}
	if err := os.MkdirAll(s.root, 0o711); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the state directory of the %s driver cannot be made", engine.Name())
	}
	return &Driver{cfg: cfg, engine: engine, groups: groups, store: s}, nil
}

// Name implements runner.Driver.
func (d *Driver) Name() string { return d.engine.Name() }

// cgroup is the control group of a container.
// cgroup is the control group of a container: the one in which it was made.
func (d *Driver) cgroup(r record) string {
	if r.Cgroup != "" {
		return r.Cgroup
	}
	return d.cfg.CgroupParent + "/" + r.ID
}

// Create implements runner.Driver. Where the container exists and has not
// ended it is kept as it is; what is left of an ended or half-made one gives
// way.
func (d *Driver) Create(ctx context.Context, b runner.Bundle) error {
	if err := checkBundle(b); err != nil {
		return err
	}
	spec, err := d.engine.Spec(b)
	if err != nil {
		return err
	}
	defer d.locks.lock(b.ID)()
	switch r, err := d.store.load(b.ID); {
	case err == nil:
		if r.Phase != phaseCreating && d.alive(r) {
			return nil
		}
		if err := d.purge(ctx, b.ID); err != nil {
			return err
		}
	case !fault.Is(err, fault.NotFound):
		return err
	}
	if err := d.create(ctx, b, spec); err != nil {
		// The caller may have gone away; what it asked for must go too.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTime)
		defer cancel()
		if perr := d.purge(clean, b.ID); perr != nil {
			err = errors.Join(err, perr)
		}
		for _, f := range []string{specFile, LogFile} {
			_ = os.Remove(filepath.Join(b.Dir, f))
		}
		return d.failed(ctx, err, "container %s could not be made", b.ID)
	}
	return nil
}

func (d *Driver) create(ctx context.Context, b runner.Bundle, spec *specs.Spec) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	now := time.Now()
	r := record{
		ID: b.ID, Dir: b.Dir, Phase: phaseCreating, BootID: boot, CreatedAt: now,
		Incarnation: strconv.FormatInt(now.UnixNano(), 36),
		Cgroup:      d.cfg.CgroupParent + "/" + b.ID,
	}
	state := filepath.Join(d.store.dir(b.ID), engineDir)
	if err := os.MkdirAll(state, 0o711); err != nil {
		return err
	}
	// From here on purge finds everything.
	if err := d.store.save(r); err != nil {
		return err
	}
	group := d.cgroup(r)
	// What a lost record left may still be there.
	if err := d.empty(ctx, group); err != nil {
		return err
	}
	limits := b.Limits
	limits.Pids = d.engine.HostPids(b.Limits.Pids)
	if err := d.groups.prepare(group, limits); err != nil {
		return err
	}
	spec.Linux.CgroupsPath = group
	if err := writeJSON(filepath.Join(b.Dir, specFile), spec); err != nil {
		return err
	}
	logFile := filepath.Join(b.Dir, LogFile)
	if err := os.WriteFile(logFile, nil, 0o600); err != nil {
		return err
	}
	pidFile := filepath.Join(state, "pid")
	args := append(d.engine.Args(b, state, logFile), "create", "--bundle", b.Dir, "--pid-file", pidFile, b.ID)
	if err := runCLI(ctx, d.cfg.Binary, args, d.cfg.Env, logFile); err != nil {
		return err
	}
	if r.PID, err = readPID(pidFile); err != nil {
		return err
	}
	if r.StartTime, err = startTime(r.PID); err != nil {
		return fmt.Errorf("the container ended while it was made: %w: %s", err, logTail(logFile))
	}
	r.Phase = phaseCreated
	return d.store.save(r)
}

func readPID(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// Start implements runner.Driver. A running container is left as it is; one
// that has ended is a Conflict.
func (d *Driver) Start(ctx context.Context, b runner.Bundle) error {
	defer d.locks.lock(b.ID)()
	r, err := d.load(b.ID)
	if err != nil {
		return err
	}
	if r.Phase == phaseCreating {
		return fault.New(fault.Conflict, "container %s was not made to the end", b.ID)
	}
	if !d.alive(r) {
		return fault.New(fault.Conflict, "container %s has ended", b.ID)
	}
	if r.Phase == phaseStarted {
		return nil
	}
	// Told in advance: a killed engine may have started it all the same.
	r.Phase, r.StartedAt = phaseStarting, time.Now()
	if err := d.store.save(r); err != nil {
		return err
	}
	state, logFile := filepath.Join(d.store.dir(b.ID), engineDir), filepath.Join(r.Dir, LogFile)
	args := append(d.engine.Args(b, state, logFile), "start", b.ID)
	if err := runCLI(ctx, d.cfg.Binary, args, d.cfg.Env, logFile); err != nil {
		return d.failed(ctx, err, "container %s could not be started", b.ID)
	}
	r.Phase = phaseStarted
	return d.store.save(r)
}

// Stop implements runner.Driver.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	defer d.locks.lock(id)()
	r, err := d.load(id)
	if err != nil {
		return err
	}
	if d.alive(r) {
		if err := d.store.markStop(id); err != nil {
			return err
		}
		if grace > 0 && r.Phase == phaseStarted {
			if err := d.ask(ctx, r, grace); err != nil {
				return err
			}
		}
	}
	return d.killAll(ctx, r)
}

// ask sends SIGTERM to the first process and waits for the end, at most for
// grace.
func (d *Driver) ask(ctx context.Context, r record, grace time.Duration) error {
	p, err := openProc(r.PID, r.StartTime)
	if errors.Is(err, errDead) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.signal(unix.SIGTERM); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	err = p.wait(limited)
	if err != nil && limited.Err() != nil {
		return ctx.Err()
	}
	return err
}

// killAll ends every process of a container and returns when none is left.
func (d *Driver) killAll(ctx context.Context, r record) error {
	ctx, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	err := d.groups.kill(ctx, d.cgroup(r))
	if err == nil {
		// A group no longer lists a process that is on its way out.
		err = waitEnd(ctx, r)
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the processes of container %s could not be ended", r.ID)
	}
	return nil
}

// waitEnd waits until the first process of a container has ended.
func waitEnd(ctx context.Context, r record) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	if boot != r.BootID {
		return nil
	}
	p, err := openProc(r.PID, r.StartTime)
	if errors.Is(err, errDead) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.close()
	return p.wait(ctx)
}

// Delete implements runner.Driver.
func (d *Driver) Delete(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	defer d.locks.lock(id)()
	r, err := d.store.load(id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err == nil && d.alive(r) {
		if err := d.store.markStop(id); err != nil {
			// A full disk must not keep anyone from deleting.
			d.cfg.Log.Warn("deleting a container without a mark of its stop", "container", id, "error", err)
		}
	}
	return d.purge(ctx, id)
}

// purge removes whatever there is of a container, from any state.
func (d *Driver) purge(ctx context.Context, id string) error {
	r, err := d.store.load(id)
	if fault.Is(err, fault.NotFound) {
		r, err = record{ID: id}, nil // its control group may be left all the same
	}
	if err != nil {
		return err
	}
	if err := d.empty(ctx, d.cgroup(r)); err != nil {
		return fault.Wrap(err, fault.Unavailable, "container %s could not be removed", id)
	}
	if err := os.RemoveAll(d.store.dir(id)); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the state of container %s could not be removed", id)
	}
	return nil
}

// empty kills what is in a control group and removes it.
func (d *Driver) empty(ctx context.Context, group string) error {
	ctx, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	if err := d.groups.kill(ctx, group); err != nil {
		return err
	}
	return d.groups.remove(ctx, group)
}

// Inspect implements runner.Driver.
func (d *Driver) Inspect(_ context.Context, id string) (runner.Container, error) {
	r, err := d.load(id)
	if err != nil {
		return runner.Container{}, err
	}
	return d.container(r), nil
}

// List implements runner.Driver.
func (d *Driver) List(context.Context) ([]runner.Container, error) {
	ids, err := d.store.ids()
	if err != nil {
		return nil, err
	}
	var cs []runner.Container
	for _, id := range ids {
		r, err := d.load(id)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		cs = append(cs, d.container(r))
	}
	return cs, nil
}

func (d *Driver) container(r record) runner.Container {
	c := runner.Container{ID: r.ID}
	if r.Phase == phaseCreating || !d.alive(r) {
		return c
	}
	c.PID = r.PID
	c.Created = r.Phase == phaseCreated || r.Phase == phaseStarting
	c.Running = r.Phase == phaseStarted
	return c
}

// load reads a record. Where a start was under way when its process was
// killed, the engine's state says what became of it.
func (d *Driver) load(id string) (record, error) {
	r, err := d.store.load(id)
	if err == nil && r.Phase == phaseStarting && d.engine.Started(filepath.Join(d.store.dir(id), engineDir), id) {
		r.Phase = phaseStarted
	}
	return r, err
}

// alive reports whether the first process of a container has not ended.
func (d *Driver) alive(r record) bool {
	if boot, err := bootID(); err != nil || boot != r.BootID {
		return false
	}
	p, err := openProc(r.PID, r.StartTime)
	if err != nil {
		return false
	}
	defer p.close()
	return p.alive()
}

// Wait implements runner.Driver. The answer is kept: asked again, even by a
// later process, it is the same until Create or Delete.
func (d *Driver) Wait(ctx context.Context, id string) (runnerapi.End, error) {
	r, err := d.load(id)
	if err != nil {
		return runnerapi.End{}, err
	}
	for {
		f := facts{}
		p, err := openProc(r.PID, r.StartTime)
		switch {
		case err == nil:
			err := p.wait(ctx)
			if err == nil {
				f.status, f.known = p.status()
			}
			p.close()
			if err != nil {
				return runnerapi.End{}, fault.Wrap(err, fault.Timeout, "container %s has not ended yet", id)
			}
		case !errors.Is(err, errDead):
			return runnerapi.End{}, err
		}
		f.at = time.Now()
		end, now, err := d.settle(ctx, r, f)
		if err != nil || now == nil {
			return end, err
		}
		r = *now // it was still being made
	}
}

// settle finds the cause of an end, once its first process has ended, and
// keeps it. If the container came to life meanwhile, it returns its record.
func (d *Driver) settle(ctx context.Context, r record, f facts) (runnerapi.End, *record, error) {
	defer d.locks.lock(r.ID)()
	now, err := d.load(r.ID)
	if fault.Is(err, fault.NotFound) || err == nil && now.Incarnation != r.Incarnation {
		// It was deleted meanwhile, and with it the evidence.
		e := endOf(facts{stopMarked: true, status: f.status, known: f.known, at: f.at})
		return e, nil, nil
	}
	if err != nil {
		return runnerapi.End{}, nil, err
	}
	if d.alive(now) {
		return runnerapi.End{}, &now, nil
	}
	// Helpers of the engine may outlive the first process for a moment.
	if err := d.killAll(ctx, now); err != nil {
		return runnerapi.End{}, nil, err
	}
	if e, ok := d.store.end(r.ID); ok {
		return e, nil, nil
	}
	boot, err := bootID()
	if err != nil {
		return runnerapi.End{}, nil, err
	}
	f.stopMarked = d.store.stopMarked(r.ID)
	f.otherBoot = now.BootID != boot
	f.started = now.Phase == phaseStarted
	if u, err := d.groups.usage(d.cgroup(r)); err == nil {
		f.oomKills, f.pidsHits = u.oomKills, u.pidsHits
	} else if !errors.Is(err, fs.ErrNotExist) {
		return runnerapi.End{}, nil, err
	}
	f.said = d.engine.LastWords(now.Dir)
	e := endOf(f)
	if err := d.store.saveEnd(r.ID, e); err != nil {
		d.cfg.Log.Warn("the end of a container could not be kept", "container", r.ID, "error", err)
	}
	return e, nil, nil
}

// Stats implements runner.Driver.
func (d *Driver) Stats(_ context.Context, id string) (runner.Stats, error) {
	r, err := d.load(id)
	if err != nil {
		return runner.Stats{}, err
	}
	u, err := d.groups.usage(d.cgroup(r))
	if errors.Is(err, fs.ErrNotExist) {
		return runner.Stats{}, fault.New(fault.Conflict, "container %s has ended", id)
	}
	if err != nil {
		return runner.Stats{}, err
	}
	return runner.Stats{MemoryBytes: u.memory, CPUTime: u.cpu, Pids: u.pids, OOMKills: u.oomKills}, nil
}

// failed makes a fault of an engine's error.
func (d *Driver) failed(ctx context.Context, err error, format string, args ...any) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if ctx.Err() != nil {
		return fault.Wrap(err, fault.Timeout, format+": there was no time left", args...)
	}
	return fault.Wrap(err, fault.Internal, format, args...)
}

// checkBundle refuses bundles that no engine can carry out.
func checkBundle(b runner.Bundle) error {
	if err := checkID(b.ID); err != nil {
		return err
	}
	if !filepath.IsAbs(b.Dir) || !filepath.IsAbs(b.RootFS) {
		return fault.New(fault.Invalid, "the directories of container %s must be absolute paths", b.ID)
	}
	if len(b.Args) == 0 {
		return fault.New(fault.Invalid, "container %s has no command", b.ID)
	}
	for _, m := range b.Mounts {
		if !filepath.IsAbs(m.Source) || !filepath.IsAbs(m.Target) {
			return fault.New(fault.Invalid, "the mount of %s at %s must use absolute paths", m.Source, m.Target)
		}
	}
	return nil
}

// ReadState decodes a JSON file of an engine's state.
func ReadState(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
