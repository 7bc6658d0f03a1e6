package api

// RegionType says who may use a region.
type RegionType string

// The region types.
const (
	RegionShared    RegionType = "shared"
	RegionDedicated RegionType = "dedicated"
	RegionCustom    RegionType = "custom"
)

// Enum lists the values for the OpenAPI document.
func (RegionType) Enum() []any { return []any{RegionShared, RegionDedicated, RegionCustom} }

// Region is a group of runners.
type Region struct {
	ID                 string     `json:"id"`
	Name               string     `json:"name"`
	OrganizationID     *string    `json:"organizationId"` // null for a shared one
	RegionType         RegionType `json:"regionType"`
	CreatedAt          Time       `json:"createdAt"`
	UpdatedAt          Time       `json:"updatedAt"`
	ProxyURL           *string    `json:"proxyUrl"`
	SSHGatewayURL      *string    `json:"sshGatewayUrl"`
	SnapshotManagerURL *string    `json:"snapshotManagerUrl"`
}
