package api

// RegistryType says what a registry is for.
type RegistryType string

// The registry types. Members see those of type organization.
const (
	RegistryOrganization RegistryType = "organization"
	RegistryInternal     RegistryType = "internal"
	RegistryPublic       RegistryType = "public"
	RegistryTransient    RegistryType = "transient"
	RegistryBackup       RegistryType = "backup"
)

// Enum lists the values for the OpenAPI document.
func (RegistryType) Enum() []any {
	return []any{RegistryOrganization, RegistryInternal, RegistryPublic, RegistryTransient, RegistryBackup}
}

// CreateDockerRegistry adds a registry.
type CreateDockerRegistry struct {
	Name         string  `json:"name"`
	URL          string  `json:"url"` // docker.io, https://ghcr.io, registry.example.com:5000
	Username     string  `json:"username"`
	Password     string  `json:"password"` // or a token; never returned
	Project      *string `json:"project,omitempty"`
	RegistryType *string `json:"registryType,omitempty"` // default organization; the others are the administrators'
	IsDefault    *bool   `json:"isDefault,omitempty"`    // administrators only
}

// UpdateDockerRegistry changes a registry.
type UpdateDockerRegistry struct {
	Name     string  `json:"name"`
	URL      string  `json:"url"`
	Username string  `json:"username"`
	Password *string `json:"password,omitempty"` // absent or empty keeps the one there is
	Project  *string `json:"project,omitempty"`
}

// DockerRegistry is a registry from which images are pulled.
type DockerRegistry struct {
	ID           string       `json:"id"`
	Name         string       `json:"name"`
	URL          string       `json:"url"`
	Username     string       `json:"username"`
	Project      string       `json:"project"`
	RegistryType RegistryType `json:"registryType"`
	CreatedAt    Time         `json:"createdAt"`
	UpdatedAt    Time         `json:"updatedAt"`
}
