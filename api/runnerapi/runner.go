// Package runnerapi is the private contract between the control plane and a
// runner.
//
// A runner owns the sandboxes of one host. The control plane decides what
// should exist; the runner makes it so and reports what is. Every call is safe
// to repeat: it names the sandbox by id, and asking for what already is so
// answers with the present state. A runner keeps its own durable record, so its
// answers do not change when its process was killed in between.
//
// All errors are faults (internal/fault): NotFound for an unknown sandbox or
// snapshot, Conflict for a sandbox in the wrong state, Unavailable while the
// runner cannot serve (full disk, starting), Invalid for a spec that it can
// never carry out.
package runnerapi

import (
	"context"
	"net"
	"net/http"
	"time"
)

// State is what a runner observes of a sandbox.
type State string

// The states a runner reports.
const (
	StateCreating State = "creating" // being made; Create was accepted, not finished
	StateRunning  State = "running"  // its toolbox answers
	StateStopped  State = "stopped"  // no process; file system kept
	StateDeleted  State = "deleted"  // nothing is left
	StateFailed   State = "failed"   // could not be made or started; see End
)

// Size is what a sandbox may use. Zeros stand for what it has.
type Size struct {
	CPU       float64 // vCPUs
	MemoryMiB int64
	DiskMiB   int64
}

// Spec is what a sandbox shall be. After Create nothing of it changes but by
// SetNetwork and Resize.
type Spec struct {
	ID        string            // UUID; also the host name inside
	OrgID     string            // owner; shown inside as DAYTONA_ORGANIZATION_ID
	Snapshot  string            // name of a snapshot that the runner holds
	Isolation string            // "gvisor", "runc", "fake"; "" is the runner's default
	User      string            // OS user; "" means the image's rule (see runner)
	Env       map[string]string // reaches every process started in the sandbox
	Region    string            // shown inside as DAYTONA_REGION_ID
	CPU       float64           // vCPUs
	MemoryMiB int64
	DiskMiB   int64
	Network   NetworkPolicy
}

// NetworkPolicy says what a sandbox may reach.
//
// With both lists empty and BlockAll false, everything is reachable that is not
// closed to every sandbox. As soon as one list has an entry, nothing else is, in
// IPv4 and IPv6, and only the names on Domains resolve. No list opens the host,
// the control plane, other sandboxes or metadata services.
type NetworkPolicy struct {
	BlockAll  bool     // nothing at all, DNS included; the lists do not matter then
	AllowList []string // IPv4 CIDRs
	Domains   []string // entries of an internal/domains list: what these names resolve to is reachable
}

// Cause is the one reason for which a sandbox ended.
type Cause string

// The causes.
const (
	CauseNone        Cause = ""
	CauseUser        Cause = "user"          // Stop or Delete was called
	CauseExit        Cause = "exit"          // the image's process or the toolbox ended by itself
	CauseOutOfMemory Cause = "out_of_memory" // the memory limit killed it
	CausePids        Cause = "pids"          // the limit on processes made it impossible to go on
	CauseDiskFull    Cause = "disk_full"     // its disk is full
	CauseHostLost    Cause = "host_lost"     // the host went down under it
	CauseStartFailed Cause = "start_failed"  // it never came up
)

// End is how a sandbox ended, with the evidence in words.
type End struct {
	Cause    Cause
	ExitCode int // -1 when unknown
	Evidence string
	At       time.Time
}

// Sandbox is a runner's view of one sandbox.
type Sandbox struct {
	ID        string
	State     State
	Isolation string
	End       *End // how it last ended; nil while running
	StartedAt time.Time
	Warm      bool // it was claimed from the pool
}

// Pool is booted sandboxes that wait for one organization.
type Pool struct {
	ID     string
	Spec   Spec // OrgID, Snapshot, Isolation and the limits; the rest is given when one is claimed
	Target int  // how many shall wait
}

// PoolState is what there is of a Pool.
type PoolState struct {
	ID     string
	Ready  int    // how many wait
	Reason string // why no more do, for people; "" when more are on their way, or all are there
}

// Event says that a sandbox changed without being told to, or that an image did.
type Event struct {
	Sandbox  Sandbox
	Snapshot string // name of the image that changed; then Sandbox is empty
}

// SnapshotState is what a runner knows of a snapshot.
type SnapshotState string

// The states of a snapshot on a runner.
const (
	SnapshotPending  SnapshotState = "pending" // waits for its turn; see Waiting
	SnapshotPulling  SnapshotState = "pulling"
	SnapshotBuilding SnapshotState = "building"
	SnapshotReady    SnapshotState = "ready"
	SnapshotFailed   SnapshotState = "failed"
)

