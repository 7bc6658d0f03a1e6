package reaper

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A table that waits for all children must be alone in its process, so those
// tests run this program again in a role.
const roleVariable = "REAPER_TEST_ROLE"

func TestMain(m *testing.M) {
	roles := map[string]func() error{"subreaper": subreaper, "first": first}
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		if err := role(); err != nil {
			fmt.Println("FAIL:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func inRole(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// shell starts a shell command; its output is that of this process.
func shell(t *Table, text string) (*Child, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	return t.Start(Command{
		Path: "/bin/sh", Args: []string{"sh", "-c", text}, Env: os.Environ(),
		Stdin: null, Stdout: os.Stdout, Stderr: os.Stderr,
	})
}

// within waits for a condition.
func within(d time.Duration, what string, done func() bool) error {
	for deadline := time.Now().Add(d); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v", what, d)
		}
	}
	return nil
}

// zombies counts this process's children that have ended and were not waited
// for.
func zombies() int {
	n := 0
	for _, p := range processes() {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
		if err == nil && p.parent == os.Getpid() && strings.Contains(string(stat), ") Z ") {
			n++
		}
	}
	return n
}

// subreaper gets orphans as PID 1 does. It starts many children at once, of
// which each leaves an orphan behind, and expects every exit code from the one
// who had it and no zombie.
func subreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	table := Adopt()
	const children = 100
	results := make(chan error, children)
	for i := range children {
		go func() {
			child, err := shell(table, fmt.Sprintf("(sleep 0.0%d; exit 99) & exit %d", i%9, i))
			if err != nil {
				results <- err
				return
			}
			<-child.Done()
			if got := child.ExitCode(); got != i {
				err = fmt.Errorf("child %d ended with %d", i, got)
			}
			results <- err
		}()
	}
	for range children {
		if err := <-results; err != nil {
			return err
		}
	}
	left := func() bool {
		for _, p := range processes() {
			if p.parent == os.Getpid() {
				return true
			}
		}
		return false
	}
	if err := within(20*time.Second, "all orphans reaped", func() bool { return !left() }); err != nil {
		return fmt.Errorf("%w; %d zombies", err, zombies())
	}
	// Once more after a time without any child.
	child, err := shell(table, "exit 5")
	if err != nil {
		return err
	}
	<-child.Done()
	if child.ExitCode() != 5 || table.Running() != 0 {
		return fmt.Errorf("ended with %d, %d running", child.ExitCode(), table.Running())
	}
	return nil
}

func TestOrphansAreReapedAndNoStatusIsLost(t *testing.T) {
	out, err := inRole(t, "subreaper").Output()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// first is the first process of a PID namespace.
func first() error {
	asked := Termination()
	table := Adopt()
	fmt.Println("pid", os.Getpid())
	// Everything that a process inside may send.
	child, err := shell(table, `for s in $(seq 1 64); do kill -$s 1 2>/dev/null; done; kill -9 1; exit 7`)
	if err != nil {
		return err
	}
	<-child.Done()
	if got := child.ExitCode(); got != 7 {
		return fmt.Errorf("sender ended with %d", got)
	}
	select {
	case <-asked:
		return fmt.Errorf("a signal from inside asked to end")
	case <-time.After(50 * time.Millisecond):
	}
	stubborn, err := shell(table, `trap "" TERM; echo ready; sleep 1000`)
	if err != nil {
		return err
	}
	<-asked
	fmt.Println("asked")
	table.StopAll(100 * time.Millisecond)
	<-stubborn.Done()
	fmt.Println("stopped")
	return nil
}

func TestOwnChildrenOnly(t *testing.T) {
	table := New()
	stranger := exec.CommandContext(t.Context(), "sh", "-c", "exit 3")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	child, err := shell(table, "exit 4")
	if err != nil {
		t.Fatal(err)
	}
	<-child.Done()
	if got := child.ExitCode(); got != 4 {
		t.Errorf("own child: %d", got)
	}
	if err := stranger.Wait(); err == nil || stranger.ProcessState.ExitCode() != 3 {
		t.Errorf("other child: %v", err)
	}
	child.Signal(syscall.SIGKILL) // after its end: reaches nobody
	child.KillTree()
}

func TestStartErrorsNameTheFile(t *testing.T) {
	table := New()
	for _, test := range []struct {
		command Command
		want    string
	}{
		{Command{Path: "/no/program", Args: []string{"x"}}, "/no/program: no such file"},
		{Command{Path: "/bin/sh", Args: []string{"x"}, Dir: "/no/dir"}, "chdir /no/dir: no such file"},
		{Command{Path: "/bin/sh", Args: []string{"x"}, Dir: "/dev/null"}, "chdir /dev/null: not a directory"},
	} {
		test.command.Stdin, test.command.Stdout, test.command.Stderr = os.Stdin, os.Stdout, os.Stderr
		if _, err := table.Start(test.command); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}

func TestDescendants(t *testing.T) {
	all := []process{
		{1, 0, 1, 'S'}, {10, 1, 1, 'S'}, {11, 10, 1, 'S'}, // root 10 and its child
		{12, 11, 12, 'S'}, {13, 12, 12, 'S'}, // another session below it
		{14, 1, 12, 'S'},                   // a daemon of that session, its parent gone
		{20, 1, 1, 'S'}, {21, 20, 20, 'S'}, // strangers, of the same session as the root
	}
	got := fmt.Sprint(descendants(10, all))
	if want := "[11 12 13 14]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseStat(t *testing.T) {
	p, ok := parseStat(7, []byte("7 (a) b) (c) S 3 7 5 0 -1"))
	if !ok || p != (process{7, 3, 5, 'S'}) {
		t.Errorf("%+v %v", p, ok)
	}
	for _, bad := range []string{"", "7 x", "7 (x) S 3", "7 (x) S a b c d"} {
		if _, ok := parseStat(7, []byte(bad)); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestNothingStartsOnceAllIsEnded: what keeps others running must not bring
// them back while the sandbox is being stopped.
func TestNothingStartsOnceAllIsEnded(t *testing.T) {
	table := New()
	child, err := shell(table, "sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	table.StopAll(10 * time.Second)
	<-child.Done()
	if _, err := shell(table, "exit 0"); !errors.Is(err, ErrStopping) {
		t.Errorf("got %v", err)
	}
}
