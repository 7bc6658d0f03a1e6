package api

// WarmPool is booted sandboxes of a snapshot that wait for one organization.
type WarmPool struct {
	ID             string            `json:"id"`
	OrganizationID string            `json:"organizationId"`
	Snapshot       string            `json:"snapshot"` // its name
	Target         string            `json:"target"`
	Pool           int               `json:"pool"`        // how many shall wait
	CurrentSize    int               `json:"currentSize"` // how many do
	CPU            int               `json:"cpu"`
	Mem            int               `json:"mem"`  // GiB
	Disk           int               `json:"disk"` // GiB
	OSUser         string            `json:"osUser"`
	Env            map[string]string `json:"env"`         // that of a request is given when one is claimed
	ErrorReason    *string           `json:"errorReason"` // why no more do
	CreatedAt      Time              `json:"createdAt"`
	UpdatedAt      Time              `json:"updatedAt"`
}

// CreateWarmPool asks for one.
type CreateWarmPool struct {
	Snapshot string  `json:"snapshot"` // id or name
	Pool     int     `json:"pool"`
	Target   *string `json:"target,omitempty"` // default: the organization's region
}

// UpdateWarmPool changes how many shall wait.
type UpdateWarmPool struct {
	Pool int `json:"pool"` // 0 drains it
}
