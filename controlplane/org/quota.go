package org

import "daytona/internal/fault"

// CodeQuota marks faults that say a quota is used up.
const CodeQuota = "QUOTA_EXCEEDED"

// Resources is what one sandbox takes.
type Resources struct {
	CPU       int // vCPUs
	GPU       int
	MemoryGiB int
	DiskGiB   int
}

// Quota is what an organization may use in each region. CPU is in vCPUs, memory
// and disk in GiB, MaxSnapshotSizeGB in GB. Snapshots and volumes are counted
// over all regions.
type Quota struct {
	TotalCPU, TotalMemoryGiB, TotalDiskGiB int
	MaxCPU, MaxMemoryGiB, MaxDiskGiB       int // per sandbox
	Snapshots                              int
	MaxSnapshotSizeGB                      int
	Volumes                                int
}

// DefaultQuota is what a new organization gets unless the operator says
// otherwise. The totals are far above what one machine carries: on a server of
// one's own the machine is the limit.
func DefaultQuota() Quota {
	return Quota{
		TotalCPU: 1000, TotalMemoryGiB: 2000, TotalDiskGiB: 10000,
		MaxCPU: 4, MaxMemoryGiB: 8, MaxDiskGiB: 10,
		Snapshots: 100, MaxSnapshotSizeGB: 20, Volumes: 100,
	}
}

// RegionQuota is what an organization may use in one region, where that differs
// from its Quota. Nil is as the Quota says.
type RegionQuota struct {
	RegionID                               string
	TotalCPU, TotalMemoryGiB, TotalDiskGiB *int
	MaxCPU, MaxMemoryGiB, MaxDiskGiB       *int // per sandbox
}

// In is q as it counts in a region of which r tells.
func (q Quota) In(r RegionQuota) Quota {
	for _, f := range []struct {
		to   *int
		from *int
	}{
		{&q.TotalCPU, r.TotalCPU},
		{&q.TotalMemoryGiB, r.TotalMemoryGiB},
		{&q.TotalDiskGiB, r.TotalDiskGiB},
		{&q.MaxCPU, r.MaxCPU},
		{&q.MaxMemoryGiB, r.MaxMemoryGiB},
		{&q.MaxDiskGiB, r.MaxDiskGiB},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	return q
}

// Usage is what an organization uses at a moment, work in flight included: in
// one region, but for snapshots and volumes, which have none.
type Usage struct {
	CPU, MemoryGiB, DiskGiB int
	Snapshots, Volumes      int
}

// Plus is the sum of two regions' resources.
func (u Usage) Plus(v Usage) Usage {
	u.CPU, u.MemoryGiB, u.DiskGiB = u.CPU+v.CPU, u.MemoryGiB+v.MemoryGiB, u.DiskGiB+v.DiskGiB
	return u
}

// CheckSandbox says whether one sandbox may be as large as want.
func (q Quota) CheckSandbox(want Resources) error {
	for _, c := range []struct {
		name, unit string
		want, max  int
	}{
		{"CPU", "", want.CPU, q.MaxCPU},
		{"memory", " GiB", want.MemoryGiB, q.MaxMemoryGiB},
		{"disk", " GiB", want.DiskGiB, q.MaxDiskGiB},
	} {
		if c.want > c.max {
			return fault.New(fault.Invalid, "%s request %d%s exceeds maximum allowed per sandbox (%d%s)",
				c.name, c.want, c.unit, c.max, c.unit).WithCode(CodeQuota)
		}
	}
	return nil
}

// Admit says whether want fits beside what is used already. Memory and CPU do
// not count for a sandbox that only keeps its disk; give zeros then.
func (q Quota) Admit(used Usage, want Resources) error {
	for _, c := range []struct {
		name, unit       string
		used, want, most int
	}{
		{"CPU", "", used.CPU, want.CPU, q.TotalCPU},
		{"memory", " GiB", used.MemoryGiB, want.MemoryGiB, q.TotalMemoryGiB},
		{"disk", " GiB", used.DiskGiB, want.DiskGiB, q.TotalDiskGiB},
	} {
		if c.want > 0 && c.used+c.want > c.most {
			return fault.New(fault.Invalid,
				"Total %s limit exceeded. Maximum allowed: %d%s, in use: %d%s, requested: %d%s. Delete or stop sandboxes to free some",
				c.name, c.most, c.unit, c.used, c.unit, c.want, c.unit).WithCode(CodeQuota)
		}
	}
	return nil
}
