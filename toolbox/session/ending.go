package session

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Why a command is over.
const (
	causeExit    = "exit"           // it came to its end or exited
	causeSignal  = "signal"         // a signal ended it
	causeMemory  = "outOfMemory"    // the kernel ended it for want of memory
	causeDeleted = "sessionDeleted" // its session was deleted
	causeEnded   = "sessionEnded"   // its session's shell ended before it could begin
	causeStopped = "sandboxStopped" // the sandbox stopped or died while it ran
	causeFailed  = "notStarted"     // it could not be started
)

var causes = []string{causeExit, causeSignal, causeMemory, causeDeleted, causeEnded, causeStopped, causeFailed}

// ending is how a command ended.
type ending struct {
	exitCode int
	cause    string
	signal   string // by name, for causeSignal
}

// endOf tells an ending from an exit code as a shell gives it: 128 and a
// signal's number for a process that a signal has ended.
func endOf(code int) ending {
	if name := unix.SignalName(syscall.Signal(code - 128)); code > 128 && name != "" {
		return ending{code, causeSignal, name}
	}
	return ending{exitCode: code, cause: causeExit}
}

// endOfShell tells an ending from how a process ended.
func endOfShell(status syscall.WaitStatus) ending {
	if !status.Signaled() {
		return ending{exitCode: status.ExitStatus(), cause: causeExit}
	}
	return ending{128 + int(status.Signal()), causeSignal, signalName(status.Signal())}
}

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("SIG%d", int(s))
}
