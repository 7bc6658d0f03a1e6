package httpapi

import (
	"net/http"
	"time"

	"daytona/api"
	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

const pathOrganization = "organizationId"

// administers reports whether the caller could call the routes of
// administrators.
func (c call) administers() bool { return c.Admin() && c.Can(administrators.permission) }

func (a *API) allOrganizations(w http.ResponseWriter, r *http.Request, c call) error {
	list, err := a.Orgs.All(r.Context())
	if err != nil {
		return err
	}
	now, out := time.Now(), make([]any, len(list))
	for i, o := range list {
		out[i] = organizationFor(c.client, o, now)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *API) organizationUsage(w http.ResponseWriter, r *http.Request, c call) error {
	id := r.PathValue(pathOrganization)
	var o org.Overview
	var err error
	if c.administers() {
		o, err = a.Orgs.OverviewOf(r.Context(), id)
	} else if o, err = a.Orgs.Overview(r.Context(), c.User.ID, id); err == nil && id != c.OrgID {
		err = fault.New(fault.Forbidden, "This API key does not belong to organization %s", printable(id))
	}
	if err != nil {
		return err
	}
	full := toUsage(o)
	if c.client.strict {
		writeJSON(w, http.StatusOK, full.DocsEraUsageOverview)
		return nil
	}
	writeJSON(w, http.StatusOK, full)
	return nil
}

func (a *API) setQuota(w http.ResponseWriter, r *http.Request, c call) error {
	var b api.UpdateOrganizationQuota
	if err := decodeBody(w, r, &b); err != nil {
		return err
	}
	o, err := a.Orgs.SetQuota(r.Context(), r.PathValue(pathOrganization), org.QuotaChange{
		RegionQuota: org.RegionQuota{
			TotalCPU: b.TotalCPUQuota, TotalMemoryGiB: b.TotalMemoryQuota, TotalDiskGiB: b.TotalDiskQuota,
			MaxCPU: b.MaxCPUPerSandbox, MaxMemoryGiB: b.MaxMemoryPerSandbox, MaxDiskGiB: b.MaxDiskPerSandbox,
		},
		Snapshots: b.SnapshotQuota, MaxSnapshotSizeGB: b.MaxSnapshotSize, Volumes: b.VolumeQuota,
		Rates: org.Rates{
			Authenticated:    org.OwnRate{Limit: b.AuthenticatedRateLimit, Seconds: b.AuthenticatedRateLimitTTLSeconds},
			SandboxCreate:    org.OwnRate{Limit: b.SandboxCreateRateLimit, Seconds: b.SandboxCreateRateLimitTTLSeconds},
			SandboxLifecycle: org.OwnRate{Limit: b.SandboxLifecycleRateLimit, Seconds: b.SandboxLifecycleRateLimitTTLSeconds},
		},
		SnapshotDeactivationMinutes: b.SnapshotDeactivationTimeoutMinutes,
	})
	if err != nil {
		return err
	}
	a.rates.forget(o.ID)
	writeJSON(w, http.StatusOK, organizationFor(c.client, o, time.Now()))
	return nil
}

func (a *API) setRegionQuota(w http.ResponseWriter, r *http.Request, c call) error {
	var b api.UpdateOrganizationRegionQuota
	if err := decodeBody(w, r, &b); err != nil {
		return err
	}
	class := r.PathValue("sandboxClass")
	if class == "" && b.SandboxClass != nil {
		class = *b.SandboxClass
	}
	if class != "" && class != string(api.ClassContainer) {
		return fault.New(fault.Invalid, "sandboxClass: this server makes sandboxes of the class %s alone", api.ClassContainer)
	}
	if b.TotalGPUQuota != nil && *b.TotalGPUQuota != 0 {
		return fault.New(fault.Invalid, "totalGpuQuota: this server has no GPUs to give")
	}
	err := a.Orgs.SetRegionQuota(r.Context(), r.PathValue(pathOrganization), org.RegionQuota{
		RegionID: r.PathValue("regionId"),
		TotalCPU: b.TotalCPUQuota, TotalMemoryGiB: b.TotalMemoryQuota, TotalDiskGiB: b.TotalDiskQuota,
		MaxCPU: b.MaxCPUPerSandbox, MaxMemoryGiB: b.MaxMemoryPerSandbox, MaxDiskGiB: b.MaxDiskPerSandbox,
	})
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (a *API) suspendOrganization(w http.ResponseWriter, r *http.Request, c call) error {
	var b api.OrganizationSuspension
	if err := decodeBody(w, r, &b); err != nil {
		return err
	}
	var until *time.Time
	if b.Until != nil {
		until = &b.Until.Time
	}
	err := a.Orgs.Suspend(r.Context(), r.PathValue(pathOrganization), b.Reason, until, b.SuspensionCleanupGracePeriodHours)
	if err == nil {
		w.WriteHeader(http.StatusCreated)
	}
	return err
}

func (a *API) unsuspendOrganization(w http.ResponseWriter, r *http.Request, c call) error {
	err := a.Orgs.Unsuspend(r.Context(), r.PathValue(pathOrganization))
	if err == nil {
		w.WriteHeader(http.StatusCreated)
	}
	return err
}

// anySandbox returns a sandbox of the caller's organization, and any to whoever
// administers the installation.
func (a *API) anySandbox(r *http.Request, c call) (sandbox.Sandbox, error) {
	id := r.PathValue(pathSandbox)
	sb, err := a.Sandboxes.Get(r.Context(), c.OrgID, id)
	if fault.Is(err, fault.NotFound) && c.administers() {
		if other, err := a.Sandbox(r.Context(), id); !fault.Is(err, fault.NotFound) {
			return other, err
		}
	}
	return sb, err
}

func (a *API) sandboxOrganization(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.anySandbox(r, c)
	if err != nil {
		return err
	}
	o, err := a.Orgs.Any(r.Context(), sb.OrgID)
	if err == nil {
		writeJSON(w, http.StatusOK, organizationFor(c.client, o, time.Now()))
	}
	return err
}

func (a *API) sandboxRegionQuota(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.anySandbox(r, c)
	if err != nil {
		return err
	}
	q, err := a.Orgs.RegionQuota(r.Context(), sb.OrgID, sb.Target)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.RegionQuota{
		OrganizationID: sb.OrgID, RegionID: sb.Target, SandboxClass: api.ClassContainer,
		TotalCPUQuota: float64(q.TotalCPU), TotalMemoryQuota: float64(q.TotalMemoryGiB), TotalDiskQuota: float64(q.TotalDiskGiB),
		MaxCPUPerSandbox: number(q.MaxCPU), MaxMemoryPerSandbox: number(q.MaxMemoryGiB), MaxDiskPerSandbox: number(q.MaxDiskGiB),
	})
	return nil
}

func toUsage(o org.Overview) api.OrganizationUsageOverview {
	out := api.OrganizationUsageOverview{
		DocsEraUsageOverview: api.DocsEraUsageOverview{
			TotalCPUQuota: float64(o.Total.TotalCPU), TotalMemoryQuota: float64(o.Total.TotalMemoryGiB), TotalDiskQuota: float64(o.Total.TotalDiskGiB),
			CurrentCPUUsage: float64(o.Used.CPU), CurrentMemoryUsage: float64(o.Used.MemoryGiB), CurrentDiskUsage: float64(o.Used.DiskGiB),
			TotalSnapshotQuota: float64(o.Total.Snapshots), CurrentSnapshotUsage: float64(o.Used.Snapshots),
			TotalVolumeQuota: float64(o.Total.Volumes), CurrentVolumeUsage: float64(o.Used.Volumes),
		},
		RegionUsage: make([]api.RegionUsageOverview, len(o.Regions)),
	}
	for i, r := range o.Regions {
		out.RegionUsage[i] = api.RegionUsageOverview{
			RegionID: r.RegionID, SandboxClass: api.ClassContainer,
			TotalCPUQuota: float64(r.Quota.TotalCPU), CurrentCPUUsage: float64(r.Used.CPU),
			TotalMemoryQuota: float64(r.Quota.TotalMemoryGiB), CurrentMemoryUsage: float64(r.Used.MemoryGiB),
			TotalDiskQuota: float64(r.Quota.TotalDiskGiB), CurrentDiskUsage: float64(r.Used.DiskGiB),
			MaxCPUPerSandbox: number(r.Quota.MaxCPU), MaxMemoryPerSandbox: number(r.Quota.MaxMemoryGiB), MaxDiskPerSandbox: number(r.Quota.MaxDiskGiB),
		}
	}
	return out
}

func number(n int) *float64 { return new(float64(n)) }
