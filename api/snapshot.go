package api

// SnapshotState is where a snapshot stands.
type SnapshotState string

// The snapshot states.
const (
	SnapshotBuilding     SnapshotState = "building"
	SnapshotPending      SnapshotState = "pending"
	SnapshotPulling      SnapshotState = "pulling"
	SnapshotActive       SnapshotState = "active"
	SnapshotInactive     SnapshotState = "inactive"
	SnapshotError        SnapshotState = "error"
	SnapshotBuildFailed  SnapshotState = "build_failed"
	SnapshotRemoving     SnapshotState = "removing"
	SnapshotSnapshotting SnapshotState = "snapshotting"
)

// Enum lists the values for the OpenAPI document.
func (SnapshotState) Enum() []any {
	return []any{SnapshotBuilding, SnapshotPending, SnapshotPulling, SnapshotActive, SnapshotInactive,
		SnapshotError, SnapshotBuildFailed, SnapshotRemoving, SnapshotSnapshotting}
}

// DocsEraSnapshot has the members that the oldest clients know. They refuse an
// answer with any other.
type DocsEraSnapshot struct {
	ID             string        `json:"id"`
	OrganizationID *string       `json:"organizationId"` // null for a general one
	General        bool          `json:"general"`        // visible to every organization
	Name           string        `json:"name"`
	ImageName      string        `json:"imageName"` // empty for a declarative build
	State          SnapshotState `json:"state"`
	Size           *float64      `json:"size"` // GB; null until known
	Entrypoint     []string      `json:"entrypoint"`
	CPU            int           `json:"cpu"`
	GPU            int           `json:"gpu"`
	Memory         int           `json:"mem"`  // GiB
	Disk           int           `json:"disk"` // GiB
	ErrorReason    *string       `json:"errorReason"`
	CreatedAt      Time          `json:"createdAt"`
	UpdatedAt      Time          `json:"updatedAt"`
	LastUsedAt     *Time         `json:"lastUsedAt"`
	BuildInfo      *BuildInfo    `json:"buildInfo,omitempty"`
}

// Snapshot is a template from which sandboxes are made.
type Snapshot struct {
	DocsEraSnapshot
	RegionIDs       []string     `json:"regionIds,omitempty"`
	Ref             string       `json:"ref,omitempty"` // the internal image reference
	SandboxClass    SandboxClass `json:"sandboxClass,omitempty"`
	SourceSandboxID *string      `json:"sourceSandboxId"`     // null unless taken from a sandbox
	Isolation       string       `json:"isolation,omitempty"` // the weakest that its sandboxes may have
}

// PaginatedSnapshots is a page of snapshots.
type PaginatedSnapshots struct {
	Items      []Snapshot `json:"items"`
	Total      int        `json:"total"`
	Page       int        `json:"page"` // from 1
	TotalPages int        `json:"totalPages"`
}

// DocsEraPaginatedSnapshots is a page of snapshots for the oldest clients.
type DocsEraPaginatedSnapshots struct {
	Items      []DocsEraSnapshot `json:"items"`
	Total      int               `json:"total"`
	Page       int               `json:"page"`
	TotalPages int               `json:"totalPages"`
}

// BuildInfo says how an image was declared.
type BuildInfo struct {
	DockerfileContent string   `json:"dockerfileContent,omitempty"`
	ContextHashes     []string `json:"contextHashes,omitempty"`
	CreatedAt         Time     `json:"createdAt"`
	UpdatedAt         Time     `json:"updatedAt"`
	SnapshotRef       string   `json:"snapshotRef,omitempty"` // always sent, except to the oldest clients
}

// CreateBuildInfo declares an image.
type CreateBuildInfo struct {
	DockerfileContent string   `json:"dockerfileContent"`
	ContextHashes     []string `json:"contextHashes,omitempty"`
}

// CreateSnapshot asks for a snapshot. Exactly one of imageName and buildInfo is
// given.
type CreateSnapshot struct {
	Name         string           `json:"name"`                   // letters, digits, _ . - : /; unique per organization
	ImageName    *string          `json:"imageName,omitempty"`    // with a tag that stays, or a digest: debian:12.11
	Entrypoint   []string         `json:"entrypoint,omitempty"`   // instead of the image's own; not with buildInfo
	General      *bool            `json:"general,omitempty"`      // for every organization; administrators only
	CPU          *int             `json:"cpu,omitempty"`          // default 1
	GPU          *int             `json:"gpu,omitempty"`          // 0
	Memory       *int             `json:"memory,omitempty"`       // GiB, default 1
	Disk         *int             `json:"disk,omitempty"`         // GiB, default 3
	BuildInfo    *CreateBuildInfo `json:"buildInfo,omitempty"`    // a Dockerfile
	Isolation    *string          `json:"isolation,omitempty"`    // the weakest that its sandboxes may have; default: the server's
	RegionID     *string          `json:"regionId,omitempty"`     // checked; every region can use it
	SandboxClass *string          `json:"sandboxClass,omitempty"` // container
	GPUType      OneOrMany        `json:"gpuType,omitempty"`
}

// SetSnapshotGeneralStatus shows a snapshot to every organization, or to its
// own alone.
type SetSnapshotGeneralStatus struct {
	General bool `json:"general"`
}

// URL is an address.
type URL struct {
	URL string `json:"url"`
}
