// Package fakedriver implements the runner's seams without root: a container is
// the real toolbox, run as an ordinary process over a unix socket, with a
// directory as its root. Nothing is isolated; everything else is as it is with
// a real driver, so that everybody's tests can run the whole way from the API to
// a process. Containers outlive the process that made them.
package fakedriver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/atomicfile"
	"daytona/internal/fault"
	"daytona/runner"
)

// Config configures a Driver.
type Config struct {
	// Toolbox is the host path of the program that runs when the bundle's
	// first argument is not found by way of a mount.
	Toolbox string
	// Dir holds the state of the containers. Required.
	Dir string
	// Name defaults to "fake".
	Name string
}

// Driver implements runner.Driver. See faults.go for what a test can make of it.
type Driver struct {
	cfg Config
	faults
}

var _ runner.Driver = (*Driver)(nil)

// New returns a driver on the containers in cfg.Dir.
func New(cfg Config) (*Driver, error) {
	if cfg.Dir == "" {
		return nil, errors.New("fakedriver: Dir is required")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	if cfg.Name == "" {
		cfg.Name = "fake"
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("fakedriver: %w", err)
	}
	return &Driver{cfg: cfg}, nil
}

// Files of one container, in a directory of its id.
const (
	bundleFile = "bundle.json" // it exists from Create to Delete
	pidFile    = "pid"         // the shim wrote its number
	exitFile   = "exit"        // the shim wrote how its child ended
	endFile    = "end.json"    // why it was ended from outside
	saidFile   = "said.json"   // what Wait said of its end
	behindFile = "behind"      // it exists while the container is in the background
	limitsFile = "limits.json" // the last of SetLimits
)

func (d *Driver) path(id, file string) string { return filepath.Join(d.cfg.Dir, id, file) }

// Name implements runner.Driver.
func (d *Driver) Name() string { return d.cfg.Name }

// Create implements runner.Driver.
func (d *Driver) Create(ctx context.Context, b runner.Bundle) error {
	if err := d.pass(ctx, "Create"); err != nil {
		return err
	}
	if b.ID == "" || strings.ContainsAny(b.ID, "/\x00") || strings.HasPrefix(b.ID, ".") {
		return fault.New(fault.Invalid, "container id %q is not valid", b.ID)
	}
	if len(b.Args) == 0 {
		return fault.New(fault.Invalid, "container %s has no program", b.ID)
	}
	if _, err := d.load(b.ID); err == nil {
		if pid, started := d.shimPID(b.ID); !started || alive(pid, b.ID) {
			return nil
		}
		if err := d.purge(ctx, b.ID); err != nil { // the next life of one that ended
			return err
		}
	}
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(d.cfg.Dir, b.ID), 0o700); err != nil {
		return fault.Wrap(err, fault.Unavailable, "container %s cannot be created", b.ID)
	}
	if err := atomicfile.WriteFast(d.path(b.ID, bundleFile), data, 0o600); err != nil || !b.Background {
		return err
	}
	return d.SetBackground(ctx, b, true)
}

