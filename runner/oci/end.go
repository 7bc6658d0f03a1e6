package oci

import (
	"fmt"
	"time"

	"daytona/api/runnerapi"

	"golang.org/x/sys/unix"
)

// facts is everything from which the cause of an end follows.
type facts struct {
	stopMarked bool
	otherBoot  bool // the container is of an earlier run of the kernel
	started    bool
	status     unix.WaitStatus
	known      bool // status is known
	oomKills   int64
	pidsHits   int64
	said       string // the engine's last words
	at         time.Time
}

// endOf is the rule by which an end gets its one cause.
//
// A process that the kernel killed for want of memory has died of SIGKILL: a
// container whose first process ended in another way did not end for that,
// though some of its processes may have. The limit on processes is counted
// as the cause only when the end was a failure.
func endOf(f facts) runnerapi.End {
	e := runnerapi.End{ExitCode: -1, At: f.at}
	if f.known {
		e.ExitCode = exitCode(f.status)
	}
	killed := !f.known || f.status.Signaled() && f.status.Signal() == unix.SIGKILL
	switch {
	case f.stopMarked:
		e.Cause, e.Evidence = runnerapi.CauseUser, "it was asked to stop"
	case f.otherBoot:
		e.Cause, e.Evidence = runnerapi.CauseHostLost, "the host was started anew since"
	case !f.started:
		e.Cause, e.Evidence = runnerapi.CauseStartFailed, "it ended before it was started"
	case f.oomKills > 0 && killed:
		e.Cause = runnerapi.CauseOutOfMemory
		e.Evidence = fmt.Sprintf("the kernel killed %d of its processes for want of memory", f.oomKills)
	case f.pidsHits > 0 && e.ExitCode != 0:
		e.Cause = runnerapi.CausePids
		e.Evidence = fmt.Sprintf("the limit on processes refused a new one %d times", f.pidsHits)
	default:
		e.Cause, e.Evidence = runnerapi.CauseExit, statusText(f.status, f.known)
	}
	if f.said != "" && e.Cause != runnerapi.CauseUser {
		e.Evidence += "; " + f.said
	}
	return e
}

// exitCode is the code as shells give it: 128 + signal for a killed process.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

func statusText(ws unix.WaitStatus, known bool) string {
	switch {
	case !known:
		return "its first process ended, its status is not known"
	case ws.Signaled():
		return "its first process was killed by " + unix.SignalName(ws.Signal())
	default:
		return fmt.Sprintf("its first process exited with status %d", ws.ExitStatus())
	}
}
