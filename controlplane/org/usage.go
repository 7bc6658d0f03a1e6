package org

import (
	"context"
	"maps"
	"slices"
)

// Overview is what an organization may use and what it does.
type Overview struct {
	Organization Organization
	// Regions has every region that the organization can use, by id.
	Regions []RegionOverview
	// Used counts snapshots and volumes; its resources are those of all regions.
	Used Usage
	// Total is the sum of what the regions grant.
	Total Quota
}

// RegionOverview is the same of one region.
type RegionOverview struct {
	RegionID string
	Quota    Quota
	Used     Usage
}

// Overview tells a user of an organization that the user belongs to; any other
// id is NotFound.
func (s *Service) Overview(ctx context.Context, userID, orgID string) (Overview, error) {
	if _, err := s.Membership(ctx, userID, orgID); err != nil {
		return Overview{}, err
	}
	return s.OverviewOf(ctx, orgID)
}

// OverviewOf is Overview for whoever may see every organization.
func (s *Service) OverviewOf(ctx context.Context, orgID string) (Overview, error) {
	o, err := s.store.Organization(ctx, orgID)
	if err != nil {
		return Overview{}, unknown(err, orgID)
	}
	used, err := s.store.OrganizationUsage(ctx, orgID)
	if err != nil {
		return Overview{}, err
	}
	own, err := s.store.RegionQuotas(ctx, orgID)
	if err != nil {
		return Overview{}, err
	}
	ids, err := s.regions.IDs(ctx, orgID)
	if err != nil {
		return Overview{}, err
	}
	return overview(o, ids, own, used), nil
}

// overview also shows regions that can no longer be used while something is
// left there.
func overview(o Organization, ids []string, own []RegionQuota, used map[string]Usage) Overview {
	all := map[string]RegionQuota{}
	for _, id := range append(slices.Collect(maps.Keys(used)), ids...) {
		if id != "" {
			all[id] = RegionQuota{RegionID: id}
		}
	}
	for _, r := range own {
		all[r.RegionID] = r
	}
	out := Overview{Organization: o, Used: used[""], Total: o.Quota}
	out.Total.TotalCPU, out.Total.TotalMemoryGiB, out.Total.TotalDiskGiB = 0, 0, 0
	for _, id := range slices.Sorted(maps.Keys(all)) {
		r := RegionOverview{RegionID: id, Quota: o.Quota.In(all[id]), Used: used[id]}
		out.Regions = append(out.Regions, r)
		out.Used = out.Used.Plus(r.Used)
		out.Total.TotalCPU += r.Quota.TotalCPU
		out.Total.TotalMemoryGiB += r.Quota.TotalMemoryGiB
		out.Total.TotalDiskGiB += r.Quota.TotalDiskGiB
	}
	return out
}

// RegionQuota returns what an organization may use in a region.
func (s *Service) RegionQuota(ctx context.Context, orgID, regionID string) (Quota, error) {
	o, err := s.store.Organization(ctx, orgID)
	if err != nil {
		return Quota{}, unknown(err, orgID)
	}
	own, err := s.store.RegionQuotas(ctx, orgID)
	for _, r := range own {
		if r.RegionID == regionID {
			return o.Quota.In(r), err
		}
	}
	return o.Quota, err
}
