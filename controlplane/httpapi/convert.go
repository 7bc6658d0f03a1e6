package httpapi

import (
	"slices"
	"strings"
	"time"

	"daytona/api"
	"daytona/controlplane/auth"
	"daytona/controlplane/fleet"
	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/snapshot"
)

// This file has the only conversions between the nouns and the wire.

// toCreateRequest is what a client sent, for the domain.
func toCreateRequest(c api.CreateSandbox) sandbox.CreateRequest {
	out := sandbox.CreateRequest{
		Name: c.Name, Snapshot: c.Snapshot, User: c.User, Env: c.Env, Labels: c.Labels, Public: c.Public,
		Class: c.Class, Target: c.Target, Isolation: c.Isolation, CPU: c.CPU, GPU: c.GPU, Memory: c.Memory, Disk: c.Disk,
		NetworkBlockAll: c.NetworkBlockAll, NetworkAllowList: c.NetworkAllowList,
		AutoStopInterval: c.AutoStopInterval, AutoArchiveInterval: c.AutoArchiveInterval, AutoDeleteInterval: c.AutoDeleteInterval,
		DomainAllowList: c.DomainAllowList, GPUType: c.GPUType, LinkedSandbox: c.LinkedSandbox,
		OutboundProxyURL: c.OutboundProxyURL, OTelEndpointOverride: c.OTelEndpointOverride,
		Spot: c.Spot, KVM: c.KVM, AutoPauseInterval: c.AutoPauseInterval, TTLMinutes: c.TTLMinutes, Secrets: c.Secrets,
	}
	for _, v := range c.Volumes {
		out.Volumes = append(out.Volumes, sandbox.VolumeMount{VolumeID: v.VolumeID, MountPath: v.MountPath, Subpath: v.Subpath})
	}
	if c.BuildInfo != nil {
		out.BuildInfo = &sandbox.BuildRequest{DockerfileContent: c.BuildInfo.DockerfileContent, ContextHashes: c.BuildInfo.ContextHashes}
	}
	return out
}

// toSandbox is a sandbox as the present clients read it.
func (a *API) toSandbox(c client, s sandbox.Sandbox) api.Sandbox {
	desired := api.SandboxDesiredState(s.Desired)
	out := api.Sandbox{
		DocsEraSandbox: api.DocsEraSandbox{
			ID: s.ID, OrganizationID: s.OrgID, Snapshot: orNull(s.Snapshot), User: s.User,
			Env: notNil(s.Env), Labels: notNil(s.Labels), Public: s.Public,
			NetworkBlockAll: s.NetworkBlockAll, NetworkAllowList: s.NetworkAllowList,
			Target: s.Target, CPU: float64(s.CPU), GPU: float64(s.GPU), Memory: float64(s.MemoryGiB), Disk: float64(s.DiskGiB),
			State:        c.sandboxState(api.SandboxState(s.Shown()), desired),
			DesiredState: c.desiredState(desired), ErrorReason: s.ErrorReason,
			BackupState:      api.BackupNone,
			AutoStopInterval: s.AutoStop, AutoArchiveInterval: s.AutoArchive, AutoDeleteInterval: s.AutoDelete,
			Volumes: []api.SandboxVolume{}, CreatedAt: api.At(s.CreatedAt), UpdatedAt: api.At(s.UpdatedAt),
			Class: legacyClass(s.Class),
		},
		Name: s.Name, ToolboxProxyURL: a.toolboxURL(), Recoverable: s.Recoverable,
		LastActivityAt: api.AtOrNull(s.LastActivityAt), SandboxClass: api.ClassContainer,
		RunnerID: s.RunnerID, Isolation: s.Isolation, EndCause: s.EndCause, EndEvidence: s.EndEvidence,
	}
	if s.DomainAllowList != nil {
		out.DomainAllowList = *s.DomainAllowList
	}
	if s.DaemonVersion != nil {
		out.DaemonVersion = *s.DaemonVersion
	}
	if b := s.Backup; b != nil {
		out.BackupState, out.BackupCreatedAt = api.BackupState(b.State), api.AtOrNull(b.At)
	}
	if b := s.BuildInfo; b != nil {
		out.BuildInfo = &api.BuildInfo{
			DockerfileContent: b.DockerfileContent, ContextHashes: slices.Clone(b.ContextHashes),
			CreatedAt: api.At(b.CreatedAt), UpdatedAt: api.At(b.UpdatedAt), SnapshotRef: b.SnapshotRef,
		}
	}
	return out
}

