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
	o.limited_network_egress, o.created_at, o.updated_at`

func scanOrg(r scanner) (o org.Organization, err error) {
	var at, until *time.Time
	var reason string
	q := &o.Quota
	err = r.Scan(&o.ID, &o.Name, &o.CreatedBy, &o.Personal, &o.DefaultRegionID, &q.TotalCPU, &q.TotalMemoryGiB, &q.TotalDiskGiB,
		&q.MaxCPU, &q.MaxMemoryGiB, &q.MaxDiskGiB, &q.Snapshots, &q.MaxSnapshotSizeGB, &q.Volumes,
		timePtrTo{&at}, &reason, timePtrTo{&until}, &o.SnapshotDeactivationMinutes, &o.SuspensionGraceHours,
		&o.LimitedNetworkEgress, timeTo{&o.CreatedAt}, timeTo{&o.UpdatedAt})
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

// SetOrganizationQuota implements org.Store.
func (db *DB) SetOrganizationQuota(ctx context.Context, id string, q org.Quota, now time.Time) error {
	return db.change(ctx, `UPDATE organizations SET total_cpu = ?, total_memory_gib = ?, total_disk_gib = ?, max_cpu = ?,
		max_memory_gib = ?, max_disk_gib = ?, snapshot_quota = ?, max_snapshot_size_gb = ?, volume_quota = ?, updated_at = ? WHERE id = ?`,
		q.TotalCPU, q.TotalMemoryGiB, q.TotalDiskGiB, q.MaxCPU, q.MaxMemoryGiB, q.MaxDiskGiB,
		q.Snapshots, q.MaxSnapshotSizeGB, q.Volumes, millis(now), id)
}

// SetSuspension implements org.Store; nil lifts it.
func (db *DB) SetSuspension(ctx context.Context, id string, s *org.Suspension, now time.Time) error {
	var at, until any
	reason := ""
	if s != nil {
		at, until, reason = millis(s.At), millisPtr(s.Until), s.Reason
	}
	return db.change(ctx, `UPDATE organizations SET suspended_at = ?, suspension_reason = ?, suspended_until = ?, updated_at = ? WHERE id = ?`,
		at, reason, until, millis(now), id)
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
func (db *DB) OrganizationUsage(ctx context.Context, orgID string) (org.Usage, error) {
	return usage(ctx, db, db.reader(), orgID, "")
}

// usage sums up what an organization uses, leaving one sandbox out.
func usage(ctx context.Context, db *DB, c conn, orgID, without string) (u org.Usage, err error) {
	compute, disk := sandbox.ComputeStates(), sandbox.DiskStates()
	args := append(anys(compute), anys(compute)...)
	args = append(append(args, orgID, without), anys(disk)...)
	in := marks(len(compute))
	err = c.row(ctx, `SELECT COALESCE(SUM(CASE WHEN state IN (`+in+`) THEN cpu ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN state IN (`+in+`) THEN memory_gib ELSE 0 END), 0), COALESCE(SUM(disk_gib), 0)
		FROM sandboxes WHERE org_id = ? AND id <> ? AND state IN (`+marks(len(disk))+`)`, args...).
		Scan(&u.CPU, &u.MemoryGiB, &u.DiskGiB)
	if err != nil {
		return u, db.fault(err)
	}
	err = c.row(ctx, `SELECT COUNT(*) FROM snapshots WHERE org_id = ?
		AND state NOT IN ('error', 'build_failed', 'inactive', 'removing')`, orgID).Scan(&u.Snapshots)
	return u, db.fault(err)
}

func anys[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}
