package sandbox

import "time"

// Action is one thing that the reconciler can do for a sandbox.
type Action string

// The actions.
const (
	DoNothing     Action = ""
	DoAwaitImage  Action = "await_image" // see whether the runner has the snapshot by now
	DoCreate      Action = "create"
	DoStart       Action = "start"
	DoStop        Action = "stop"
	DoDelete      Action = "delete"
	DoIdleStop    Action = "idle_stop"   // decide that it should be stopped
	DoAutoDelete  Action = "auto_delete" // decide that it should be destroyed
	DoArchive     Action = "archive"
	DoBackup      Action = "backup"
	DoAutoBackup  Action = "auto_backup" // decide that there should be a backup
	DoFork        Action = "fork"
	DoRelease     Action = "release" // free the runner of what is archived
	DoRestore     Action = "restore"
	DoAutoArchive Action = "auto_archive" // decide that it should be archived
	DoResize      Action = "resize"
	DoSnapshot    Action = "snapshot" // see whether the snapshot of it is done
	DoFail        Action = "fail"     // give up: the phase took too long
	DoNetwork     Action = "network"  // tell the runner what the sandbox may reach
)

// Step is what to do for a sandbox now. With DoNothing, At is when to look
// again; zero is not before something changes.
type Step struct {
	Do     Action
	At     time.Time
	Reason string // with DoFail
}

// Limits on phases. They count from when the state was entered.
const (
	CreateLimit = 15 * time.Minute
	// PullLimit and BuildLimit are above those of the runners, which know why.
	PullLimit  = 2 * time.Hour
	BuildLimit = 2 * time.Hour
	QueueLimit = 12 * time.Hour
	StartLimit = 5 * time.Minute
	StopLimit  = 5 * time.Minute
	// RestoreLimit bounds archiving and restoring, with a minute more for each
	// GiB of the sandbox's disk.
	RestoreLimit = 30 * time.Minute
	// KeepDestroyed is how long a destroyed sandbox can still be read.
	KeepDestroyed = 24 * time.Hour
)

// MaxAutoArchive is the longest auto-archive interval, in minutes: 30 days.
const MaxAutoArchive = 43200

// ArchiveAgain is how long after a failure that is not for good an archive is
// tried again.
const ArchiveAgain = 15 * time.Minute

// Next says what sb needs at now.
func Next(sb Sandbox, now time.Time) Step {
	if sb.State == Destroyed {
		return Step{}
	}
	if sb.Desired == Destroyed || sb.State == Destroying {
		return Step{Do: DoDelete}
	}
	if s, ok := overdue(sb, now); ok {
		return s
	}
	if sb.atRest() && sb.Resize != nil {
		return Step{Do: DoResize}
	}
	if sb.atRest() && sb.Snapshotting != "" && (sb.State == sb.Desired || sb.State == Stopped) {
		return Step{Do: DoSnapshot}
	}
	if sb.wantsBackup() {
		return Step{Do: DoBackup}
	}
	switch sb.State {
	case Forking:
		return Step{Do: DoFork}
	case Creating:
		return Step{Do: DoCreate}
	case PullingSnapshot, PendingBuild, BuildingSnapshot:
		return Step{Do: DoAwaitImage}
	case Starting:
		return Step{Do: DoStart}
	case Stopping:
		return Step{Do: DoStop}
	case Started:
		if sb.Desired == Stopped {
			return Step{Do: DoStop}
		}
		if sb.NetworkPending {
			return Step{Do: DoNetwork}
		}
		return dueAt(DoIdleStop, sb.AutoStop > 0, sb.LastActivityAt, sb.AutoStop, now)
	case Stopped:
		if sb.Desired == Started {
			return Step{Do: DoStart}
		}
		return sooner(
			dueAt(DoAutoDelete, sb.AutoDelete >= 0, sb.LastActivityAt, sb.AutoDelete, now),
			dueAt(DoAutoArchive, !sb.Ephemeral(), sb.LastActivityAt, archiveInterval(sb.AutoArchive), now))
	case Archiving:
		return Step{Do: DoArchive}
	case Archived:
		if sb.RunnerID != "" {
			return Step{Do: DoRelease}
		}
	case Restoring:
		return Step{Do: DoRestore}
	case Error:
		if sb.Desired == Archived && sb.Recoverable && sb.RunnerID != "" {
			return dueAt(DoAutoArchive, true, sb.StateSince, int(ArchiveAgain/time.Minute), now)
		}
	}
	return Step{}
}

// sooner is the one of two steps that comes first; what is due now comes before
// what is not, and the first of two that are due.
func sooner(a, b Step) Step {
	switch {
	case a.Do != DoNothing:
		return a
	case b.Do != DoNothing, a.At.IsZero():
		return b
	case b.At.IsZero(), a.At.Before(b.At):
		return a
	}
	return b
}

// filesLimit is how long the files of a sandbox may be on their way.
func filesLimit(sb Sandbox) time.Duration {
	return RestoreLimit + time.Duration(sb.DiskGiB)*time.Minute
}

// overdue says whether a phase has lasted too long. A stop that does is a
// failure of the runner; the sandbox may well still run, so it stays deletable
// and is looked at again at every resync.
func overdue(sb Sandbox, now time.Time) (Step, bool) {
	limit, phase := time.Duration(0), ""
	switch sb.State {
	case Creating:
		limit, phase = CreateLimit, "creating the sandbox"
	case PullingSnapshot:
		limit, phase = PullLimit, "waiting for its snapshot"
	case PendingBuild:
		limit, phase = QueueLimit, "waiting for its image's turn to be built"
	case BuildingSnapshot:
		limit, phase = BuildLimit, "building its image"
	case Starting:
		limit, phase = StartLimit, "starting the sandbox"
	case Stopping:
		limit, phase = StopLimit, "stopping the sandbox"
	case Archiving:
		limit, phase = filesLimit(sb), "archiving the sandbox"
	case Forking:
		limit, phase = filesLimit(sb), "forking the sandbox"
	case Restoring:
		limit, phase = filesLimit(sb), "restoring the sandbox"
	}
	if limit == 0 || now.Sub(sb.StateSince) < limit {
		return Step{}, false
	}
	return Step{Do: DoFail, Reason: "Timed out after " + limit.String() + " " + phase}, true
}

func dueAt(do Action, on bool, since time.Time, minutes int, now time.Time) Step {
	if !on {
		return Step{}
	}
	at := since.Add(duration(minutes))
	if now.Before(at) {
		return Step{At: at}
	}
	return Step{Do: do}
}

// duration is minutes as a Duration; a century stands for anything longer.
func duration(minutes int) time.Duration {
	const century = 100 * 365 * 24 * 60
	return time.Duration(min(max(minutes, 0), century)) * time.Minute
}