// SetBackground implements runner.Backgrounder, as far as Background tells it.
func (d *Driver) SetBackground(ctx context.Context, b runner.Bundle, on bool) error {
	if err := d.pass(ctx, "SetBackground"); err != nil {
		return err
	}
	if _, err := d.load(b.ID); err != nil {
		return err
	}
	if on {
		return atomicfile.WriteFast(d.path(b.ID, behindFile), nil, 0o600)
	}
	if err := os.Remove(d.path(b.ID, behindFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SetLimits implements runner.Resizer, as far as Limits tells them.
func (d *Driver) SetLimits(ctx context.Context, b runner.Bundle) error {
	if err := d.pass(ctx, "SetLimits"); err != nil {
		return err
	}
	if _, err := d.load(b.ID); err != nil {
		return err
	}
	data, err := json.Marshal(b.Limits)
	if err != nil {
		return err
	}
	return atomicfile.WriteFast(d.path(b.ID, limitsFile), data, 0o600)
}

// Limits says what SetLimits set last for a container.
func (d *Driver) Limits(id string) (l runner.Limits) {
	if data, err := os.ReadFile(d.path(id, limitsFile)); err == nil {
		_ = json.Unmarshal(data, &l) // it was written above
	}
	return l
}

// Background says what was last set for a container.
func (d *Driver) Background(id string) bool {
	_, err := os.Stat(d.path(id, behindFile))
	return err == nil
}

// The markers are in the environment of every process of a container.
const (
	marker    = "FAKE_CONTAINER"
	dirMarker = "FAKE_CONTAINER_DIR" // the driver's
)

// shim runs the container's program and writes down how it ended, so that a
// process that is not its parent can tell. A shim whose container was deleted
// before it came to run ends at once.
const shim = `
dir=$1; log=$2; shift 2
echo $$ >"$dir/pid.tmp" && mv "$dir/pid.tmp" "$dir/pid" || exit 1
[ -e "$dir/bundle.json" ] || exit 1
"$@" </dev/null >>"$log" 2>&1 &
child=$!
trap 'told=1; kill -TERM $child' TERM
while :; do
  told=
  wait $child; status=$?
  [ "$told" ] || break
done
echo $status >"$dir/exit.tmp" && mv "$dir/exit.tmp" "$dir/exit"
`

// Start implements runner.Driver.
func (d *Driver) Start(ctx context.Context, b runner.Bundle) error {
	if err := d.pass(ctx, "Start"); err != nil {
		return err
	}
	b, err := d.load(b.ID)
	if err != nil {
		return err
	}
	if pid, started := d.shimPID(b.ID); started {
		if alive(pid, b.ID) {
			return nil
		}
		return fault.New(fault.Conflict, "container %s has ended", b.ID)
	}
	// A process that was killed here may have launched one already.
	if err := killAll(ctx, b.ID, 0); err != nil {
		return err
	}
	if err := d.launch(b); err != nil {
		return err
	}
	// The shim's number is the container from now on.
	for {
		if _, started := d.shimPID(b.ID); started {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollPause / 4):
		}
	}
}

func (d *Driver) launch(b runner.Bundle) error {
	args := slices.Clone(b.Args)
	args[0] = d.program(b)
	dir := filepath.Join(d.cfg.Dir, b.ID)
	cmd := exec.Command("/bin/sh", //nolint:noctx // a container outlives who made it
		append([]string{"-c", shim, "shim", dir, filepath.Join(b.Dir, "fake.log")}, args...)...)
	cmd.Env = d.environ(b)
	cmd.Dir = filepath.Join(b.RootFS, b.Cwd)
	if _, err := os.Stat(cmd.Dir); err != nil {
		cmd.Dir = b.RootFS
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fault.Wrap(err, fault.Internal, "container %s cannot be started", b.ID)
	}
	go func() { _ = cmd.Wait() }() // no zombies while this process lives
	return nil
}

// program finds the first argument: by a mount, in the root, or on the host.
func (d *Driver) program(b runner.Bundle) string {
	name := b.Args[0]
	for _, m := range b.Mounts {
		if m.Target == name {
			return m.Source
		}
	}
	inside := filepath.Join(b.RootFS, name)
	if st, err := os.Stat(inside); err == nil && st.Mode().IsRegular() {
		return inside
	}
	if d.cfg.Toolbox != "" {
		return d.cfg.Toolbox
	}
	return name
}

// environ moves the home directory into the root.
func (d *Driver) environ(b runner.Bundle) []string {
	env := []string{marker + "=" + b.ID, dirMarker + "=" + d.cfg.Dir, "DAYTONA_TOOLBOX_LISTEN=unix:" + d.socket(b.ID)}
	for _, kv := range b.Env {
		if home, ok := strings.CutPrefix(kv, "HOME="); ok {
			kv = "HOME=" + filepath.Join(b.RootFS, home)
		}
		if p, ok := strings.CutPrefix(kv, "PATH="); ok {
			kv = "PATH=" + p + ":" + os.Getenv("PATH")
		}
		env = append(env, kv)
	}
	return env
}

// socket is where the toolbox of a container listens. A socket's path must be
// short, which a test's directory need not be.
func (d *Driver) socket(id string) string {
	sum := sha256.Sum256([]byte(d.cfg.Dir + "\x00" + id))
	return filepath.Join(os.TempDir(), "fake-toolbox-"+hex.EncodeToString(sum[:8])+".sock")
}

// load returns the bundle that a container was created with.
func (d *Driver) load(id string) (b runner.Bundle, err error) {
	data, err := os.ReadFile(d.path(id, bundleFile))
	if errors.Is(err, fs.ErrNotExist) {
		return b, fault.New(fault.NotFound, "container %s not found", id)
	}
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	return b, err
}

// Inspect implements runner.Driver.
func (d *Driver) Inspect(ctx context.Context, id string) (runner.Container, error) {
	if _, err := d.load(id); err != nil {
		return runner.Container{}, err
	}
	pid, started := d.shimPID(id)
	c := runner.Container{ID: id, Created: !started}
	if started && alive(pid, id) {
		c.Running, c.PID = true, pid
	}
	return c, nil
}

// List implements runner.Driver.
func (d *Driver) List(ctx context.Context) ([]runner.Container, error) {
	if err := d.pass(ctx, "List"); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var list []runner.Container
	for _, e := range entries {
		c, err := d.Inspect(ctx, e.Name())
		if fault.Is(err, fault.NotFound) { // half made or half deleted
			c, err = runner.Container{ID: e.Name(), Created: true}, nil
		}
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// shimPID returns the number that the shim wrote; ok is false before it did.
func (d *Driver) shimPID(id string) (pid int, ok bool) {
	data, err := os.ReadFile(d.path(id, pidFile))
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
	return pid, err == nil
}

// Stats implements runner.Driver. Nothing is measured.
func (d *Driver) Stats(ctx context.Context, id string) (runner.Stats, error) {
	if _, err := d.load(id); err != nil {
		return runner.Stats{}, err
	}
	return runner.Stats{Pids: int64(len(processes(id, d.session(id))))}, nil
}

// Dial implements runner.Driver. The toolbox's port leads to its socket; any
// other port is one of the host, on which a program in the container listens.
func (d *Driver) Dial(ctx context.Context, b runner.Bundle, port int) (net.Conn, error) {
	if err := d.pass(ctx, "Dial"); err != nil {
		return nil, err
	}
	if _, err := d.load(b.ID); err != nil {
		return nil, err
	}
	var dialer net.Dialer
	network, address := "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if port == toolboxPort {
		network, address = "unix", d.socket(b.ID)
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "port %d of container %s cannot be reached", port, b.ID)
	}
	return conn, nil
}

const toolboxPort = 2280

// pollPause is between two looks for processes that are being killed.
const pollPause = 2 * time.Millisecond

// endOf says how a container whose shim is gone ended; always the same, once it
// was asked.
func (d *Driver) endOf(id string) runnerapi.End {
	var end runnerapi.End
	if data, err := os.ReadFile(d.path(id, saidFile)); err == nil && json.Unmarshal(data, &end) == nil {
		return end
	}
	end = d.findEnd(id)
	if data, err := json.Marshal(end); err == nil {
		_ = atomicfile.WriteFast(d.path(id, saidFile), data, 0o600) // else it is found anew
	}
	return end
}

func (d *Driver) findEnd(id string) runnerapi.End {
	// Times are kept without the clock's own reading, so that they stay equal.
	end := runnerapi.End{Cause: runnerapi.CauseExit, ExitCode: -1, At: time.Now().Round(0).UTC()}
	if data, err := os.ReadFile(d.path(id, exitFile)); err == nil {
		if code, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			end.ExitCode = code
			end.Evidence = fmt.Sprintf("the first process ended with status %d", code)
		}
	}
	var forced runnerapi.End
	if data, err := os.ReadFile(d.path(id, endFile)); err == nil && json.Unmarshal(data, &forced) == nil {
		end.Cause = forced.Cause
		if forced.ExitCode != 0 {
			end.ExitCode = forced.ExitCode
		}
		if forced.Evidence != "" {
			end.Evidence = forced.Evidence
		}
	}
	return end
}
