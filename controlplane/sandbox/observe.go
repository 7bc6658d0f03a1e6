package sandbox

import (
	"cmp"
	"time"

	"daytona/api/runnerapi"
)

// Observation is a move that happened by itself.
type Observation struct {
	To     State
	Change Change
}

// Observe compares a row at rest with what the runner reports. A row that a
// worker is moving, or that is going away, is the worker's business.
func Observe(sb Sandbox, seen runnerapi.Sandbox, now time.Time) (Observation, bool) {
	switch sb.State {
	case Started:
		switch seen.State {
		case runnerapi.StateStopped:
			return Observation{Stopped, endedByItself(sb, seen, now)}, true
		case runnerapi.StateFailed:
			c := endedByItself(sb, seen, now)
			why := "The sandbox failed: " + cmp.Or(c.End.Evidence, c.End.Cause)
			yes := true
			c.ErrorReason, c.Recoverable = &why, &yes
			return Observation{Error, c}, true
		case runnerapi.StateDeleted:
			return missing(sb, now), true
		}
	case Stopped:
		switch seen.State {
		case runnerapi.StateRunning:
			// Next stops it again unless it is wanted.
			return Observation{Started, Change{Isolation: &seen.Isolation}}, sb.Desired != Destroyed
		case runnerapi.StateDeleted:
			return missing(sb, now), true
		}
	case Error:
		// A runner that was slow rather than broken: what it made is wanted.
		if seen.State == runnerapi.StateRunning && sb.Desired == Started {
			return Observation{Started, Change{
				Isolation: &seen.Isolation, ErrorReason: new(string), Recoverable: new(bool), End: &End{}, Active: &now,
			}}, true
		}
	}
	return Observation{}, false
}

// endedByItself also makes the end what is wanted: nobody starts a sandbox
// again unasked.
func endedByItself(sb Sandbox, seen runnerapi.Sandbox, now time.Time) Change {
	e := End{Cause: string(runnerapi.CauseExit), At: now}
	if seen.End != nil && seen.End.Cause != runnerapi.CauseNone {
		e = End{Cause: string(seen.End.Cause), Evidence: seen.End.Evidence, At: seen.End.At}
	}
	c := Change{End: &e, Active: &now}
	if sb.Desired == Started {
		stopped := Stopped
		c.Desired = &stopped
	}
	return c
}

func missing(sb Sandbox, now time.Time) Observation {
	why := "The sandbox is missing on its runner"
	c := Change{
		Recoverable: new(bool), Active: &now,
		End: &End{Cause: string(runnerapi.CauseHostLost), Evidence: why, At: now},
	}
	if sb.Backup.Complete() { // no runner has it, as after an archive
		why += ". Its backup of " + sb.Backup.At.Format(time.RFC3339) + " is in object storage: recover it to go on from there"
		c.Recoverable, c.RunnerID = ptr(true), new(string)
	}
	c.ErrorReason = &why
	return Observation{Error, c}
}
