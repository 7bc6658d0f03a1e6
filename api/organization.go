package api

// DocsEraOrganization has the members that the oldest clients know. They
// refuse an answer with any other.
type DocsEraOrganization struct {
	ID                                string  `json:"id"`
	Name                              string  `json:"name"`
	CreatedBy                         string  `json:"createdBy"` // user id
	Personal                          bool    `json:"personal"`
	CreatedAt                         Time    `json:"createdAt"`
	UpdatedAt                         Time    `json:"updatedAt"`
	Suspended                         bool    `json:"suspended"`
	SuspendedAt                       *Time   `json:"suspendedAt"`
	SuspensionReason                  *string `json:"suspensionReason"`
	SuspendedUntil                    *Time   `json:"suspendedUntil"` // null: open ended
	SuspensionCleanupGracePeriodHours int     `json:"suspensionCleanupGracePeriodHours"`
	TotalCPUQuota                     float64 `json:"totalCpuQuota"`
	TotalMemoryQuota                  float64 `json:"totalMemoryQuota"` // GiB
	TotalDiskQuota                    float64 `json:"totalDiskQuota"`   // GiB
	MaxCPUPerSandbox                  float64 `json:"maxCpuPerSandbox"`
	MaxMemoryPerSandbox               float64 `json:"maxMemoryPerSandbox"` // GiB
	MaxDiskPerSandbox                 float64 `json:"maxDiskPerSandbox"`   // GiB
}

// Organization owns sandboxes, snapshots and everything else.
type Organization struct {
	DocsEraOrganization
	SnapshotDeactivationTimeoutMinutes  int            `json:"snapshotDeactivationTimeoutMinutes"`
	SandboxLimitedNetworkEgress         bool           `json:"sandboxLimitedNetworkEgress"`
	DefaultRegionID                     string         `json:"defaultRegionId,omitempty"`
	AuthenticatedRateLimit              *int           `json:"authenticatedRateLimit"` // null: the server's default
	SandboxCreateRateLimit              *int           `json:"sandboxCreateRateLimit"`
	SandboxLifecycleRateLimit           *int           `json:"sandboxLifecycleRateLimit"`
	ExperimentalConfig                  map[string]any `json:"experimentalConfig"`
	OtelConfig                          *OtelConfig    `json:"otelConfig"`
	AuthenticatedRateLimitTTLSeconds    *int           `json:"authenticatedRateLimitTtlSeconds"`
	SandboxCreateRateLimitTTLSeconds    *int           `json:"sandboxCreateRateLimitTtlSeconds"`
	SandboxLifecycleRateLimitTTLSeconds *int           `json:"sandboxLifecycleRateLimitTtlSeconds"`
	SecretQuota                         int            `json:"secretQuota"`
	MaxSecretsPerSandbox                int            `json:"maxSecretsPerSandbox"`
	PreviewWarningEnabled               bool           `json:"previewWarningEnabled"`
	SSOEnabled                          bool           `json:"ssoEnabled"`
	SCIMEnabled                         bool           `json:"scimEnabled"`
}

// OtelConfig says where an organization wants its telemetry.
type OtelConfig struct {
	Endpoint       string            `json:"endpoint"`
	Headers        map[string]string `json:"headers,omitempty"`
	OrganizationID string            `json:"organizationId,omitempty"`
}
