package daytona

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"daytona/api"
)

// Volumes are storage that several sandboxes mount and that outlives them.
type Volumes struct{ client *Client }

// Volume is storage by a name.
type Volume struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"`
	OrganizationID string    `json:"organizationId"`
	State          string    `json:"state"` // ready when it can be mounted
	CreatedAt      api.Time  `json:"createdAt"`
	UpdatedAt      api.Time  `json:"updatedAt"`
	LastUsedAt     *api.Time `json:"lastUsedAt,omitempty"`
	ErrorReason    *string   `json:"errorReason"`
}

// List returns the volumes.
func (v *Volumes) List(ctx context.Context) ([]Volume, error) {
	return getAs[[]Volume](ctx, v.client, v.client.path("volumes"), nil)
}

// Create makes a volume.
func (v *Volumes) Create(ctx context.Context, name string) (Volume, error) {
	return postAs[Volume](ctx, v.client, v.client.path("volumes"), map[string]string{"name": name})
}

// Get returns a volume by its id, or else by its name.
func (v *Volumes) Get(ctx context.Context, idOrName string) (Volume, error) {
	if idOrName == "" {
		return Volume{}, errors.New("daytona: the volume's id or name is empty")
	}
	vol, err := getAs[Volume](ctx, v.client, v.client.path("volumes", "by-name", idOrName), nil)
	if errors.Is(err, ErrNotFound) {
		if byID, idErr := getAs[Volume](ctx, v.client, v.client.path("volumes", idOrName), nil); idErr == nil {
			return byID, nil
		}
	}
	return vol, err
}

// GetOrCreate returns the volume of a name, which it makes if there is none.
func (v *Volumes) GetOrCreate(ctx context.Context, name string) (Volume, error) {
	vol, err := v.Get(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return v.Create(ctx, name)
	}
	return vol, err
}

// Delete removes a volume with all that is on it.
func (v *Volumes) Delete(ctx context.Context, id string) error {
	if id == "" {
		return errors.New("daytona: the volume's id is empty")
	}
	return v.client.call(ctx, request{method: http.MethodDelete, url: v.client.path("volumes", id)})
}

// Registries are where images are pulled from, with what opens them.
type Registries struct{ client *Client }

// Registry is a registry of images.
type Registry struct {
	ID        string   `json:"id,omitempty"`
	Name      string   `json:"name"`
	URL       string   `json:"url"`
	Username  string   `json:"username"`
	Password  string   `json:"password,omitempty"` // is never shown again
	Project   string   `json:"project"`
	Type      string   `json:"registryType,omitempty"`
	CreatedAt api.Time `json:"createdAt,omitzero"`
	UpdatedAt api.Time `json:"updatedAt,omitzero"`
}

// List returns the organization's registries.
func (r *Registries) List(ctx context.Context) ([]Registry, error) {
	return getAs[[]Registry](ctx, r.client, r.client.path("docker-registry"), nil)
}

// Create adds a registry.
func (r *Registries) Create(ctx context.Context, reg Registry) (Registry, error) {
	return postAs[Registry](ctx, r.client, r.client.path("docker-registry"), reg)
}

// Get returns a registry by its id.
func (r *Registries) Get(ctx context.Context, id string) (Registry, error) {
	return getAs[Registry](ctx, r.client, r.client.path("docker-registry", id), nil)
}

// Update changes a registry. An empty password keeps the old one.
func (r *Registries) Update(ctx context.Context, id string, reg Registry) (Registry, error) {
	var out Registry
	err := r.client.call(ctx, request{method: http.MethodPatch, url: r.client.path("docker-registry", id), in: reg, out: &out, again: true})
	return out, err
}

// Delete removes a registry.
func (r *Registries) Delete(ctx context.Context, id string) error {
	if id == "" {
		return errors.New("daytona: the registry's id is empty")
	}
	return r.client.call(ctx, request{method: http.MethodDelete, url: r.client.path("docker-registry", id)})
}

// PushAccess lets images be pushed to the server's own registry, for a time.
type PushAccess struct {
	Username    string   `json:"username"`
	Secret      string   `json:"secret"`
	RegistryURL string   `json:"registryUrl"` // host and port
	RegistryID  string   `json:"registryId"`
	Project     string   `json:"project"` // images are pushed below it
	ExpiresAt   api.Time `json:"expiresAt"`
}

// PushAccess asks for a name and a password with which images can be pushed.
func (r *Registries) PushAccess(ctx context.Context) (PushAccess, error) {
	return getAs[PushAccess](ctx, r.client, r.client.path("docker-registry", "registry-push-access"), nil)
}

// APIKeys are the keys by which programs are known.
type APIKeys struct{ client *Client }

// List returns the caller's keys.
func (k *APIKeys) List(ctx context.Context) ([]api.APIKey, error) {
	return getAs[[]api.APIKey](ctx, k.client, k.client.path("api-keys"), nil)
}

// Current returns the key of this client.
func (k *APIKeys) Current(ctx context.Context) (api.APIKey, error) {
	return getAs[api.APIKey](ctx, k.client, k.client.path("api-keys", "current"), nil)
}

// Create makes a key. Its value is shown only in this answer.
func (k *APIKeys) Create(ctx context.Context, key api.CreateAPIKey) (api.APIKeyResponse, error) {
	return postAs[api.APIKeyResponse](ctx, k.client, k.client.path("api-keys"), key)
}

// Delete revokes a key by its name.
func (k *APIKeys) Delete(ctx context.Context, name string) error {
	if strings.TrimSpace(name) == "" {
		return errors.New("daytona: the key's name is empty")
	}
	return k.client.call(ctx, request{method: http.MethodDelete, url: k.client.path("api-keys", name)})
}

// Organizations own everything that a server keeps.
type Organizations struct{ client *Client }

// List returns the caller's organizations.
func (o *Organizations) List(ctx context.Context) ([]api.Organization, error) {
	return getAs[[]api.Organization](ctx, o.client, o.client.path("organizations"), nil)
}

// Get returns an organization by its id.
func (o *Organizations) Get(ctx context.Context, id string) (api.Organization, error) {
	return getAs[api.Organization](ctx, o.client, o.client.path("organizations", id), nil)
}

// Create makes an organization. region may be empty.
func (o *Organizations) Create(ctx context.Context, name, region string) (api.Organization, error) {
	in := map[string]string{"name": name}
	if region != "" {
		in["defaultRegionId"] = region
	}
	return postAs[api.Organization](ctx, o.client, o.client.path("organizations"), in)
}

// Delete removes an organization with everything in it.
func (o *Organizations) Delete(ctx context.Context, id string) error {
	if id == "" {
		return errors.New("daytona: the organization's id is empty")
	}
	return o.client.call(ctx, request{method: http.MethodDelete, url: o.client.path("organizations", id)})
}
