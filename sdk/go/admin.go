package daytona

import (
	"context"
	"net/http"

	"daytona/api"
)

// Usage returns what an organization uses of what it may.
func (o *Organizations) Usage(ctx context.Context, id string) (api.OrganizationUsageOverview, error) {
	return getAs[api.OrganizationUsageOverview](ctx, o.client, o.client.path("organizations", id, "usage"), nil)
}

// All lists every organization of the server. This and what follows is for a key
// of its administrator.
func (o *Organizations) All(ctx context.Context) ([]api.Organization, error) {
	return getAs[[]api.Organization](ctx, o.client, o.client.path("admin", "organizations"), nil)
}

// SetQuota changes what an organization may use in each region; nil members stay
// as they are.
func (o *Organizations) SetQuota(ctx context.Context, id string, q api.UpdateOrganizationQuota) (out api.Organization, err error) {
	err = o.client.call(ctx, request{method: http.MethodPatch, url: o.client.path("organizations", id, "quota"), in: q, out: &out, again: true})
	return out, err
}

// SetRegionQuota changes what it may use in one region.
func (o *Organizations) SetRegionQuota(ctx context.Context, id, region string, q api.UpdateOrganizationRegionQuota) error {
	return o.client.call(ctx, request{method: http.MethodPatch, url: o.client.path("organizations", id, "quota", region), in: q, again: true})
}

// Suspend bars an organization from using more.
func (o *Organizations) Suspend(ctx context.Context, id string, s api.OrganizationSuspension) error {
	return o.client.post(ctx, o.client.path("organizations", id, "suspend"), s, nil)
}

// Unsuspend lifts that.
func (o *Organizations) Unsuspend(ctx context.Context, id string) error {
	return o.client.post(ctx, o.client.path("organizations", id, "unsuspend"), nil, nil)
}
