//go:build root

package reaper

import (
	"bufio"
	"strings"
	"syscall"
	"testing"
)

// No signal from inside ends the first process, and SIGTERM from outside does,
// together with a child that ignores it.
func TestFirstProcess(t *testing.T) {
	cmd := inRole(t, "first")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	lines := bufio.NewReader(out)
	readLine(t, lines, "pid 1")
	readLine(t, lines, "ready")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	readLine(t, lines, "asked")
	readLine(t, lines, "stopped")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func readLine(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != want {
		t.Fatalf("got %q, %v; want %q", line, err, want)
	}
}
