package oci

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

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
	// RunArgs returns what "run" needs so that a container's control group, which
	// tells why it ended, is there after the end.
	RunArgs() []string
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

// cgroup is the control group of a container: the one in which it was made.
func (d *Driver) cgroup(r record) string {
	if r.Cgroup != "" {
		return r.Cgroup
	}
	return d.cfg.CgroupParent + "/" + r.ID
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
