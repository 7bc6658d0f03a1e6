package storage

import (
	"context"
	"time"

	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

const orgColumns = `o.id, o.name, o.created_by, o.personal, o.default_region_id, o.total_cpu, o.total_memory_gib, o.total_disk_gib,
	o.max_cpu, o.max_memory_gib, o.max_disk_gib, o.snapshot_quota, o.max_snapshot_size_gb, o.volume_quota,
	o.suspended_at, o.suspension_reason, o.suspended_until, o.snapshot_deactivation_minutes, o.suspension_grace_hours,
	o.limited_network_egress, o.created_at, o.updated_at, o.rate_authenticated, o.rate_authenticated_seconds,
	o.rate_create, o.rate_create_seconds, o.rate_lifecycle, o.rate_lifecycle_seconds`

func scanOrg(r scanner) (o org.Organization, err error) {
	var at, until *time.Time
	var reason string
	q, rates := &o.Quota, &o.Rates
	err = r.Scan(&o.ID, &o.Name, &o.CreatedBy, &o.Personal, &o.DefaultRegionID, &q.TotalCPU, &q.TotalMemoryGiB, &q.TotalDiskGiB,
		&q.MaxCPU, &q.MaxMemoryGiB, &q.MaxDiskGiB, &q.Snapshots, &q.MaxSnapshotSizeGB, &q.Volumes,
		timePtrTo{&at}, &reason, timePtrTo{&until}, &o.SnapshotDeactivationMinutes, &o.SuspensionGraceHours,
		&o.LimitedNetworkEgress, timeTo{&o.CreatedAt}, timeTo{&o.UpdatedAt}, &rates.Authenticated.Limit, &rates.Authenticated.Seconds,
		&rates.SandboxCreate.Limit, &rates.SandboxCreate.Seconds, &rates.SandboxLifecycle.Limit, &rates.SandboxLifecycle.Seconds)
	if at != nil {
		o.Suspension = &org.Suspension{At: *at, Reason: reason, Until: until}
	}
	return o, err
}

func insertOrg(ctx context.Context, c conn, o org.Organization, owner org.Membership) error {
	var at, until any
	reason := ""
	if s := o.Suspension; s != nil {
		at, until, reason = millis(s.At), millisPtr(s.Until), s.Reason
	}
	q := o.Quota
	if _, err := c.exec(ctx, `INSERT INTO organizations (id, name, created_by, personal, default_region_id,
		total_cpu, total_memory_gib, total_disk_gib, max_cpu, max_memory_gib, max_disk_gib, snapshot_quota,
		max_snapshot_size_gb, volume_quota, suspended_at, suspension_reason, suspended_until,
		snapshot_deactivation_minutes, suspension_grace_hours, limited_network_egress, created_at, updated_at)
		VALUES (`+marks(22)+`)`,
		o.ID, o.Name, o.CreatedBy, o.Personal, o.DefaultRegionID,
		q.TotalCPU, q.TotalMemoryGiB, q.TotalDiskGiB, q.MaxCPU, q.MaxMemoryGiB, q.MaxDiskGiB, q.Snapshots,
		q.MaxSnapshotSizeGB, q.Volumes, at, reason, until,
		o.SnapshotDeactivationMinutes, o.SuspensionGraceHours, o.LimitedNetworkEgress, millis(o.CreatedAt), millis(o.UpdatedAt)); err != nil {
		return err
	}
	roles := append([]string{}, owner.AssignedRoleIDs...) // never null in JSON
	_, err := c.exec(ctx, `INSERT INTO members (org_id, user_id, role, role_ids, created_at, updated_at) VALUES (`+marks(6)+`)`,
		owner.OrgID, owner.UserID, owner.Role, text(roles), millis(owner.CreatedAt), millis(owner.UpdatedAt))
	return err
}

// CreateOrganization implements org.Store.
func (db *DB) CreateOrganization(ctx context.Context, o org.Organization, owner org.Membership) error {
	return db.tx(ctx, func(c conn) error { return insertOrg(ctx, c, o, owner) })
}

// Organization implements org.Store.
func (db *DB) Organization(ctx context.Context, id string) (org.Organization, error) {
	return find(ctx, db, db.reader(), scanOrg, `SELECT `+orgColumns+` FROM organizations o WHERE o.id = ?`, id)
}

// OrganizationsOf implements org.Store.
func (db *DB) OrganizationsOf(ctx context.Context, userID string) ([]org.Organization, error) {
	return list(ctx, db, db.reader(), scanOrg, `SELECT `+orgColumns+` FROM organizations o
		JOIN members m ON m.org_id = o.id WHERE m.user_id = ? ORDER BY o.created_at, o.id`, userID)
}

// PersonalOrganization implements auth.Store.
func (db *DB) PersonalOrganization(ctx context.Context, userID string) (org.Organization, error) {
	return find(ctx, db, db.reader(), scanOrg, `SELECT `+orgColumns+` FROM organizations o WHERE o.created_by = ? AND o.personal`, userID)
}

// Organizations implements org.Store.
func (db *DB) Organizations(ctx context.Context) ([]org.Organization, error) {
	return list(ctx, db, db.reader(), scanOrg, `SELECT `+orgColumns+` FROM organizations o ORDER BY o.created_at, o.id`)
}

// ChangeOrganization implements org.Store.
func (db *DB) ChangeOrganization(ctx context.Context, id string, now time.Time, change func(*org.Organization)) (o org.Organization, err error) {
	err = db.tx(ctx, func(c conn) error {
		if o, err = lockOrg(ctx, db, c, id); err != nil {
			return err
		}
		change(&o)
		o.UpdatedAt = now
		q, r := o.Quota, o.Rates
		_, err = c.exec(ctx, `UPDATE organizations SET total_cpu = ?, total_memory_gib = ?, total_disk_gib = ?, max_cpu = ?,
			max_memory_gib = ?, max_disk_gib = ?, snapshot_quota = ?, max_snapshot_size_gb = ?, volume_quota = ?,
			snapshot_deactivation_minutes = ?, rate_authenticated = ?, rate_authenticated_seconds = ?,
			rate_create = ?, rate_create_seconds = ?, rate_lifecycle = ?, rate_lifecycle_seconds = ?, updated_at = ? WHERE id = ?`,
			q.TotalCPU, q.TotalMemoryGiB, q.TotalDiskGiB, q.MaxCPU, q.MaxMemoryGiB, q.MaxDiskGiB,
			q.Snapshots, q.MaxSnapshotSizeGB, q.Volumes, o.SnapshotDeactivationMinutes,
			r.Authenticated.Limit, r.Authenticated.Seconds, r.SandboxCreate.Limit, r.SandboxCreate.Seconds,
			r.SandboxLifecycle.Limit, r.SandboxLifecycle.Seconds, millis(now), id)
		return err
	})
	return o, err
}

const regionQuotaColumns = `org_id, region_id, total_cpu, total_memory_gib, total_disk_gib, max_cpu, max_memory_gib, max_disk_gib`

func scanRegionQuota(r scanner) (q org.RegionQuota, err error) {
	var orgID string
	err = r.Scan(&orgID, &q.RegionID, &q.TotalCPU, &q.TotalMemoryGiB, &q.TotalDiskGiB, &q.MaxCPU, &q.MaxMemoryGiB, &q.MaxDiskGiB)
	return q, err
}

// ChangeRegionQuota implements org.Store.
func (db *DB) ChangeRegionQuota(ctx context.Context, orgID, regionID string, change func(*org.RegionQuota)) error {
	return db.tx(ctx, func(c conn) error {
		if _, err := lockOrg(ctx, db, c, orgID); err != nil {
			return err
		}
		q, err := regionQuota(ctx, db, c, orgID, regionID)
		if err != nil {
			return err
		}
		change(&q)
		_, err = c.exec(ctx, `INSERT INTO region_quotas (`+regionQuotaColumns+`) VALUES (`+marks(8)+`) ON CONFLICT (org_id, region_id) DO UPDATE SET
			total_cpu = excluded.total_cpu, total_memory_gib = excluded.total_memory_gib, total_disk_gib = excluded.total_disk_gib,
			max_cpu = excluded.max_cpu, max_memory_gib = excluded.max_memory_gib, max_disk_gib = excluded.max_disk_gib`,
			orgID, regionID, q.TotalCPU, q.TotalMemoryGiB, q.TotalDiskGiB, q.MaxCPU, q.MaxMemoryGiB, q.MaxDiskGiB)
		return err
	})
}

// regionQuota returns what is stored for a region, or that nothing differs there.
func regionQuota(ctx context.Context, db *DB, c conn, orgID, regionID string) (org.RegionQuota, error) {
	q, err := find(ctx, db, c, scanRegionQuota, `SELECT `+regionQuotaColumns+` FROM region_quotas WHERE org_id = ? AND region_id = ?`, orgID, regionID)
	if fault.Is(err, fault.NotFound) {
		return org.RegionQuota{RegionID: regionID}, nil
	}
	return q, err
}

// RegionQuotas implements org.Store.
func (db *DB) RegionQuotas(ctx context.Context, orgID string) ([]org.RegionQuota, error) {
	return list(ctx, db, db.reader(), scanRegionQuota, `SELECT `+regionQuotaColumns+` FROM region_quotas WHERE org_id = ? ORDER BY region_id`, orgID)
}

// SetSuspension implements org.Store; nil lifts it.
func (db *DB) SetSuspension(ctx context.Context, id string, s *org.Suspension, grace *int, now time.Time) error {
	var at, until any
	reason := ""
	if s != nil {
		at, until, reason = millis(s.At), millisPtr(s.Until), s.Reason
	}
	return db.change(ctx, `UPDATE organizations SET suspended_at = ?, suspension_reason = ?, suspended_until = ?,
		suspension_grace_hours = COALESCE(CAST(? AS BIGINT), suspension_grace_hours), updated_at = ? WHERE id = ?`,
		at, reason, until, grace, millis(now), id)
}

// change runs an UPDATE of one row, which must be there.
func (db *DB) change(ctx context.Context, query string, args ...any) error {
	n, err := db.writer().exec(ctx, query, args...)
	if err == nil && n == 0 {
		err = fault.New(fault.NotFound, "Not found")
	}
	return db.fault(err)
}

const memberColumns = `m.org_id, m.user_id, u.name, u.email, m.role, m.role_ids, m.created_at, m.updated_at`

func scanMember(r scanner) (m org.Membership, err error) {
	err = r.Scan(&m.OrgID, &m.UserID, &m.UserName, &m.UserEmail, &m.Role, jsonTo{&m.AssignedRoleIDs},
		timeTo{&m.CreatedAt}, timeTo{&m.UpdatedAt})
	return m, err
}

// Membership implements org.Store and auth.Store.
func (db *DB) Membership(ctx context.Context, orgID, userID string) (org.Membership, error) {
	return find(ctx, db, db.reader(), scanMember, `SELECT `+memberColumns+` FROM members m
		JOIN users u ON u.id = m.user_id WHERE m.org_id = ? AND m.user_id = ?`, orgID, userID)
}

// Memberships implements org.Store.
func (db *DB) Memberships(ctx context.Context, orgID string) ([]org.Membership, error) {
	return list(ctx, db, db.reader(), scanMember, `SELECT `+memberColumns+` FROM members m
		JOIN users u ON u.id = m.user_id WHERE m.org_id = ? ORDER BY m.created_at, m.user_id`, orgID)
}

// OrganizationUsage implements org.Store.
func (db *DB) OrganizationUsage(ctx context.Context, orgID string) (map[string]org.Usage, error) {
	c, disk := db.reader(), anys(sandbox.DiskStates())
	out, err := sumUsage(ctx, db, c, `org_id = ? AND state IN (`+marks(len(disk))+`)`, append([]any{orgID}, disk...)...)
	if err != nil {
		return nil, err
	}
	out[""], err = countUsage(ctx, db, c, orgID)
	return out, err
}

// regionUsage sums up what an organization uses in a region, leaving one sandbox
// out.
func regionUsage(ctx context.Context, db *DB, c conn, orgID, region, without string) (org.Usage, error) {
	disk := anys(sandbox.DiskStates())
	out, err := sumUsage(ctx, db, c, `org_id = ? AND target = ? AND state IN (`+marks(len(disk))+`) AND id <> ?`,
		append(append([]any{orgID, region}, disk...), without)...)
	return out[region], err
}

// sumUsage adds up the rows that take disk, by region. An index has them in the
// order of the groups, with all that is summed.
func sumUsage(ctx context.Context, db *DB, c conn, where string, args ...any) (map[string]org.Usage, error) {
	type sum struct {
		region string
		state  sandbox.State
		org.Usage
	}
	sums, err := list(ctx, db, c, func(r scanner) (s sum, err error) {
		return s, r.Scan(&s.region, &s.state, &s.CPU, &s.MemoryGiB, &s.DiskGiB)
	}, `SELECT target, state, CAST(SUM(cpu) AS BIGINT), CAST(SUM(memory_gib) AS BIGINT), CAST(SUM(disk_gib) AS BIGINT)
		FROM sandboxes WHERE `+where+` GROUP BY target, state`, args...)
	out := map[string]org.Usage{}
	for _, s := range sums {
		if !s.state.TakesCompute() {
			s.CPU, s.MemoryGiB = 0, 0
		}
		out[s.region] = out[s.region].Plus(s.Usage)
	}
	return out, err
}

// countUsage counts what has no region.
func countUsage(ctx context.Context, db *DB, c conn, orgID string) (org.Usage, error) {
	return find(ctx, db, c, func(r scanner) (u org.Usage, err error) { return u, r.Scan(&u.Snapshots) },
		`SELECT COUNT(*) FROM snapshots WHERE org_id = ? AND state NOT IN ('error', 'build_failed', 'inactive', 'removing')`, orgID)
}

// admitIn asks admit with what counts in the region of sb, leaving one sandbox
// out. o has been locked, so that of two at once the second sees what the first
// took.
func admitIn(ctx context.Context, db *DB, c conn, o org.Organization, sb sandbox.Sandbox, without string, admit sandbox.Admit) error {
	own, err := regionQuota(ctx, db, c, sb.OrgID, sb.Target)
	if err != nil {
		return err
	}
	o.Quota = o.Quota.In(own)
	used, err := regionUsage(ctx, db, c, sb.OrgID, sb.Target, without)
	if err != nil {
		return err
	}
	return admit(o, used)
}

func anys[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}
