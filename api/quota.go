package api

// UpdateOrganizationQuota changes what an organization may use in each region,
// and how often it may call. What is null or absent stays as it is.
type UpdateOrganizationQuota struct {
	TotalCPUQuota       *int `json:"totalCpuQuota,omitempty"`       // vCPUs
	TotalMemoryQuota    *int `json:"totalMemoryQuota,omitempty"`    // GiB
	TotalDiskQuota      *int `json:"totalDiskQuota,omitempty"`      // GiB
	MaxCPUPerSandbox    *int `json:"maxCpuPerSandbox,omitempty"`    // vCPUs
	MaxMemoryPerSandbox *int `json:"maxMemoryPerSandbox,omitempty"` // GiB
	MaxDiskPerSandbox   *int `json:"maxDiskPerSandbox,omitempty"`   // GiB
	SnapshotQuota       *int `json:"snapshotQuota,omitempty"`
	MaxSnapshotSize     *int `json:"maxSnapshotSize,omitempty"` // GB
	VolumeQuota         *int `json:"volumeQuota,omitempty"`

	// Requests in so many seconds; a limit of 0 is none.
	AuthenticatedRateLimit              *int `json:"authenticatedRateLimit,omitempty"`
	SandboxCreateRateLimit              *int `json:"sandboxCreateRateLimit,omitempty"`
	SandboxLifecycleRateLimit           *int `json:"sandboxLifecycleRateLimit,omitempty"`
	AuthenticatedRateLimitTTLSeconds    *int `json:"authenticatedRateLimitTtlSeconds,omitempty"`
	SandboxCreateRateLimitTTLSeconds    *int `json:"sandboxCreateRateLimitTtlSeconds,omitempty"`
	SandboxLifecycleRateLimitTTLSeconds *int `json:"sandboxLifecycleRateLimitTtlSeconds,omitempty"`
	SnapshotDeactivationTimeoutMinutes  *int `json:"snapshotDeactivationTimeoutMinutes,omitempty"`
}

// UpdateOrganizationRegionQuota changes what counts in one region. What is null
// or absent stays as it is.
type UpdateOrganizationRegionQuota struct {
	SandboxClass        *string `json:"sandboxClass,omitempty"` // container is the one there is
	TotalCPUQuota       *int    `json:"totalCpuQuota,omitempty"`
	TotalMemoryQuota    *int    `json:"totalMemoryQuota,omitempty"`
	TotalDiskQuota      *int    `json:"totalDiskQuota,omitempty"`
	TotalGPUQuota       *int    `json:"totalGpuQuota,omitempty"` // this server has none to give
	MaxCPUPerSandbox    *int    `json:"maxCpuPerSandbox,omitempty"`
	MaxMemoryPerSandbox *int    `json:"maxMemoryPerSandbox,omitempty"`
	MaxDiskPerSandbox   *int    `json:"maxDiskPerSandbox,omitempty"`
}

// RegionQuota is what an organization may use in one region.
type RegionQuota struct {
	OrganizationID         string       `json:"organizationId"`
	RegionID               string       `json:"regionId"`
	SandboxClass           SandboxClass `json:"sandboxClass"`
	TotalCPUQuota          float64      `json:"totalCpuQuota"`
	TotalMemoryQuota       float64      `json:"totalMemoryQuota"`
	TotalDiskQuota         float64      `json:"totalDiskQuota"`
	TotalGPUQuota          float64      `json:"totalGpuQuota"`
	MaxCPUPerSandbox       *float64     `json:"maxCpuPerSandbox"`
	MaxMemoryPerSandbox    *float64     `json:"maxMemoryPerSandbox"`
	MaxDiskPerSandbox      *float64     `json:"maxDiskPerSandbox"`
	MaxDiskPerNonEphemeral *float64     `json:"maxDiskPerNonEphemeralSandbox"`
	MaxCPUPerGPUSandbox    *float64     `json:"maxCpuPerGpuSandbox"`
	MaxMemoryPerGPUSandbox *float64     `json:"maxMemoryPerGpuSandbox"`
	MaxDiskPerGPUSandbox   *float64     `json:"maxDiskPerGpuSandbox"`
	MaxCPUPerGPU           *float64     `json:"maxCpuPerGpu"`
	MaxMemoryPerGPU        *float64     `json:"maxMemoryPerGpu"`
	MaxDiskPerGPU          *float64     `json:"maxDiskPerGpu"`
	MaxSandboxLifespan     *float64     `json:"maxSandboxLifespan"`
}

// DocsEraUsageOverview has the members that the oldest clients know.
type DocsEraUsageOverview struct {
	TotalCPUQuota        float64 `json:"totalCpuQuota"`
	TotalMemoryQuota     float64 `json:"totalMemoryQuota"` // GiB
	TotalDiskQuota       float64 `json:"totalDiskQuota"`   // GiB
	CurrentCPUUsage      float64 `json:"currentCpuUsage"`  // work in flight included
	CurrentMemoryUsage   float64 `json:"currentMemoryUsage"`
	CurrentDiskUsage     float64 `json:"currentDiskUsage"`
	TotalSnapshotQuota   float64 `json:"totalSnapshotQuota"`
	CurrentSnapshotUsage float64 `json:"currentSnapshotUsage"`
	TotalVolumeQuota     float64 `json:"totalVolumeQuota"`
	CurrentVolumeUsage   float64 `json:"currentVolumeUsage"`
}

// OrganizationUsageOverview is what an organization uses of what it may. Its
// totals are the sums of its regions.
type OrganizationUsageOverview struct {
	DocsEraUsageOverview
	RegionUsage []RegionUsageOverview `json:"regionUsage"`
}

// RegionUsageOverview is that of one region and class.
type RegionUsageOverview struct {
	RegionID               string       `json:"regionId"`
	SandboxClass           SandboxClass `json:"sandboxClass"`
	TotalCPUQuota          float64      `json:"totalCpuQuota"`
	CurrentCPUUsage        float64      `json:"currentCpuUsage"`
	TotalMemoryQuota       float64      `json:"totalMemoryQuota"`
	CurrentMemoryUsage     float64      `json:"currentMemoryUsage"`
	TotalDiskQuota         float64      `json:"totalDiskQuota"`
	CurrentDiskUsage       float64      `json:"currentDiskUsage"`
	TotalGPUQuota          float64      `json:"totalGpuQuota"`
	CurrentGPUUsage        float64      `json:"currentGpuUsage"`
	MaxCPUPerSandbox       *float64     `json:"maxCpuPerSandbox"`
	MaxMemoryPerSandbox    *float64     `json:"maxMemoryPerSandbox"`
	MaxDiskPerSandbox      *float64     `json:"maxDiskPerSandbox"`
	MaxDiskPerNonEphemeral *float64     `json:"maxDiskPerNonEphemeralSandbox"`
	MaxCPUPerGPUSandbox    *float64     `json:"maxCpuPerGpuSandbox"`
	MaxMemoryPerGPUSandbox *float64     `json:"maxMemoryPerGpuSandbox"`
	MaxDiskPerGPUSandbox   *float64     `json:"maxDiskPerGpuSandbox"`
}

// OrganizationSuspension suspends an organization.
type OrganizationSuspension struct {
	Reason string `json:"reason,omitempty"`
	Until  *Time  `json:"until,omitempty"` // null: until it is lifted
	// SuspensionCleanupGracePeriodHours is how long what runs is left alone.
	SuspensionCleanupGracePeriodHours *int `json:"suspensionCleanupGracePeriodHours,omitempty"`
}