// Snapshot is an image that a runner holds or is making.
type Snapshot struct {
	Name   string
	State  SnapshotState
	Reason string // why it failed
	// Interrupted says that it failed because the runner was restarted, and needs
	// the passwords and contexts of its ImageSpec again: EnsureImage goes on.
	Interrupted bool
	Progress    string // one line a person can read, while building
	Waiting     int    // while pending: how many are before it
	SizeBytes   int64
	// Digest is what the tag of a ready image that was pulled stood for; "" for
	// others. With it in place of the tag, the same content is pulled again.
	Digest string
	// Layers are what a ready image consists of; images share them.
	Layers     []Layer
	Entrypoint []string
	// Isolation is what the image asks for by its label IsolationLabel; "" is
	// nothing.
	Isolation string
}

// Layer is a part of an image, unpacked on a runner.
type Layer struct {
	ID        string // the same ID on the same runner is the same layer
	SizeBytes int64
}

// IsolationLabel of an image names the weakest isolation that its sandboxes may
// have.
const IsolationLabel = "dev.daytona.isolation"

// Info describes a runner.
type Info struct {
	ID         string
	Version    string
	Isolations []string // offered, the default first
	CPU        int
	MemoryMiB  int64
	DiskMiB    int64
	Sandboxes  int
}

// Runner is the contract. Implementations: runner.Runner in the same process,
// fleet's client for one elsewhere.
type Runner interface {
	Info(ctx context.Context) (Info, error)

	// Reserve offers a booted sandbox from the warm pool that fits spec (whose
	// ID is empty) and returns its id. The offer stands for a minute: a
	// Create with that id claims it. ok is false when none fits.
	Reserve(ctx context.Context, spec Spec) (id string, ok bool)
	// SetPools says which pools of booted sandboxes there shall be for single
	// organizations, beside those that the operator keeps for everybody, and
	// returns how they are, in that order. What waits in any other goes. It need
	// be called again only when something changes, or to learn how they are.
	SetPools(ctx context.Context, pools []Pool) ([]PoolState, error)
	// Create makes the sandbox of spec and starts it. It returns once the
	// toolbox answers. When ctx ends first the work goes on, and the same
	// call later joins it. Creating an id that is running returns it; one
	// that was deleted is Gone.
	Create(ctx context.Context, spec Spec) (Sandbox, error)
	// Start starts a stopped sandbox. A running one is returned as it is.
	Start(ctx context.Context, id string) (Sandbox, error)
	// Stop ends every process: grace first unless force is set, then kill.
	Stop(ctx context.Context, id string, force bool) (Sandbox, error)
	// SetNetwork changes what the sandbox may reach, for open connections too. It
	// returns when the policy is in force, or, for one that does not run, when it
	// will be from the next start on.
	SetNetwork(ctx context.Context, id string, policy NetworkPolicy) error
	// Resize changes what a sandbox may use. Of a running one processors and memory
	// change at once; its disk cannot. A disk never becomes smaller: Invalid then.
	// Asking for what it has already changes nothing.
	Resize(ctx context.Context, id string, size Size) (Sandbox, error)
	// Delete removes the sandbox from every state. Unknown ids are no error.
	Delete(ctx context.Context, id string) error
	Inspect(ctx context.Context, id string) (Sandbox, error)
	List(ctx context.Context) ([]Sandbox, error)
	// Watch delivers an event for each sandbox that changed by itself until
	// ctx ends, then closes the channel. Events may be lost when the reader
	// is slow; List tells the truth.
	Watch(ctx context.Context) <-chan Event

	// Snapshots lists what the runner holds or is making.
	Snapshots(ctx context.Context) ([]Snapshot, error)
	Images
	Files

	// ServeToolbox forwards a request to the toolbox of a running sandbox.
	// r.URL.Path and RawPath are the toolbox's own ("/files/info"). It adds
	// the toolbox's token and removes the caller's credentials. A sandbox
	// that is not running is answered with an error in the toolbox's shape.
	ServeToolbox(w http.ResponseWriter, r *http.Request, id string)
	// RoundTripToolbox does the same for a request of our own, whose URL needs
	// nothing but a path and a query; it has a client's rights. The body of an
	// answer 101 is the connection, which can be written to. A sandbox that is
	// not running is an error.
	RoundTripToolbox(r *http.Request, id string) (*http.Response, error)
	// DialPort connects to a TCP port inside a running sandbox, on whichever of
	// its addresses, loopback too, somebody listens. Where nobody does the error
	// is fault.Upstream with the code CodeNotListening, and its text says on
	// which ports somebody does. The connection ends with the sandbox.
	DialPort(ctx context.Context, id string, port int) (net.Conn, error)
}

// CodeNotListening is the code of the error of a port on which nobody listens.
const CodeNotListening = "PORT_NOT_LISTENING"
