// Package snapshot knows the named images that sandboxes are made of.
//
// A snapshot belongs to an organization, or is general: then every organization
// sees and uses it. Its content is an image (package image) that is pulled or
// built for it, or one that the operator of a runner has it make; what is known
// of it (size, entrypoint, whether it is ready) comes from there. Service.Run
// keeps the rows in step.
//
//	create ──► Building ──┐        (from a Dockerfile)
//	      └──► Pending ──► Pulling ──► Active ◄──► Inactive
//	              └────────┴──► Failed, BuildFailed
package snapshot

import (
	"context"
	"time"

	"daytona/controlplane/image"
	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// State is how far a snapshot is.
type State string

// The states.
const (
	Pending     State = "pending"      // known, nothing done yet; the runner starts
	Building    State = "building"     // a runner is making it
	Pulling     State = "pulling"      // a runner is fetching it
	Active      State = "active"       // sandboxes can be made of it
	Failed      State = "error"        // ErrorReason says why; a runner may try again
	BuildFailed State = "build_failed" // its definition cannot be built
	Inactive    State = "inactive"     // unused for long; must be activated first
	Removing    State = "removing"     // going away
)

// Underway reports whether a snapshot in s becomes something else by itself.
func (s State) Underway() bool { return s == Pending || s == Building || s == Pulling }

// Snapshot is an image with the resources that its sandboxes get.
type Snapshot struct {
	ID        string // UUID
	OrgID     string // "" for a general one
	General   bool
	Name      string // unique in its organization
	ImageName string // what it was made of; "" for a build
	Image     string // what runners call its content
	// Digest is what the tag in ImageName stood for when it was pulled first; ""
	// until then, and for a build.
	Digest string
	Build  *BuildInfo
	// Isolation is the weakest that its sandboxes may have, by the request
	// that made it or by a label of the image; "" leaves it to the operator.
	Isolation     string
	State         State
	SizeBytes     *int64   // nil until known
	Entrypoint    []string // nil until known
	CPU, GPU      int
	MemoryGiB     int
	DiskGiB       int
	ErrorReason   *string
	Progress      string // one line while building; not for clients that parse
	SourceSandbox string // id of the sandbox it was taken from, or ""
	CreatedAt     time.Time
	UpdatedAt     time.Time
	LastUsedAt    *time.Time
}

// BuildInfo is the definition of a snapshot that is built.
type BuildInfo struct {
	Dockerfile string    `json:"dockerfile"`
	Contexts   []string  `json:"contexts"` // hashes, as they were given
	CreatedAt  time.Time `json:"createdAt"`
	UpdatedAt  time.Time `json:"updatedAt"`
}

// SizeGB is the size in GB (10^9 bytes), nil until known.
func (s Snapshot) SizeGB() *float64 {
	if s.SizeBytes == nil {
		return nil
	}
	gb := float64(*s.SizeBytes) / 1e9
	return &gb
}

// Resources is what a sandbox of this snapshot gets.
func (s Snapshot) Resources() org.Resources {
	return org.Resources{CPU: s.CPU, GPU: s.GPU, MemoryGiB: s.MemoryGiB, DiskGiB: s.DiskGiB}
}

// Usable says whether a sandbox can be made of s. One that is still on its way
// will do: the sandbox waits for it.
func (s Snapshot) Usable() error {
	switch s.State {
	case Active, Pending, Building, Pulling:
		return nil
	case Failed, BuildFailed:
		reason := "no reason was recorded"
		if s.ErrorReason != nil {
			reason = *s.ErrorReason
		}
		return fault.New(fault.Invalid, "Snapshot %s cannot be used: it is in state %s (%s)", s.Name, s.State, reason)
	default:
		return fault.New(fault.Invalid, "Snapshot %s is %s. Activate it first", s.Name, s.State)
	}
}

// SortField names what a list is sorted by.
type SortField string

// The sort fields.
const (
	ByName       SortField = "name"
	ByState      SortField = "state"
	ByLastUsedAt SortField = "lastUsedAt"
	ByCreatedAt  SortField = "createdAt"
)

// Filter selects and pages a list.
type Filter struct {
	Name          string // substring, in any case
	SourceSandbox string
	Sort          SortField // "" is own before general, last used first, newest first
	Ascending     bool      // default is descending
	Page          int       // from 1
	Limit         int
}

// Page is one page of a list.
type Page struct {
	Items []Snapshot
	Total int
}

// Admit decides whether an organization may have one more snapshot. It is called
// inside the transaction that adds it, so it must be pure.
type Admit func(o org.Organization, used org.Usage) error

// Store keeps snapshots. Unknown rows are fault.NotFound.
type Store interface {
	// CreateSnapshot stores s and declares its image i in one transaction, if
	// admit agrees. settle says what s becomes by the image as it then is. A
	// taken name is fault.Conflict.
	CreateSnapshot(ctx context.Context, s Snapshot, i image.Image, admit Admit, settle func(Snapshot, image.Image) Snapshot) (Snapshot, error)
	// ActivateSnapshot does the same with one that is Inactive, or else is
	// fault.Conflict.
	ActivateSnapshot(ctx context.Context, s Snapshot, i image.Image, admit Admit, settle func(Snapshot, image.Image) Snapshot) (Snapshot, error)
	DeleteSnapshot(ctx context.Context, id string) error
	// SetGeneral shows a snapshot to every organization, or to its own alone.
	SetGeneral(ctx context.Context, id string, general bool, at time.Time) (Snapshot, error)
	// Snapshot returns a row by id, whoever owns it.
	Snapshot(ctx context.Context, id string) (Snapshot, error)
	// SnapshotsIn lists the rows in some states.
	SnapshotsIn(ctx context.Context, states ...State) ([]Snapshot, error)
	// DeactivateUnused makes the active snapshots inactive that nobody used
	// for as long as their organization allows; general ones stay.
	DeactivateUnused(ctx context.Context, now time.Time) (int, error)
	// DeactivateSnapshots does so with all of an organization.
	DeactivateSnapshots(ctx context.Context, orgID string, now time.Time) (int, error)
	Organization(ctx context.Context, id string) (org.Organization, error)

	// FindSnapshot looks an id or name up among an organization's and the
	// general ones; its own win, then active ones.
	FindSnapshot(ctx context.Context, orgID, idOrName string) (Snapshot, error)
	ListSnapshots(ctx context.Context, orgID string, f Filter) (Page, error)
	GeneralSnapshots(ctx context.Context) ([]Snapshot, error)
	// EnsureSnapshot stores a snapshot unless its organization has one of
	// this name, and returns the row that there is.
	EnsureSnapshot(ctx context.Context, s Snapshot) (Snapshot, error)
	// MoveSnapshot stores what s says about its content (state, size, digest,
	// entrypoint, isolation, reason, progress) if the row is still in state from, else
	// it is fault.Conflict.
	MoveSnapshot(ctx context.Context, s Snapshot, from State) error
	TouchSnapshot(ctx context.Context, id string, at time.Time) error
}
