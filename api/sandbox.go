package api

// CreateSandbox asks for a sandbox. Everything may be left out.
type CreateSandbox struct {
	Name                *string           `json:"name,omitempty"`     // unique per organization; default: the id
	Snapshot            *string           `json:"snapshot,omitempty"` // name or id; default: the server's
	User                *string           `json:"user,omitempty"`     // OS user; default: daytona
	Env                 map[string]string `json:"env,omitempty"`
	Labels              map[string]string `json:"labels,omitempty"`
	Public              *bool             `json:"public,omitempty"`
	NetworkBlockAll     *bool             `json:"networkBlockAll,omitempty"`
	NetworkAllowList    *string           `json:"networkAllowList,omitempty"` // IPv4 CIDRs, separated by commas
	Class               *string           `json:"class,omitempty"`            // small, medium or large; says nothing about resources
	Target              *string           `json:"target,omitempty"`           // region
	Isolation           *string           `json:"isolation,omitempty"`        // gvisor or runc, of those that the server offers; default: the server's
	CPU                 *int              `json:"cpu,omitempty"`
	GPU                 *int              `json:"gpu,omitempty"`
	Memory              *int              `json:"memory,omitempty"`
	Disk                *int              `json:"disk,omitempty"`
	AutoStopInterval    *int              `json:"autoStopInterval,omitempty"`    // default 15; 0: never
	AutoArchiveInterval *int              `json:"autoArchiveInterval,omitempty"` // default 10080; 0: the maximum, 43200
	AutoDeleteInterval  *int              `json:"autoDeleteInterval,omitempty"`  // default -1; negative: never; 0: when it stops
	Volumes             []SandboxVolume   `json:"volumes,omitempty"`
	BuildInfo           *CreateBuildInfo  `json:"buildInfo,omitempty"` // excludes snapshot

	DomainAllowList      *string             `json:"domainAllowList,omitempty"` // domain names, separated by commas
	GPUType              OneOrMany           `json:"gpuType,omitempty"`
	LinkedSandbox        *string             `json:"linkedSandbox,omitempty"`
	OutboundProxyURL     *string             `json:"outboundProxyUrl,omitempty"`
	OTelEndpointOverride *string             `json:"otelEndpointOverride,omitempty"`
	Spot                 *bool               `json:"spot,omitempty"`
	KVM                  *bool               `json:"kvm,omitempty"`
	AutoPauseInterval    *int                `json:"autoPauseInterval,omitempty"`
	TTLMinutes           *int                `json:"ttlMinutes,omitempty"`
	Secrets              []map[string]string `json:"secrets,omitempty"`
}

// UpdateSandboxNetworkSettings changes what a sandbox may reach. What is left out
// stays as it is; an empty list clears it.
type UpdateSandboxNetworkSettings struct {
	NetworkBlockAll  *bool   `json:"networkBlockAll,omitempty"`
	NetworkAllowList *string `json:"networkAllowList,omitempty"` // at most 10 IPv4 CIDRs, separated by commas
	DomainAllowList  *string `json:"domainAllowList,omitempty"`  // at most 10 domain names or wildcards, separated by commas
}

// SandboxVolume mounts a volume into a sandbox.
type SandboxVolume struct {
	VolumeID  string `json:"volumeId"` // id or name
	MountPath string `json:"mountPath"`
	Subpath   string `json:"subpath,omitempty"`
}

// DocsEraSandbox has the members that the oldest clients know. They refuse an
// answer with any other.
type DocsEraSandbox struct {
	ID                  string              `json:"id"`
	OrganizationID      string              `json:"organizationId"`
	Snapshot            *string             `json:"snapshot"` // a name; null for a declared image
	User                string              `json:"user"`
	Env                 map[string]string   `json:"env"`
	Labels              map[string]string   `json:"labels"`
	Public              bool                `json:"public"`
	NetworkBlockAll     bool                `json:"networkBlockAll"`
	NetworkAllowList    *string             `json:"networkAllowList"`
	Target              string              `json:"target"`
	CPU                 float64             `json:"cpu"`
	GPU                 float64             `json:"gpu"`
	Memory              float64             `json:"memory"`
	Disk                float64             `json:"disk"`
	State               SandboxState        `json:"state,omitempty"`
	DesiredState        SandboxDesiredState `json:"desiredState,omitempty"`
	ErrorReason         *string             `json:"errorReason"`
	BackupState         BackupState         `json:"backupState,omitempty"`
	BackupCreatedAt     *Time               `json:"backupCreatedAt"`
	AutoStopInterval    int                 `json:"autoStopInterval"`
	AutoArchiveInterval int                 `json:"autoArchiveInterval"`
	AutoDeleteInterval  int                 `json:"autoDeleteInterval"`
	RunnerDomain        *string             `json:"runnerDomain"`
	Volumes             []SandboxVolume     `json:"volumes"`
	BuildInfo           *BuildInfo          `json:"buildInfo,omitempty"`
	CreatedAt           Time                `json:"createdAt"`
	UpdatedAt           Time                `json:"updatedAt"`
	Class               LegacyClass         `json:"class,omitempty"`
	DaemonVersion       string              `json:"daemonVersion,omitempty"`
}