// sandboxFor is a sandbox in the dialect of the client that asks.
func (a *API) sandboxFor(c client, s sandbox.Sandbox) any {
	full := a.toSandbox(c, s)
	if !c.strict {
		return full
	}
	if full.BuildInfo != nil {
		full.BuildInfo.SnapshotRef = ""
	}
	return full.DocsEraSandbox
}

// toListItem is a sandbox in a list with a cursor.
func (a *API) toListItem(c client, s sandbox.Sandbox) api.SandboxListItem {
	f := a.toSandbox(c, s)
	return api.SandboxListItem{
		ID: f.ID, OrganizationID: f.OrganizationID, Name: f.Name, Target: f.Target, RunnerID: f.RunnerID,
		SandboxClass: f.SandboxClass, State: f.State, DesiredState: f.DesiredState, Snapshot: f.Snapshot,
		User: f.User, ErrorReason: f.ErrorReason, Recoverable: f.Recoverable, Public: f.Public,
		CPU: f.CPU, GPU: f.GPU, Memory: f.Memory, Disk: f.Disk, Labels: f.Labels, BackupState: f.BackupState,
		AutoStopInterval: f.AutoStopInterval, AutoArchiveInterval: f.AutoArchiveInterval, AutoDeleteInterval: f.AutoDeleteInterval,
		CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt, LastActivityAt: f.LastActivityAt, DaemonVersion: f.DaemonVersion,
		ToolboxProxyURL: f.ToolboxProxyURL, NetworkBlockAll: f.NetworkBlockAll, NetworkAllowList: f.NetworkAllowList,
		DomainAllowList: f.DomainAllowList,
	}
}

// toolboxURL is the base of toolbox requests on the new path.
func (a *API) toolboxURL() string { return a.origin() + "/toolbox" }

// origin is the public address without a slash at its end.
func (a *API) origin() string { return strings.TrimRight(a.PublicURL.String(), "/") }

// toSnapshot is a snapshot as the present clients read it.
func toSnapshot(c client, s snapshot.Snapshot) api.Snapshot {
	state := api.SnapshotState(s.State)
	if s.SourceSandbox != "" && s.State.Underway() {
		state = api.SnapshotSnapshotting
	}
	out := api.Snapshot{
		DocsEraSnapshot: api.DocsEraSnapshot{
			ID: s.ID, OrganizationID: orNull(s.OrgID), General: s.General, Name: s.Name, ImageName: s.ImageName,
			State: c.snapshotState(state), Size: s.SizeGB(),
			Entrypoint: append([]string{}, s.Entrypoint...),
			CPU:        s.CPU, GPU: s.GPU, Memory: s.MemoryGiB, Disk: s.DiskGiB, ErrorReason: s.ErrorReason,
			CreatedAt: api.At(s.CreatedAt), UpdatedAt: api.At(s.UpdatedAt), LastUsedAt: timeOrNull(s.LastUsedAt),
		},
		Ref: s.Image, SandboxClass: api.ClassContainer, SourceSandboxID: orNull(s.SourceSandbox), Isolation: s.Isolation,
	}
	if b := s.Build; b != nil {
		out.BuildInfo = &api.BuildInfo{
			DockerfileContent: b.Dockerfile, ContextHashes: append([]string{}, b.Contexts...),
			CreatedAt: api.At(b.CreatedAt), UpdatedAt: api.At(b.UpdatedAt),
		}
		if !c.strict {
			out.BuildInfo.SnapshotRef = s.Image
		}
	}
	return out
}

// toCreateSnapshot is what a client sent, for the domain.
func toCreateSnapshot(c api.CreateSnapshot) snapshot.CreateRequest {
	out := snapshot.CreateRequest{
		Name: c.Name, ImageName: c.ImageName, Entrypoint: c.Entrypoint, General: c.General, Isolation: c.Isolation,
		CPU: c.CPU, GPU: c.GPU, Memory: c.Memory, Disk: c.Disk, Region: c.RegionID, SandboxClass: c.SandboxClass, GPUType: c.GPUType,
	}
	if b := c.BuildInfo; b != nil {
		out.Build = &snapshot.BuildRequest{Dockerfile: b.DockerfileContent, Contexts: b.ContextHashes}
	}
	return out
}

