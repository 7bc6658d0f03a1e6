package storage

import (
	"context"

	"daytona/controlplane/registry"
	"daytona/internal/fault"
)

const registryColumns = `id, org_id, name, url, username, secret, project, type, is_default, created_at, updated_at`

func scanRegistry(r scanner) (g registry.Registry, err error) {
	err = r.Scan(&g.ID, &g.OrgID, &g.Name, &g.URL, &g.Username, &g.Secret, &g.Project, &g.Type, &g.Default, timeTo{&g.CreatedAt}, timeTo{&g.UpdatedAt})
	return g, err
}

// CreateRegistry implements registry.Store.
func (db *DB) CreateRegistry(ctx context.Context, g registry.Registry, most int) error {
	return db.tx(ctx, func(c conn) error {
		if g.OrgID != "" { // so that two at once count each other
			if _, err := lockOrg(ctx, db, c, g.OrgID); err != nil {
				return err
			}
		}
		n := 0
		if err := c.row(ctx, `SELECT COUNT(*) FROM registries WHERE org_id = ?`, g.OrgID).Scan(&n); err != nil {
			return err
		}
		if n >= most {
			return fault.New(fault.Forbidden, "An organization can have at most %d registries. Delete one first", most)
		}
		if g.Default {
			if err := dethrone(ctx, c, g); err != nil {
				return err
			}
		}
		_, err := c.exec(ctx, `INSERT INTO registries (`+registryColumns+`) VALUES (`+marks(11)+`)`,
			g.ID, g.OrgID, g.Name, g.URL, g.Username, g.Secret, g.Project, g.Type, g.Default, millis(g.CreatedAt), millis(g.UpdatedAt))
		return err
	})
}

// dethrone takes the place of default from the registries beside g.
func dethrone(ctx context.Context, c conn, g registry.Registry) error {
	_, err := c.exec(ctx, `UPDATE registries SET is_default = ? WHERE org_id = ? AND type = ? AND id <> ?`, false, g.OrgID, g.Type, g.ID)
	return err
}

// Registry implements registry.Store.
func (db *DB) Registry(ctx context.Context, id string) (registry.Registry, error) {
	return find(ctx, db, db.reader(), scanRegistry, `SELECT `+registryColumns+` FROM registries WHERE id = ?`, id)
}

// Registries implements registry.Store.
func (db *DB) Registries(ctx context.Context, orgID string) ([]registry.Registry, error) {
	return list(ctx, db, db.reader(), scanRegistry, `SELECT `+registryColumns+` FROM registries WHERE org_id = ? ORDER BY created_at DESC, id`, orgID)
}

// AllRegistries implements registry.Store.
func (db *DB) AllRegistries(ctx context.Context) ([]registry.Registry, error) {
	return list(ctx, db, db.reader(), scanRegistry, `SELECT `+registryColumns+` FROM registries ORDER BY created_at, id`)
}

// UpdateRegistry implements registry.Store.
func (db *DB) UpdateRegistry(ctx context.Context, g registry.Registry) error {
	return db.change(ctx, `UPDATE registries SET name = ?, url = ?, username = ?, secret = ?, project = ?, updated_at = ? WHERE id = ?`,
		g.Name, g.URL, g.Username, g.Secret, g.Project, millis(g.UpdatedAt), g.ID)
}

// Reseal implements registry.Store.
func (db *DB) Reseal(ctx context.Context, id, from, to string) error {
	_, err := db.writer().exec(ctx, `UPDATE registries SET secret = ? WHERE id = ? AND secret = ?`, to, id, from)
	return db.fault(err)
}

// DeleteRegistry implements registry.Store.
func (db *DB) DeleteRegistry(ctx context.Context, id string) error {
	_, err := db.writer().exec(ctx, `DELETE FROM registries WHERE id = ?`, id)
	return db.fault(err)
}

// SetDefaultRegistry implements registry.Store.
func (db *DB) SetDefaultRegistry(ctx context.Context, g registry.Registry) error {
	return db.tx(ctx, func(c conn) error {
		if err := dethrone(ctx, c, g); err != nil {
			return err
		}
		n, err := c.exec(ctx, `UPDATE registries SET is_default = ?, updated_at = ? WHERE id = ?`, true, millis(g.UpdatedAt), g.ID)
		if err == nil && n == 0 {
			err = fault.New(fault.NotFound, "Not found")
		}
		return err
	})
}
