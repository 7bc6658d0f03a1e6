package runner_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"daytona/api/runnerapi"
	"daytona/runner"
	"daytona/runner/fakedriver"
)

// toolbox is the program that the tests' sandboxes run, built once.
var toolbox string

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" { // see crash_test.go
		os.Exit(victim(dir))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "runner-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		toolbox = filepath.Join(dir, "toolbox")
		build := exec.CommandContext(context.Background(), "go", "build", "-o", toolbox, "daytona/cmd/toolbox")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build toolbox: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// patience bounds what a test waits for. Nothing depends on it being short.
const patience = 60 * time.Second

// world is a runner without root, and everything that it has to do with.
type world struct {
	t      testing.TB
	dir    string
	driver *fakedriver.Driver
	roots  *fakedriver.Roots
	net    *fakedriver.Network
	*runner.Runner
}

const (
	snapshot = "base"
	big      = "big" // another snapshot
)

// openWorld opens a runner on dir. Nothing is closed when the test ends but
// through the runner's own promises; see newWorld.
func openWorld(dir, toolbox string, change func(*runner.Config)) (*world, error) {
	w := &world{dir: dir}
	var err error
	if w.driver, err = fakedriver.New(fakedriver.Config{Dir: filepath.Join(dir, "containers")}); err != nil {
		return nil, err
	}
	if w.roots, err = fakedriver.NewRoots(filepath.Join(dir, "roots"), snapshot, big); err != nil {
		return nil, err
	}
	if w.net, err = fakedriver.NewNetwork(filepath.Join(dir, "net")); err != nil {
		return nil, err
	}
	cfg := runner.Config{
		Dir: filepath.Join(dir, "runner"), ID: "test",
		Drivers: []runner.Driver{w.driver}, UserNS: []string{"fake"},
		Roots: w.roots, Network: w.net, Toolbox: toolbox,
		StopGrace: 2 * time.Second, ReadyTimeout: patience, MemoryReserveMiB: 1,
		Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	w.Runner, err = runner.Open(context.Background(), cfg)
	return w, err
}

// newWorld opens a runner in a directory of the test, and removes every sandbox
// when the test ends.
func newWorld(t testing.TB, change func(*runner.Config)) *world {
	t.Helper()
	return reopen(t, t.TempDir(), change)
}

// reopen opens a runner on what an earlier one left.
func reopen(t testing.TB, dir string, change func(*runner.Config)) *world {
	t.Helper()
	w, err := openWorld(dir, toolbox, change)
	if err != nil {
		t.Fatal(err)
	}
	w.t = t
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
		list, err := w.driver.List(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, c := range list {
			if err := w.driver.Delete(ctx, c.ID); err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

// close ends the runner as an upgrade would.
func (w *world) close() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.Close(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func spec(change ...func(*runnerapi.Spec)) runnerapi.Spec {
	s := runnerapi.Spec{ID: uuid.NewString(), OrgID: "org", Snapshot: snapshot, Region: "here"}
	for _, c := range change {
		c(&s)
	}
	return s
}

// create makes a sandbox that must work.
func (w *world) create(s runnerapi.Spec) runnerapi.Sandbox {
	w.t.Helper()
	sb, err := w.Create(w.t.Context(), s)
	if err != nil {
		w.t.Fatalf("create: %v", err)
	}
	if sb.State != runnerapi.StateRunning {
		w.t.Fatalf("created sandbox is %s", sb.State)
	}
	return sb
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// openDriverOnly looks at a world's containers without a runner.
func openDriverOnly(dir string) (*fakedriver.Driver, error) {
	return fakedriver.New(fakedriver.Config{Dir: filepath.Join(dir, "containers")})
}

// pids returns the first process of each running container.
func pids(t testing.TB, d *fakedriver.Driver) map[string]int {
	t.Helper()
	list, err := d.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, c := range list {
		if c.Running {
			found[c.ID] = c.PID
		}
	}
	return found
}
