package storage

import (
	"context"
	"strings"
	"time"

	"daytona/controlplane/image"
	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

const snapshotColumns = `id, org_id, general, name, image_name, state, size_bytes, entrypoint, cpu, gpu, memory_gib, disk_gib,
	error_reason, progress, source_sandbox_id, created_at, updated_at, last_used_at, image, isolation, build_info, digest`

func scanSnapshot(r scanner) (s snapshot.Snapshot, err error) {
	err = r.Scan(&s.ID, &s.OrgID, &s.General, &s.Name, &s.ImageName, &s.State, &s.SizeBytes, jsonTo{&s.Entrypoint},
		&s.CPU, &s.GPU, &s.MemoryGiB, &s.DiskGiB, textPtrTo{&s.ErrorReason}, &s.Progress, &s.SourceSandbox,
		timeTo{&s.CreatedAt}, timeTo{&s.UpdatedAt}, timePtrTo{&s.LastUsedAt},
		&s.Image, &s.Isolation, jsonTo{&s.Build}, &s.Digest)
	return s, err
}

func entrypointValue(s snapshot.Snapshot) any {
	if s.Entrypoint == nil {
		return nil
	}
	return text(s.Entrypoint)
}

// EnsureSnapshot implements snapshot.Store.
func (db *DB) EnsureSnapshot(ctx context.Context, s snapshot.Snapshot) (out snapshot.Snapshot, err error) {
	err = db.tx(ctx, func(c conn) error {
		if _, err := insertSnapshot(ctx, c, s); err != nil {
			return err
		}
		out, err = find(ctx, db, c, scanSnapshot, `SELECT `+snapshotColumns+` FROM snapshots WHERE org_id = ? AND name = ?`, s.OrgID, s.Name)
		return err
	})
	return out, err
}

// insertSnapshot returns how many rows it made: none when the name is taken.
func insertSnapshot(ctx context.Context, c conn, s snapshot.Snapshot) (int64, error) {
	var build any
	if s.Build != nil {
		build = text(s.Build)
	}
	return c.exec(ctx, `INSERT INTO snapshots (`+snapshotColumns+`) VALUES (`+marks(22)+`) ON CONFLICT (org_id, name) DO NOTHING`,
		s.ID, s.OrgID, s.General, s.Name, s.ImageName, s.State, s.SizeBytes, entrypointValue(s),
		s.CPU, s.GPU, s.MemoryGiB, s.DiskGiB, s.ErrorReason, s.Progress, s.SourceSandbox,
		millis(s.CreatedAt), millis(s.UpdatedAt), millisPtr(s.LastUsedAt), s.Image, s.Isolation, build, s.Digest)
}

// MoveSnapshot implements snapshot.Store.
func (db *DB) MoveSnapshot(ctx context.Context, s snapshot.Snapshot, from snapshot.State) error {
	return db.fault(moveSnapshot(ctx, db.writer(), s, from))
}

func moveSnapshot(ctx context.Context, c conn, s snapshot.Snapshot, from snapshot.State) error {
	n, err := c.exec(ctx, `UPDATE snapshots SET state = ?, size_bytes = ?, entrypoint = ?, isolation = ?, digest = ?, error_reason = ?, progress = ?, updated_at = ?
		WHERE id = ? AND state = ?`,
		s.State, s.SizeBytes, entrypointValue(s), s.Isolation, s.Digest, s.ErrorReason, s.Progress, millis(s.UpdatedAt), s.ID, from)
	if err == nil && n == 0 {
		return fault.New(fault.Conflict, "Snapshot %s is no longer %s", s.Name, from)
	}
	return err
}

// TouchSnapshot implements snapshot.Store.
func (db *DB) TouchSnapshot(ctx context.Context, id string, at time.Time) error {
	_, err := db.writer().exec(ctx, `UPDATE snapshots SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)`,
		millis(at), id, millis(at))
	return db.fault(err)
}

// FindSnapshot implements snapshot.Store.
func (db *DB) FindSnapshot(ctx context.Context, orgID, idOrName string) (snapshot.Snapshot, error) {
	return find(ctx, db, db.reader(), scanSnapshot, `SELECT `+snapshotColumns+` FROM snapshots
		WHERE (org_id = ? OR general) AND (id = ? OR name = ?)
		ORDER BY CASE WHEN org_id = ? THEN 0 ELSE 1 END, CASE WHEN state = 'active' THEN 0 ELSE 1 END, created_at, id LIMIT 1`,
		orgID, idOrName, idOrName, orgID)
}

// GeneralSnapshots implements snapshot.Store.
func (db *DB) GeneralSnapshots(ctx context.Context) ([]snapshot.Snapshot, error) {
	return list(ctx, db, db.reader(), scanSnapshot, `SELECT `+snapshotColumns+` FROM snapshots WHERE general ORDER BY created_at, id`)
}

// ListSnapshots implements snapshot.Store.
func (db *DB) ListSnapshots(ctx context.Context, orgID string, f snapshot.Filter) (p snapshot.Page, err error) {
	where, args := `(org_id = ? OR general)`, []any{orgID}
	if f.Name != "" {
		where += ` AND lower(name) LIKE ? ESCAPE '\'`
		args = append(args, "%"+likeEscape(strings.ToLower(f.Name))+"%")
	}
	if f.SourceSandbox != "" {
		where += ` AND source_sandbox_id = ?`
		args = append(args, f.SourceSandbox)
	}
	c := db.reader()
	if err := c.row(ctx, `SELECT COUNT(*) FROM snapshots WHERE `+where, args...).Scan(&p.Total); err != nil {
		return p, db.fault(err)
	}
	q := `SELECT ` + snapshotColumns + ` FROM snapshots WHERE ` + where + ` ORDER BY ` + snapshotOrder(f, c.pg)
	if f.Limit > 0 {
		q += ` LIMIT ? OFFSET ?`
		args = append(args, f.Limit, max(f.Page-1, 0)*f.Limit)
	}
	p.Items, err = list(ctx, db, c, scanSnapshot, q, args...)
	return p, err
}

func snapshotOrder(f snapshot.Filter, pg bool) string {
	dir := " DESC"
	if f.Ascending {
		dir = " ASC"
	}
	byName := "name"
	if pg {
		byName = `name COLLATE "C"` // as SQLite sorts
	}
	switch f.Sort {
	case snapshot.ByName:
		return byName + dir + ", id"
	case snapshot.ByState:
		return "state" + dir + ", " + byName + ", id"
	case snapshot.ByCreatedAt:
		return "created_at" + dir + ", id"
	case snapshot.ByLastUsedAt:
		return "CASE WHEN last_used_at IS NULL THEN 1 ELSE 0 END, last_used_at" + dir + ", created_at DESC, id"
	}
	return "CASE WHEN general THEN 1 ELSE 0 END, CASE WHEN last_used_at IS NULL THEN 1 ELSE 0 END, last_used_at DESC, created_at DESC, id"
}

// likeEscape makes s match itself in LIKE … ESCAPE '\'.
func likeEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// CreateSnapshot implements snapshot.Store.
func (db *DB) CreateSnapshot(ctx context.Context, s snapshot.Snapshot, i image.Image, admit snapshot.Admit, settle func(snapshot.Snapshot, image.Image) snapshot.Snapshot) (out snapshot.Snapshot, err error) {
	err = db.tx(ctx, func(c conn) error {
		if err := admitSnapshot(ctx, db, c, s.OrgID, admit); err != nil {
			return err
		}
		made, err := declareImage(ctx, db, c, i)
		if err != nil {
			return err
		}
		out = settle(s, made)
		n, err := insertSnapshot(ctx, c, out)
		if err == nil && n == 0 {
			err = fault.New(fault.Conflict, "Snapshot with name %s already exists. Choose another name, or delete that one first", s.Name)
		}
		return err
	})
	return out, err
}

// ActivateSnapshot implements snapshot.Store.
func (db *DB) ActivateSnapshot(ctx context.Context, s snapshot.Snapshot, i image.Image, admit snapshot.Admit, settle func(snapshot.Snapshot, image.Image) snapshot.Snapshot) (out snapshot.Snapshot, err error) {
	err = db.tx(ctx, func(c conn) error {
		if err := admitSnapshot(ctx, db, c, s.OrgID, admit); err != nil {
			return err
		}
		made, err := declareImage(ctx, db, c, i)
		if err != nil {
			return err
		}
		out = settle(s, made)
		return moveSnapshot(ctx, c, out, snapshot.Inactive)
	})
	return out, err
}

func admitSnapshot(ctx context.Context, db *DB, c conn, orgID string, admit snapshot.Admit) error {
	o, err := lockOrg(ctx, db, c, orgID)
	if err != nil {
		return err
	}
	used, err := countUsage(ctx, db, c, orgID)
	if err != nil {
		return err
	}
	return admit(o, used)
}

// DeleteSnapshot implements snapshot.Store.
func (db *DB) DeleteSnapshot(ctx context.Context, id string) error {
	return db.change(ctx, `DELETE FROM snapshots WHERE id = ?`, id)
}

// SetGeneral implements snapshot.Store.
func (db *DB) SetGeneral(ctx context.Context, id string, general bool, at time.Time) (snapshot.Snapshot, error) {
	return find(ctx, db, db.writer(), scanSnapshot, `UPDATE snapshots SET general = ?, updated_at = ? WHERE id = ? RETURNING `+snapshotColumns,
		general, millis(at), id)
}

// Snapshot implements snapshot.Store.
func (db *DB) Snapshot(ctx context.Context, id string) (snapshot.Snapshot, error) {
	return find(ctx, db, db.reader(), scanSnapshot, `SELECT `+snapshotColumns+` FROM snapshots WHERE id = ?`, id)
}

// SnapshotsIn implements snapshot.Store.
func (db *DB) SnapshotsIn(ctx context.Context, states ...snapshot.State) ([]snapshot.Snapshot, error) {
	return list(ctx, db, db.reader(), scanSnapshot, `SELECT `+snapshotColumns+` FROM snapshots
		WHERE state IN (`+marks(len(states))+`) ORDER BY created_at, id`, anys(states)...)
}

// DeactivateUnused implements snapshot.Store.
func (db *DB) DeactivateUnused(ctx context.Context, now time.Time) (int, error) {
	n, err := db.writer().exec(ctx, `UPDATE snapshots SET state = ?, updated_at = ? WHERE state = ? AND NOT general
		AND COALESCE(CASE WHEN last_used_at > updated_at THEN last_used_at END, updated_at) <
			(SELECT CASE WHEN o.snapshot_deactivation_minutes > 0 THEN ? - o.snapshot_deactivation_minutes * 60000 ELSE 0 END
			FROM organizations o WHERE o.id = snapshots.org_id)`,
		snapshot.Inactive, millis(now), snapshot.Active, millis(now))
	return int(n), db.fault(err)
}

// DeactivateSnapshots implements snapshot.Store.
func (db *DB) DeactivateSnapshots(ctx context.Context, orgID string, now time.Time) (int, error) {
	n, err := db.writer().exec(ctx, `UPDATE snapshots SET state = ?, updated_at = ? WHERE org_id = ? AND state = ? AND NOT general`,
		snapshot.Inactive, millis(now), orgID, snapshot.Active)
	return int(n), db.fault(err)
}
