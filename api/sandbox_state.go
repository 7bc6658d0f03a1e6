package api

// SandboxState is where a sandbox stands.
type SandboxState string

// The sandbox states.
const (
	SandboxCreating         SandboxState = "creating"
	SandboxRestoring        SandboxState = "restoring"
	SandboxDestroyed        SandboxState = "destroyed"
	SandboxDestroying       SandboxState = "destroying"
	SandboxStarted          SandboxState = "started"
	SandboxStopped          SandboxState = "stopped"
	SandboxStarting         SandboxState = "starting"
	SandboxStopping         SandboxState = "stopping"
	SandboxError            SandboxState = "error"
	SandboxBuildFailed      SandboxState = "build_failed"
	SandboxPendingBuild     SandboxState = "pending_build"
	SandboxBuildingSnapshot SandboxState = "building_snapshot"
	SandboxUnknown          SandboxState = "unknown"
	SandboxPullingSnapshot  SandboxState = "pulling_snapshot"
	SandboxArchived         SandboxState = "archived"
	SandboxArchiving        SandboxState = "archiving"
	SandboxResizing         SandboxState = "resizing"
	SandboxSnapshotting     SandboxState = "snapshotting"
	SandboxForking          SandboxState = "forking"
	SandboxPausing          SandboxState = "pausing"
	SandboxPaused           SandboxState = "paused"
	SandboxResuming         SandboxState = "resuming"
)

// SandboxStates lists every state; the oldest clients know the first sixteen.
func SandboxStates() []SandboxState {
	return []SandboxState{
		SandboxCreating, SandboxRestoring, SandboxDestroyed, SandboxDestroying,
		SandboxStarted, SandboxStopped, SandboxStarting, SandboxStopping,
		SandboxError, SandboxBuildFailed, SandboxPendingBuild, SandboxBuildingSnapshot,
		SandboxUnknown, SandboxPullingSnapshot, SandboxArchived, SandboxArchiving,
		SandboxResizing, SandboxSnapshotting, SandboxForking, SandboxPausing, SandboxPaused, SandboxResuming,
	}
}

// Enum lists the values for the OpenAPI document.
func (SandboxState) Enum() []any { return anys(SandboxStates()) }

// SandboxDesiredState is where a sandbox shall go.
type SandboxDesiredState string

// The desired states.
const (
	DesiredDestroyed SandboxDesiredState = "destroyed"
	DesiredStarted   SandboxDesiredState = "started"
	DesiredStopped   SandboxDesiredState = "stopped"
	DesiredResized   SandboxDesiredState = "resized"
	DesiredArchived  SandboxDesiredState = "archived"
	DesiredPaused    SandboxDesiredState = "paused"
)

// Enum lists the values for the OpenAPI document.
func (SandboxDesiredState) Enum() []any {
	return []any{DesiredDestroyed, DesiredStarted, DesiredStopped, DesiredResized, DesiredArchived, DesiredPaused}
}

// BackupState is where a sandbox's backup stands.
type BackupState string

// The backup states.
const (
	BackupNone       BackupState = "None"
	BackupPending    BackupState = "Pending"
	BackupInProgress BackupState = "InProgress"
	BackupCompleted  BackupState = "Completed"
	BackupError      BackupState = "Error"
)

// Enum lists the values for the OpenAPI document.
func (BackupState) Enum() []any {
	return []any{BackupNone, BackupPending, BackupInProgress, BackupCompleted, BackupError}
}

// LegacyClass is the size class that the oldest clients may ask for.
type LegacyClass string

// The legacy classes.
const (
	ClassSmall  LegacyClass = "small"
	ClassMedium LegacyClass = "medium"
	ClassLarge  LegacyClass = "large"
)

// Enum lists the values for the OpenAPI document.
func (LegacyClass) Enum() []any { return []any{ClassSmall, ClassMedium, ClassLarge} }

// SandboxClass is the kind of machine that a sandbox is.
type SandboxClass string

// ClassContainer is the one class that this server makes.
const ClassContainer SandboxClass = "container"

// Enum lists the values for the OpenAPI document.
func (SandboxClass) Enum() []any {
	return []any{ClassContainer, SandboxClass("linux-vm"), SandboxClass("android"), SandboxClass("windows")}
}
