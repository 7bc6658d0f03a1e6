package sandbox

import (
	"context"
	"time"

	"daytona/controlplane/org"
)

// Admit decides whether an organization may take more, by what it has and what
// it uses without the sandbox in question. It is called inside the transaction
// that takes it, so it must be pure.
type Admit func(o org.Organization, used org.Usage) error

// Idempotency ties a client's key to the request it was first sent with.
type Idempotency struct {
	Key       string
	BodyHash  string // SHA-256 of the request, hex
	SandboxID string
}

// Change is what a move stores beside the state. Nil fields stay as they are.
type Change struct {
	Desired       *State
	Isolation     *string
	DaemonVersion *string
	PreviewToken  *string
	ErrorReason   *string // "" clears
	Recoverable   *bool
	End           *End // how it ended; the zero End clears
	Name          *string
	RunnerID      *string
	Backup        *Backup
	Active        *time.Time // new LastActivityAt

	// IdleSince, when set, makes the move only if there was no activity after
	// it; else the move is fault.Conflict.
	IdleSince *time.Time
	// Admit, when set, must agree to what the sandbox takes by the move.
	Admit Admit
}

// End is how a sandbox ended.
type End struct {
	Cause, Evidence string
	At              time.Time
}

// Settings are what an owner may change at any time. Nil fields stay.
type Settings struct {
	Labels      map[string]string
	Public      *bool
	AutoStop    *int
	AutoArchive *int
	AutoDelete  *int
	Backup      *Backup
}

// Store keeps sandboxes. It refuses what is stale: a move is made only when
// the row still has the given state and version, else it is fault.Conflict. Unknown rows are fault.NotFound.
type Store interface {
	// CreateSandbox stores a new row if admit agrees, in one transaction with
	// the quota it takes and, when key is not nil, the key. created is false
	// when the key was used before: sb is then the sandbox of that time. The
	// same key with another body, and a taken name, are fault.Conflict.
	CreateSandbox(ctx context.Context, sb Sandbox, key *Idempotency, admit Admit) (_ Sandbox, created bool, err error)
	IdempotencyKey(ctx context.Context, orgID, key string) (Idempotency, error)

	// Sandbox returns a row by id, whoever owns it.
	Sandbox(ctx context.Context, id string) (Sandbox, error)
	// FindSandbox returns an organization's sandbox by id or name.
	FindSandbox(ctx context.Context, orgID, idOrName string) (Sandbox, error)
	ListSandboxes(ctx context.Context, orgID string, f Filter) (Page, error)
	// SandboxesOn lists the rows of a runner, destroyed ones included.
	SandboxesOn(ctx context.Context, runnerID string) ([]Sandbox, error)
	// CountSandboxes counts rows by shown state.
	CountSandboxes(ctx context.Context) (map[State]int, error)

	// MoveSandbox moves from, as it was read, to another state.
	MoveSandbox(ctx context.Context, from Sandbox, to State, c Change, now time.Time) (Sandbox, error)
	// SetSandbox changes settings of a sandbox that is not destroyed.
	SetSandbox(ctx context.Context, id string, s Settings, now time.Time) (Sandbox, error)
	// SetSandboxNetwork stores what from, as it was read, may reach, and whether
	// its runner has yet to be told. admit, when not nil, must agree.
	SetSandboxNetwork(ctx context.Context, from Sandbox, n Network, pending bool, admit Admit, now time.Time) (Sandbox, error)
	// SetSandboxWork stores what is under way with from, as it was read, if admit,
	// when not nil, agrees to what the sandbox takes by it.
	SetSandboxWork(ctx context.Context, from Sandbox, w Work, admit Admit, now time.Time) (Sandbox, error)
	// TouchSandboxes records activity by id. Times only move forward.
	TouchSandboxes(ctx context.Context, at map[string]time.Time) error
	// PurgeSandboxes removes rows destroyed before destroyed, and keys used
	// before keys.
	PurgeSandboxes(ctx context.Context, destroyed, keys time.Time) (int, error)

	// Lead makes this process the one that reconciles a runner's sandboxes,
	// until the store is closed or the database is lost. It is false while
	// another process does. Repeated calls renew it.
	Lead(ctx context.Context, runnerID string) (bool, error)
}