// Sandbox is a machine in which code runs.
type Sandbox struct {
	DocsEraSandbox
	Name            string       `json:"name"`
	ToolboxProxyURL string       `json:"toolboxProxyUrl"` // clients append "/{id}/..."
	DomainAllowList string       `json:"domainAllowList,omitempty"`
	Recoverable     bool         `json:"recoverable"`
	LastActivityAt  *Time        `json:"lastActivityAt,omitempty"`
	SandboxClass    SandboxClass `json:"sandboxClass,omitempty"`
	RunnerID        string       `json:"runnerId,omitempty"`
	Isolation       string       `json:"isolation,omitempty"` // gvisor, runc
	// EndCause is the one reason for which it last ended: user, idle, exit,
	// out_of_memory, pids, disk_full, host_lost or start_failed. It and
	// EndEvidence, which says how that is known, are left out while it runs.
	EndCause    string `json:"endCause,omitempty"`
	EndEvidence string `json:"endEvidence,omitempty"`
	KVM         bool   `json:"kvm"` // demanded by clients from 2026-09; always false
}

// SandboxListItem is a sandbox in a list.
type SandboxListItem struct {
	ID                  string              `json:"id"`
	OrganizationID      string              `json:"organizationId"`
	Name                string              `json:"name"`
	Target              string              `json:"target"`
	RunnerID            string              `json:"runnerId,omitempty"`
	SandboxClass        SandboxClass        `json:"sandboxClass,omitempty"`
	State               SandboxState        `json:"state,omitempty"`
	DesiredState        SandboxDesiredState `json:"desiredState,omitempty"`
	Snapshot            *string             `json:"snapshot,omitempty"`
	User                string              `json:"user"`
	ErrorReason         *string             `json:"errorReason,omitempty"`
	Recoverable         bool                `json:"recoverable"`
	Public              bool                `json:"public"`
	CPU                 float64             `json:"cpu"`
	GPU                 float64             `json:"gpu"`
	Memory              float64             `json:"memory"`
	Disk                float64             `json:"disk"`
	Labels              map[string]string   `json:"labels"`
	BackupState         BackupState         `json:"backupState,omitempty"`
	AutoStopInterval    int                 `json:"autoStopInterval"`
	AutoArchiveInterval int                 `json:"autoArchiveInterval"`
	AutoDeleteInterval  int                 `json:"autoDeleteInterval"`
	CreatedAt           Time                `json:"createdAt"`
	UpdatedAt           Time                `json:"updatedAt"`
	LastActivityAt      *Time               `json:"lastActivityAt,omitempty"`
	DaemonVersion       string              `json:"daemonVersion,omitempty"`
	ToolboxProxyURL     string              `json:"toolboxProxyUrl"`
	NetworkBlockAll     bool                `json:"networkBlockAll"`
	NetworkAllowList    *string             `json:"networkAllowList,omitempty"`
	DomainAllowList     string              `json:"domainAllowList,omitempty"`
}

// ListSandboxesResponse is a stretch of a list, read on by its cursor.
type ListSandboxesResponse struct {
	Items      []SandboxListItem `json:"items"`
	NextCursor *string           `json:"nextCursor"` // null at the end
}

// PaginatedSandboxes is a page of sandboxes.
type PaginatedSandboxes struct {
	Items      []Sandbox `json:"items"`
	Total      int       `json:"total"`
	Page       int       `json:"page"` // from 1
	TotalPages int       `json:"totalPages"`
}

// SandboxLabels is the whole set of a sandbox's labels.
type SandboxLabels struct {
	Labels map[string]string `json:"labels"`
}

// ForkSandbox asks for a sandbox with the files of another one.
type ForkSandbox struct {
	Name *string `json:"name,omitempty"`
}

// ResizeSandbox asks for other resources; what is missing stays as it is.
type ResizeSandbox struct {
	CPU    *int `json:"cpu,omitempty" minimum:"1"`    // vCPUs
	Memory *int `json:"memory,omitempty" minimum:"1"` // GiB
	Disk   *int `json:"disk,omitempty" minimum:"1"`   // GiB
}

// CreateSandboxSnapshot asks for a snapshot of a sandbox's files.
type CreateSandboxSnapshot struct {
	Name          string `json:"name"`
	IncludeMemory *bool  `json:"includeMemory,omitempty"` // must not be true: no class here can
}

// UpdateLastActivity says that a sandbox is in use.
type UpdateLastActivity struct {
	ActivityType string `json:"activityType,omitempty"`
}

// DocsEraPortPreviewURL has the members that the oldest clients know.
type DocsEraPortPreviewURL struct {
	URL            string `json:"url"`
	Token          string `json:"token"`
	LegacyProxyURL string `json:"legacyProxyUrl,omitempty"`
}

// PortPreviewURL is where a port of a sandbox can be reached.
type PortPreviewURL struct {
	DocsEraPortPreviewURL
	SandboxID string `json:"sandboxId"`
}

// ToolboxProxyURL is the base of toolbox requests; clients append "/{id}/...".
type ToolboxProxyURL struct {
	URL string `json:"url"`
}
