package reaper

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Table holds the children that have been started and not yet waited for.
type Table struct {
	all      bool          // it waits for every child of the process
	rescore  bool          // children must not keep this process's protection from the OOM killer
	started  chan struct{} // wakes the loop after a start; capacity 1
	orphaned chan os.Signal

	mu       sync.Mutex
	children map[int]*Child
	stopping bool // everything is being ended
}

// New returns a table that waits for its own children and leaves all others
// alone.
func New() *Table {
	return &Table{children: map[int]*Child{}, rescore: protected()}
}

// Adopt returns a table that waits for every child of this process, including
// orphans that the kernel gives to it. There must be one at most, and nothing
// else in the process may wait for children.
func Adopt() *Table {
	t := New()
	t.all = true
	t.started = make(chan struct{}, 1)
	t.orphaned = make(chan os.Signal, 1)
	go t.reap()
	return t
}

// Command is a process to be started.
type Command struct {
	Path                  string   // the program's file
	Args                  []string // with argv[0]
	Env                   []string
	Dir                   string
	Stdin, Stdout, Stderr *os.File
	// TTY makes the process the leader of a session of its own, whose
	// controlling terminal is Stdin.
	TTY bool
	// Extra become the file descriptors 3 and up.
	Extra []*os.File
}

// Child is a started process, the leader of its own process group.
type Child struct {
	table  *Table
	pid    int
	done   chan struct{}
	ended  bool // under table.mu: its number may belong to another process
	status syscall.WaitStatus
}

// ErrStopping means that no process is started because all are being ended.
var ErrStopping = errors.New("the sandbox is stopping")

// Start starts a process in a new process group, or with TTY in a new session.
func (t *Table) Start(c Command) (*Child, error) {
	attr := &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   c.Env,
		Files: []uintptr{c.Stdin.Fd(), c.Stdout.Fd(), c.Stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	}
	if c.TTY {
		// A new session begins with a new process group.
		attr.Sys = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	}
	for _, f := range c.Extra {
		attr.Files = append(attr.Files, f.Fd())
	}
	child := &Child{table: t, done: make(chan struct{})}
	t.mu.Lock()
	if t.stopping {
		t.mu.Unlock()
		return nil, ErrStopping
	}
	pid, err := syscall.ForkExec(c.Path, c.Args, attr)
	if err != nil {
		t.mu.Unlock()
		return nil, startError(c, err)
	}
	child.pid = pid
	t.children[pid] = child
	t.mu.Unlock()
	if t.rescore {
		// The kernel must rather end a command than the toolbox. Best
		// effort: a program that may not be seen cannot be written either.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0)
	}
	if t.all {
		select {
		case t.started <- struct{}{}:
		default:
		}
	} else {
		go t.waitOwn(child)
	}
	return child, nil
}

// Register takes a child that Start has not started: an orphan that the kernel
// has given to this process, which must lead its own process group. It fails
// when there is no such child (any more).
//
// The number may have passed to another child if the one that is meant could
// have ended before the call. So a caller must make sure that it lives on
// afterwards, by something that only that process can say, and otherwise
// Forget what it got.
func (t *Table) Register(pid int) (*Child, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.children[pid]; known {
		return nil, fmt.Errorf("register child %d: it is known already", pid)
	}
	// Under the lock, so that the loop cannot take its status meanwhile: a
	// child that has ended is still a zombie, or was never ours to wait for.
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil); err != nil {
		return nil, fmt.Errorf("register child %d: %w", pid, err)
	}
	child := &Child{table: t, pid: pid, done: make(chan struct{})}
	t.children[pid] = child
	if t.all {
		select {
		case t.started <- struct{}{}:
		default:
		}
	} else {
		go t.waitOwn(child)
	}
	return child, nil
}

// Forget takes back a Register of the wrong process. In a table that waits for
// every child its status is dropped when it ends, as for any orphan.
func (c *Child) Forget() {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if !c.ended && c.table.all {
		delete(c.table.children, c.pid)
		c.ended = true
		c.status = syscall.WaitStatus(255 << 8)
		close(c.done)
	}
}

// startError says which of the two files it was that could not be used: the
// kernel answers alike for a missing directory and a missing program.
func startError(c Command, err error) error {
	if c.Dir != "" {
		if info, statErr := os.Stat(c.Dir); statErr != nil {
			return &os.PathError{Op: "chdir", Path: c.Dir, Err: unwrapPath(statErr)}
		} else if !info.IsDir() {
			return &os.PathError{Op: "chdir", Path: c.Dir, Err: syscall.ENOTDIR}
		}
	}
	return &os.PathError{Op: "fork/exec", Path: c.Path, Err: err}
}

func unwrapPath(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// PID is the process's number, and its group's.
func (c *Child) PID() int { return c.pid }

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// ExitCode is the exit code by the shell's rule: 128 plus the signal's number
// for a process that a signal ended. It may be asked once Done is closed.
func (c *Child) ExitCode() int {
	if c.status.Signaled() {
		return 128 + int(c.status.Signal())
	}
	return c.status.ExitStatus()
}

// Status is how the process ended, once Done is closed.
func (c *Child) Status() syscall.WaitStatus { return c.status }

// Signal sends a signal to the process group. It does nothing once the process
// has ended.
func (c *Child) Signal(sig syscall.Signal) {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if !c.ended {
		_ = syscall.Kill(-c.pid, sig)
	}
}

// SignalAll sends a signal to the group of every child.
func (t *Table) SignalAll(sig syscall.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for pid := range t.children {
		_ = syscall.Kill(-pid, sig)
	}
}

// Running returns how many children have not ended.
func (t *Table) Running() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.children)
}

// reap waits for every child of the process, for ever.
func (t *Table) reap() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == nil:
			t.take(childOf(&info))
		case errors.Is(err, unix.ECHILD):
			t.awaitChild()
		}
	}
}

// awaitChild blocks while the process has no child. Besides our own starts a
// child can come from outside: an orphan of a process that was put into this
// PID namespace. Such a one is announced when it ends.
func (t *Table) awaitChild() {
	signal.Notify(t.orphaned, syscall.SIGCHLD)
	defer signal.Stop(t.orphaned)
	// One may have ended between the last look and the call of Notify.
	var info unix.Siginfo
	if unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil) == nil {
		return
	}
	select {
	case <-t.started:
	case <-t.orphaned:
	}
}

// take collects the status of a process that is known to have ended.
func (t *Table) take(pid int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var status syscall.WaitStatus
	got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
	if err != nil || got != pid {
		return
	}
	if child, ours := t.children[pid]; ours {
		t.endLocked(child, status)
	}
}

// waitOwn waits for one child.
func (t *Table) waitOwn(c *Child) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, c.pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(c.pid, &status, 0, nil); err != nil {
			// Somebody else took it. It is over, we only do not know how.
			status = syscall.WaitStatus(255 << 8)
		}
		t.endLocked(c, status)
		return
	}
}

func (t *Table) endLocked(c *Child, status syscall.WaitStatus) {
	c.ended = true
	c.status = status
	delete(t.children, c.pid)
	close(c.done)
}

// protected reports whether this process is spared by the OOM killer.
func protected() bool {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	return err == nil && len(b) > 0 && b[0] == '-'
}
