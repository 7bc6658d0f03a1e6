package sandbox

import (
	"time"

	"daytona/controlplane/org"
)

// Sandbox is one sandbox: what its owner asked for, what should be, and what
// was last seen. SQL scans straight into it.
type Sandbox struct {
	ID     string // UUID
	OrgID  string
	Name   string // unique among the organization's; the id when none was given
	UserID string // who created it

	Snapshot   string // name; "" when it was asked for with a Dockerfile
	SnapshotID string
	Image      string // name of the snapshot that the runner is to use
	BuildInfo  *BuildInfo
	User       string // OS user inside
	Target     string // region id
	RunnerID   string // "" while its files are in object storage alone
	Isolation  string // as the runner reports it; "" until known
	Class      string // "small", "medium" or "large"; says nothing about resources

	Env, Labels      map[string]string // never nil
	Public           bool              // previews need no token
	NetworkBlockAll  bool
	NetworkAllowList *string // comma list of IPv4 CIDRs
	DomainAllowList  *string // comma list of domain names
	NetworkPending   bool    // the runner has yet to be told the three above

	CPU, GPU           int // vCPUs
	MemoryGiB, DiskGiB int

	Resize       *Resize // a change of these that is under way; nil is none
	Snapshotting string  // id of the snapshot that is being made of it; "" is none

	State   State // last seen; what clients read is Shown
	Desired State // started, stopped, archived or destroyed
	// StateSince is when State was entered; limits on a phase count from here.
	StateSince  time.Time
	ErrorReason *string // why State is error
	Recoverable bool

	EndCause    string // why it last ended: a runnerapi.Cause or EndIdle; "" while it runs
	EndEvidence string
	EndedAt     *time.Time

	AutoStop    int // minutes without activity; 0 is off
	AutoArchive int // minutes stopped; 0 means the maximum
	AutoDelete  int // minutes stopped; 0 is at once, negative is off

	ForkOf string  // id of the sandbox whose files it began with; "" is none
	Backup *Backup // what object storage has of its files; nil is nothing

	PreviewToken  string // 32 lower-case letters and digits; changes when it ends
	DaemonVersion *string

	CreatedAt, UpdatedAt time.Time
	LastActivityAt       time.Time
	// Version counts every change of the row but those of LastActivityAt.
	Version int64
}

// LabelAutoWake is the label by which an owner lets requests to previews start
// the sandbox, when its value is "true".
const LabelAutoWake = "daytona.io/auto-wake"

// EndIdle is the cause of an end by auto-stop, beside those of runnerapi.
const EndIdle = "idle"

// BuildInfo is the image definition that a sandbox was asked for with.
type BuildInfo struct {
	DockerfileContent string    `json:"dockerfileContent"`
	ContextHashes     []string  `json:"contextHashes"`
	SnapshotRef       string    `json:"snapshotRef"` // "daytona-<64 hex>:daytona"
	CreatedAt         time.Time `json:"createdAt"`
	UpdatedAt         time.Time `json:"updatedAt"`
}

// Shown is the state that clients read: what is under way counts as begun.
func (s Sandbox) Shown() State {
	switch {
	case s.State == Destroyed || s.State == Destroying:
		return s.State
	case s.Desired == Destroyed && (s.State == Started || s.State == Stopped):
		return Destroying
	case s.State == Started && s.Desired == Stopped:
		return Stopping
	case s.State == Stopped && s.Desired == Started:
		return Starting
	case s.State == Stopped && s.Desired == Archived:
		return Archiving
	case s.State == Unknown && s.Desired == Started:
		return Creating
	case s.Resize != nil && s.atRest():
		return Resizing
	case s.Snapshotting != "" && s.atRest():
		return Snapshotting
	}
	return s.State
}

// Met is the state as whoever wants to reach what runs in the sandbox meets it: a
// started one is that also while it is resized or a snapshot is made of it.
func (s Sandbox) Met() State {
	if shown := s.Shown(); shown != Resizing && shown != Snapshotting {
		return shown
	}
	return s.State
}

// Resources is what the sandbox takes while it runs.
func (s Sandbox) Resources() org.Resources {
	return org.Resources{CPU: s.CPU, GPU: s.GPU, MemoryGiB: s.MemoryGiB, DiskGiB: s.DiskGiB}
}

// Preview is what a preview URL is made of.
type Preview struct {
	SandboxID string
	Port      int
	Token     string
}
