package sandbox

// CreateRequest is what a client asks for. Nil is absent.
type CreateRequest struct {
	Name     *string
	Snapshot *string // name or id
	User     *string
	Env      map[string]string
	Labels   map[string]string
	Public   *bool
	Class    *string
	Target   *string

	// Isolation is one that the operator offers; nil is the operator's default.
	Isolation *string

	CPU, GPU, Memory, Disk *int // vCPUs, -, GiB, GiB

	NetworkBlockAll  *bool
	NetworkAllowList *string
	DomainAllowList  *string

	AutoStopInterval    *int // minutes
	AutoArchiveInterval *int
	AutoDeleteInterval  *int

	Volumes   []VolumeMount
	BuildInfo *BuildRequest

	// What the newest clients can ask for and this server cannot do yet. Each
	// is refused by name rather than ignored.
	GPUType              []string
	LinkedSandbox        *string
	OutboundProxyURL     *string
	OTelEndpointOverride *string
	Spot, KVM            *bool
	AutoPauseInterval    *int
	TTLMinutes           *int
	Secrets              []map[string]string
}

// VolumeMount asks for a volume.
type VolumeMount struct {
	VolumeID  string
	MountPath string
	Subpath   string
}

// BuildRequest asks for an image that a Dockerfile describes.
type BuildRequest struct {
	DockerfileContent string
	ContextHashes     []string
}
