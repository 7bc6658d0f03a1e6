package launch

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Why a command is over.
const (
	CauseExit    = "exit"           // it came to its end or exited
	CauseSignal  = "signal"         // a signal ended it
	CauseMemory  = "outOfMemory"    // the kernel ended it for want of memory
	CauseTimeout = "timeout"        // its time was over
	CauseDeleted = "sessionDeleted" // its session was deleted
	CauseEnded   = "sessionEnded"   // its session's shell ended before it could begin
	CauseStopped = "sandboxStopped" // the sandbox stopped or died while it ran
	CauseFailed  = "notStarted"     // it could not be started
)

// Causes are all of them.
var Causes = []string{CauseExit, CauseSignal, CauseMemory, CauseTimeout, CauseDeleted, CauseEnded, CauseStopped, CauseFailed}

// Ending is how a command ended.
type Ending struct {
	ExitCode int
	Cause    string
	Signal   string // its name, such as SIGKILL, for CauseSignal
}

// Witness remembers what must be known from before a command to tell why it
// ended.
type Witness struct {
	space *Space
	kills int64
}

// Watch begins to watch for why commands end that start from now on.
func (s *Space) Watch() Witness { return Witness{s, memoryKills()} }

// Ending tells how a command ended from an exit code as a shell gives it: 128
// and a signal's number for a process that a signal ended.
func (w Witness) Ending(code int) Ending {
	e := Ending{ExitCode: code, Cause: CauseExit}
	if name := unix.SignalName(syscall.Signal(code - 128)); code > 128 && name != "" {
		e.Cause, e.Signal = CauseSignal, name
	} else if code > 128+32 && code <= 128+64 {
		e.Cause, e.Signal = CauseSignal, fmt.Sprintf("SIGRTMIN+%d", code-128-34)
	}
	switch {
	case e.Cause == CauseSignal && w.space.Stopping():
		e.Cause, e.Signal = CauseStopped, ""
	case e.Signal == "SIGKILL" && memoryKills() > w.kills:
		e.Cause, e.Signal = CauseMemory, ""
	}
	return e
}

// memoryKills returns how often the kernel has ended a process for want of
// memory: of the sandbox where it is told, else of the whole machine. A sandbox
// whose kernel does not count ends as a whole.
func memoryKills() int64 {
	for _, file := range []string{"/sys/fs/cgroup/memory.events", "/proc/vmstat"} {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, ok := counter(content, "oom_kill"); ok {
			return n
		}
	}
	return 0
}

// counter finds a number in lines of a name and a number.
func counter(content []byte, name string) (int64, bool) {
	for line := range bytes.Lines(content) {
		key, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if ok && string(key) == name {
			n, err := strconv.ParseInt(string(value), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
