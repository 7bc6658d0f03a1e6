package storage

import (
	"context"

	"daytona/controlplane/fleet"
)

const regionColumns = `id, name, org_id, type, created_at, updated_at`

func scanRegion(r scanner) (v fleet.Region, err error) {
	err = r.Scan(&v.ID, &v.Name, &v.OrgID, &v.Type, timeTo{&v.CreatedAt}, timeTo{&v.UpdatedAt})
	return v, err
}

// EnsureRegion implements fleet.Store.
func (db *DB) EnsureRegion(ctx context.Context, r fleet.Region) error {
	_, err := db.writer().exec(ctx, `INSERT INTO regions (`+regionColumns+`) VALUES (`+marks(6)+`)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, updated_at = excluded.updated_at WHERE regions.name <> excluded.name`,
		r.ID, r.Name, r.OrgID, r.Type, millis(r.CreatedAt), millis(r.UpdatedAt))
	return db.fault(err)
}

// Regions implements fleet.Store.
func (db *DB) Regions(ctx context.Context, orgID string) ([]fleet.Region, error) {
	return list(ctx, db, db.reader(), scanRegion, `SELECT `+regionColumns+` FROM regions
		WHERE org_id = '' OR org_id = ? ORDER BY created_at, id`, orgID)
}
