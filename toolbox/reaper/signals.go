package reaper

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Termination returns a channel that is closed when the program is asked to
// end.
//
// Outside a sandbox every SIGTERM and SIGINT asks for that. The first process
// of a PID namespace is asked by SIGTERM from outside of it alone: a process
// inside may send any signal to a process of its own user, and must not be able
// to end the sandbox with it. The kernel tells the two apart: a sender that the
// namespace does not contain has no number in it, so it is given as 0, and a
// process cannot forge that. Every other signal from inside is dropped before
// the Go runtime sees it, since the runtime takes some of them (a SIGSEGV that
// was queued by another process) for faults of its own and would crash.
func Termination() <-chan struct{} {
	asked := make(chan struct{})
	signals := make(chan os.Signal, 1)
	inside := os.Getpid() == 1
	if inside {
		signal.Notify(signals, syscall.SIGTERM)
		inside = filterSignals()
	} else {
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	}
	go func() {
		for range signals {
			if !inside || askedFromOutside() {
				close(asked)
				return
			}
		}
	}()
	return asked
}

// StopAll ends all other processes of the PID namespace, of which this must be
// the first process, or else every child of the table. It asks first and
// returns when none is left or grace is over; what is left then ends together
// with the namespace.
// No process can be started any more: what keeps others running must not begin
// again with them.
func (t *Table) StopAll(grace time.Duration) {
	t.mu.Lock()
	t.stopping = true
	t.mu.Unlock()
	signalAll := t.SignalAll
	if os.Getpid() == 1 {
		signalAll = func(sig syscall.Signal) { _ = syscall.Kill(-1, sig) }
	}
	signalAll(syscall.SIGTERM)
	signalAll(syscall.SIGCONT) // a stopped process would not see it
	deadline := time.After(grace)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for t.Running() > 0 {
		select {
		case <-deadline:
			signalAll(syscall.SIGKILL)
			return
		case <-tick.C:
		}
	}
	signalAll(syscall.SIGKILL)
}
