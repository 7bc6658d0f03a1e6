package storage

import (
	"context"
	"slices"
	"time"

	"daytona/controlplane/warmpool"
	"daytona/internal/fault"
)

const warmPoolColumns = `id, org_id, snapshot_id, target, size, cpu, memory_gib, disk_gib, created_at, updated_at`

func scanWarmPool(r scanner) (p warmpool.Pool, err error) {
	err = r.Scan(&p.ID, &p.OrgID, &p.SnapshotID, &p.Target, &p.Size, &p.CPU, &p.MemoryGiB, &p.DiskGiB, timeTo{&p.CreatedAt}, timeTo{&p.UpdatedAt})
	return p, err
}

// CreateWarmPool implements warmpool.Store.
func (db *DB) CreateWarmPool(ctx context.Context, p warmpool.Pool, admit warmpool.Admit) error {
	return db.tx(ctx, func(c conn) error {
		if err := db.admitWarmPool(ctx, c, p, admit); err != nil {
			return err
		}
		_, err := c.exec(ctx, `INSERT INTO warm_pools (`+warmPoolColumns+`) VALUES (`+marks(10)+`)`,
			p.ID, p.OrgID, p.SnapshotID, p.Target, p.Size, p.CPU, p.MemoryGiB, p.DiskGiB, millis(p.CreatedAt), millis(p.UpdatedAt))
		return err
	})
}

// ResizeWarmPool implements warmpool.Store.
func (db *DB) ResizeWarmPool(ctx context.Context, orgID, id string, size int, now time.Time, admit warmpool.Admit) (p warmpool.Pool, err error) {
	err = db.tx(ctx, func(c conn) error {
		if _, err := lockOrg(ctx, db, c, orgID); err != nil {
			return err
		}
		p, err = find(ctx, db, c, scanWarmPool, `SELECT `+warmPoolColumns+` FROM warm_pools WHERE id = ? AND org_id = ?`, id, orgID)
		if err != nil {
			return err
		}
		p.Size, p.UpdatedAt = size, now
		if err := db.admitWarmPool(ctx, c, p, admit); err != nil {
			return err
		}
		_, err = c.exec(ctx, `UPDATE warm_pools SET size = ?, updated_at = ? WHERE id = ?`, size, millis(now), id)
		return err
	})
	return p, err
}

// admitWarmPool asks whether an organization may have p in place of the one with
// its id. The organization stays locked, so that two at once count each other.
func (db *DB) admitWarmPool(ctx context.Context, c conn, p warmpool.Pool, admit warmpool.Admit) error {
	o, err := lockOrg(ctx, db, c, p.OrgID)
	if err != nil {
		return err
	}
	region, err := regionQuota(ctx, db, c, p.OrgID, p.Target)
	if err != nil {
		return err
	}
	pools, err := list(ctx, db, c, scanWarmPool, `SELECT `+warmPoolColumns+` FROM warm_pools WHERE org_id = ? AND target = ? AND id <> ?`, p.OrgID, p.Target, p.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(pools, func(other warmpool.Pool) bool { return other.SnapshotID == p.SnapshotID }) {
		return fault.New(fault.Conflict, "There is a warm pool of this snapshot in region %s already. Change its size instead", p.Target)
	}
	return admit(o.Quota.In(region), append(pools, p))
}

// DeleteWarmPool implements warmpool.Store.
func (db *DB) DeleteWarmPool(ctx context.Context, orgID, id string) error {
	return db.change(ctx, `DELETE FROM warm_pools WHERE id = ? AND org_id = ?`, id, orgID)
}

// WarmPools implements warmpool.Store.
func (db *DB) WarmPools(ctx context.Context, orgID string) ([]warmpool.Pool, error) {
	return list(ctx, db, db.reader(), scanWarmPool, `SELECT `+warmPoolColumns+` FROM warm_pools WHERE (? = '' OR org_id = ?) ORDER BY created_at, id`, orgID, orgID)
}