func toAPIKey(k auth.Key) api.APIKey {
	return api.APIKey{
		Name: k.Name, Value: k.Masked(), CreatedAt: api.At(k.CreatedAt), Permissions: toPermissions(k.Permissions),
		LastUsedAt: timeOrNull(k.LastUsedAt), ExpiresAt: timeOrNull(k.ExpiresAt),
		UserID: k.UserID, OrganizationID: k.OrgID,
	}
}

func toPermissions(ps []auth.Permission) []api.Permission {
	out := make([]api.Permission, len(ps))
	for i, p := range ps {
		out[i] = api.Permission(p)
	}
	return out
}

func fromPermissions(ps []api.Permission) []auth.Permission {
	out := make([]auth.Permission, len(ps))
	for i, p := range ps {
		out[i] = auth.Permission(p)
	}
	return out
}

// organizationFor is an organization in the dialect of the client that asks.
func organizationFor(c client, o org.Organization, now time.Time) any {
	full := toOrganization(o, now)
	if c.strict {
		return full.DocsEraOrganization
	}
	return full
}

func toOrganization(o org.Organization, now time.Time) api.Organization {
	out := api.Organization{
		DocsEraOrganization: api.DocsEraOrganization{
			ID: o.ID, Name: o.Name, CreatedBy: o.CreatedBy, Personal: o.Personal,
			CreatedAt: api.At(o.CreatedAt), UpdatedAt: api.At(o.UpdatedAt), Suspended: o.Suspended(now),
			SuspensionCleanupGracePeriodHours: o.SuspensionGraceHours,
			TotalCPUQuota:                     float64(o.Quota.TotalCPU), TotalMemoryQuota: float64(o.Quota.TotalMemoryGiB),
			TotalDiskQuota: float64(o.Quota.TotalDiskGiB), MaxCPUPerSandbox: float64(o.Quota.MaxCPU),
			MaxMemoryPerSandbox: float64(o.Quota.MaxMemoryGiB), MaxDiskPerSandbox: float64(o.Quota.MaxDiskGiB),
		},
		SnapshotDeactivationTimeoutMinutes: o.SnapshotDeactivationMinutes,
		SandboxLimitedNetworkEgress:        o.LimitedNetworkEgress,
		DefaultRegionID:                    o.DefaultRegionID,
		AuthenticatedRateLimit:             o.Rates.Authenticated.Limit, AuthenticatedRateLimitTTLSeconds: o.Rates.Authenticated.Seconds,
		SandboxCreateRateLimit: o.Rates.SandboxCreate.Limit, SandboxCreateRateLimitTTLSeconds: o.Rates.SandboxCreate.Seconds,
		SandboxLifecycleRateLimit: o.Rates.SandboxLifecycle.Limit, SandboxLifecycleRateLimitTTLSeconds: o.Rates.SandboxLifecycle.Seconds,
	}
	if s := o.Suspension; s != nil && out.Suspended {
		out.SuspendedAt, out.SuspendedUntil, out.SuspensionReason = api.AtOrNull(s.At), timeOrNull(s.Until), orNull(s.Reason)
	}
	return out
}

func toUser(u auth.User) api.User {
	return api.User{
		ID: u.ID, Name: u.Name, Email: u.Email, EmailVerified: u.EmailVerified,
		PublicKeys: []api.UserPublicKey{}, CreatedAt: api.At(u.CreatedAt),
	}
}

func (a *API) toRegion(r fleet.Region) api.Region {
	proxy := a.origin()
	return api.Region{
		ID: r.ID, Name: r.Name, OrganizationID: orNull(r.OrgID), RegionType: api.RegionType(r.Type),
		CreatedAt: api.At(r.CreatedAt), UpdatedAt: api.At(r.UpdatedAt), ProxyURL: &proxy,
	}
}

func legacyClass(class string) api.LegacyClass {
	switch c := api.LegacyClass(class); c {
	case api.ClassSmall, api.ClassMedium, api.ClassLarge:
		return c
	}
	return api.ClassSmall // old Python clients fail on any other word
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func timeOrNull(t *time.Time) *api.Time {
	if t == nil {
		return nil
	}
	return api.AtOrNull(*t)
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
