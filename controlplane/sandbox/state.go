package sandbox

import "slices"

// State is where a sandbox is in its life. doc.go draws the machine.
type State string

// The states that this server uses. After a crash of the server the reconciler
// goes on from each of them.
const (
	Creating         State = "creating"          // the runner is making it
	PullingSnapshot  State = "pulling_snapshot"  // it waits for its snapshot to be ready on the runner
	PendingBuild     State = "pending_build"     // it waits for the turn of its image to be built
	BuildingSnapshot State = "building_snapshot" // its image is being built
	BuildFailed      State = "build_failed"      // it could not be; ErrorReason says why
	Starting         State = "starting"          // the runner is starting it
	Started          State = "started"           // its toolbox answers
	Stopping         State = "stopping"          // the runner is stopping it
	Stopped          State = "stopped"           // no process; files kept
	Destroying       State = "destroying"        // the runner is removing it
	Destroyed        State = "destroyed"         // nothing is left; the row goes after a day
	Archiving        State = "archiving"         // its files go to object storage
	Archived         State = "archived"          // its files are in object storage alone; see Sandbox.Backup
	Forking          State = "forking"           // the runner gives it the files of ForkOf
	Restoring        State = "restoring"         // they come back, to whichever runner
	Error            State = "error"             // ErrorReason says why; delete works, and so does start if Recoverable
)

// States that are shown and never stored: the sandbox is Started or Stopped
// meanwhile.
const (
	Resizing     State = "resizing"     // see Sandbox.Resize
	Snapshotting State = "snapshotting" // see Sandbox.Snapshotting
)

// States of the public vocabulary that this server does not use.
const (
	Unknown  State = "unknown"
	Pausing  State = "pausing"
	Paused   State = "paused"
	Resuming State = "resuming"
)

// States returns every state there is.
func States() []State {
	return []State{
		Creating, PullingSnapshot, Starting, Started, Stopping, Stopped, Destroying, Destroyed, Error,
		Unknown, PendingBuild, BuildingSnapshot, BuildFailed, Restoring, Archiving, Archived,
		Resizing, Snapshotting, Forking, Pausing, Paused, Resuming,
	}
}

// Valid reports whether s is a state.
func (s State) Valid() bool { return slices.Contains(States(), s) }

// transitions is the one table of moves. Destroying is reached from everywhere
// and left only for Destroyed: delete is never refused and never undone.
var transitions = map[State][]State{
	Creating:         {PullingSnapshot, PendingBuild, Started, Stopped, Error, Destroying},
	PullingSnapshot:  {Creating, PendingBuild, BuildingSnapshot, Started, BuildFailed, Error, Destroying},
	PendingBuild:     {BuildingSnapshot, PullingSnapshot, Creating, Started, BuildFailed, Error, Destroying},
	BuildingSnapshot: {PendingBuild, PullingSnapshot, Creating, Started, BuildFailed, Error, Destroying},
	BuildFailed:      {Destroying},
	Starting:         {Started, Stopped, Error, Destroying},
	Started:          {Stopping, Stopped, Error, Destroying},
	Stopping:         {Stopped, Error, Destroying},
	Stopped:          {Starting, Started, Archiving, Error, Destroying},
	Archiving:        {Archived, Starting, Error, Destroying},
	Archived:         {Archived, Restoring, Destroying},
	Restoring:        {Restoring, Starting, Stopped, Error, Destroying},
	Forking:          {Starting, Error, Destroying},
	Error:            {Starting, Started, Stopped, Archiving, Restoring, Destroying},
	Destroying:       {Destroyed},
	Destroyed:        {},
}

// CanBecome reports whether a sandbox may move from s to next.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }

// AwaitsImage reports whether a sandbox in s waits for its image.
func (s State) AwaitsImage() bool {
	return s == PullingSnapshot || s == PendingBuild || s == BuildingSnapshot
}

// TakesCompute reports whether a sandbox in s counts for CPU and memory.
func (s State) TakesCompute() bool { return slices.Contains(ComputeStates(), s) }

// TakesDisk reports whether a sandbox in s counts for disk.
func (s State) TakesDisk() bool { return slices.Contains(DiskStates(), s) }

// ComputeStates are the states in which CPU and memory count for the quota.
func ComputeStates() []State {
	return []State{Creating, Restoring, Forking, Started, Starting, Stopping, PendingBuild, BuildingSnapshot, Unknown, PullingSnapshot}
}

// DiskStates are the states in which disk counts for the quota.
func DiskStates() []State { return append(ComputeStates(), Stopped, Archiving) }
