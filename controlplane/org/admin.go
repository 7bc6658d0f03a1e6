package org

import (
	"context"
	"slices"
	"time"

	"daytona/internal/fault"
)

// What follows is for the administrator of the installation. Who that is the
// caller decides.

// All lists every organization, oldest first.
func (s *Service) All(ctx context.Context) ([]Organization, error) { return s.store.Organizations(ctx) }

// Any returns an organization whoever belongs to it, or NotFound.
func (s *Service) Any(ctx context.Context, orgID string) (Organization, error) {
	o, err := s.store.Organization(ctx, orgID)
	return o, unknown(err, orgID)
}

// QuotaChange says what becomes different. Nil stays as it is.
type QuotaChange struct {
	RegionQuota // of the organization itself; its RegionID is not looked at

	Snapshots, MaxSnapshotSizeGB, Volumes *int
	Rates                                 RateChange
	SnapshotDeactivationMinutes           *int
}

// SetQuota changes what an organization may use in each region that has no
// quota of its own, and how often it may call. What runs goes on, also when it
// is more than that: only what would take more is refused.
func (s *Service) SetQuota(ctx context.Context, orgID string, c QuotaChange) (Organization, error) {
	if err := c.check(); err != nil {
		return Organization{}, err
	}
	o, err := s.store.ChangeOrganization(ctx, orgID, s.now().UTC().Truncate(time.Millisecond), func(o *Organization) {
		o.Quota = o.Quota.In(c.RegionQuota)
		set(&o.Quota.Snapshots, c.Snapshots)
		set(&o.Quota.MaxSnapshotSizeGB, c.MaxSnapshotSizeGB)
		set(&o.Quota.Volumes, c.Volumes)
		set(&o.SnapshotDeactivationMinutes, c.SnapshotDeactivationMinutes)
		o.Rates = o.Rates.changed(c.Rates)
	})
	return o, unknown(err, orgID)
}

// SetRegionQuota changes what an organization may use in one region.
func (s *Service) SetRegionQuota(ctx context.Context, orgID string, c RegionQuota) error {
	if err := c.check(); err != nil {
		return err
	}
	if _, err := s.Any(ctx, orgID); err != nil {
		return err
	}
	ids, err := s.regions.IDs(ctx, orgID)
	if err != nil {
		return err
	}
	if !slices.Contains(ids, c.RegionID) {
		return fault.New(fault.NotFound, "Region %s not found", c.RegionID)
	}
	return unknown(s.store.ChangeRegionQuota(ctx, orgID, c.RegionID, func(q *RegionQuota) {
		for _, f := range []struct{ to, from **int }{
			{&q.TotalCPU, &c.TotalCPU},
			{&q.TotalMemoryGiB, &c.TotalMemoryGiB},
			{&q.TotalDiskGiB, &c.TotalDiskGiB},
			{&q.MaxCPU, &c.MaxCPU},
			{&q.MaxMemoryGiB, &c.MaxMemoryGiB},
			{&q.MaxDiskGiB, &c.MaxDiskGiB},
		} {
			if *f.from != nil {
				*f.to = *f.from
			}
		}
	}), orgID)
}

// Suspend bars an organization from using more, at once; what runs is stopped
// after the grace period. until nil is until it is lifted; grace nil leaves the
// period as it is. Repeated, it changes reason and end but not the beginning.
func (s *Service) Suspend(ctx context.Context, orgID, reason string, until *time.Time, graceHours *int) error {
	now := s.now().UTC().Truncate(time.Millisecond)
	if until != nil && !now.Before(*until) {
		return fault.New(fault.Invalid, "until: must lie in the future")
	}
	if graceHours != nil && (*graceHours < 0 || *graceHours > maxGraceHours) {
		return fault.New(fault.Invalid, "suspensionCleanupGracePeriodHours: must be between 0 and %d", maxGraceHours)
	}
	if len(reason) > maxReason {
		return fault.New(fault.Invalid, "reason: must have at most %d bytes", maxReason)
	}
	o, err := s.Any(ctx, orgID)
	if err != nil {
		return err
	}
	began := now
	if o.Suspended(now) {
		began = o.Suspension.At
	}
	return unknown(s.store.SetSuspension(ctx, orgID, &Suspension{At: began, Reason: reason, Until: until}, graceHours, now), orgID)
}

// Unsuspend lifts a suspension. What was stopped stays stopped.
func (s *Service) Unsuspend(ctx context.Context, orgID string) error {
	return unknown(s.store.SetSuspension(ctx, orgID, nil, nil, s.now().UTC().Truncate(time.Millisecond)), orgID)
}

const (
	maxReason     = 1000
	maxGraceHours = 24 * 365
	maxQuota      = 1 << 30
)

func (c QuotaChange) check() error {
	for name, n := range map[string]*int{
		"snapshotQuota": c.Snapshots, "maxSnapshotSize": c.MaxSnapshotSizeGB, "volumeQuota": c.Volumes,
		"snapshotDeactivationTimeoutMinutes": c.SnapshotDeactivationMinutes,
	} {
		if err := checkQuota(name, n); err != nil {
			return err
		}
	}
	if err := c.Rates.check(); err != nil {
		return err
	}
	return c.RegionQuota.check()
}

func (c RegionQuota) check() error {
	for name, n := range map[string]*int{
		"totalCpuQuota": c.TotalCPU, "totalMemoryQuota": c.TotalMemoryGiB, "totalDiskQuota": c.TotalDiskGiB,
		"maxCpuPerSandbox": c.MaxCPU, "maxMemoryPerSandbox": c.MaxMemoryGiB, "maxDiskPerSandbox": c.MaxDiskGiB,
	} {
		if err := checkQuota(name, n); err != nil {
			return err
		}
	}
	return nil
}

func checkQuota(name string, n *int) error {
	if n != nil && (*n < 0 || *n > maxQuota) {
		return fault.New(fault.Invalid, "%s: must be between 0 and %d", name, maxQuota)
	}
	return nil
}

func set(to, from *int) {
	if from != nil {
		*to = *from
	}
}
