package storage

import (
	"context"
	"time"

	"daytona/controlplane/grant"
)

const tokenColumns = `id, hash, kind, sandbox_id, port, created_at, expires_at, revoked`

func scanToken(r scanner) (t grant.Token, err error) {
	err = r.Scan(&t.ID, &t.Hash, &t.Kind, &t.SandboxID, &t.Port, timeTo{&t.CreatedAt}, timeTo{&t.ExpiresAt}, &t.Revoked)
	return t, err
}

// PutToken implements grant.Store.
func (db *DB) PutToken(ctx context.Context, t grant.Token, alone bool) error {
	return db.tx(ctx, func(c conn) error {
		if alone {
			if _, err := c.exec(ctx, `UPDATE grants SET expires_at = ? WHERE sandbox_id = ? AND kind = ? AND expires_at > ?`,
				millis(t.CreatedAt), t.SandboxID, t.Kind, millis(t.CreatedAt)); err != nil {
				return err
			}
		}
		_, err := c.exec(ctx, `INSERT INTO grants (`+tokenColumns+`) VALUES (`+marks(8)+`)`,
			t.ID, t.Hash, t.Kind, t.SandboxID, t.Port, millis(t.CreatedAt), millis(t.ExpiresAt), t.Revoked)
		return err
	})
}

// Token implements grant.Store.
func (db *DB) Token(ctx context.Context, hash string) (grant.Token, error) {
	return find(ctx, db, db.reader(), scanToken, `SELECT `+tokenColumns+` FROM grants WHERE hash = ?`, hash)
}

// Tokens implements grant.Store.
func (db *DB) Tokens(ctx context.Context, sandboxID string, kind grant.Kind) ([]grant.Token, error) {
	return list(ctx, db, db.reader(), scanToken, `SELECT `+tokenColumns+` FROM grants
		WHERE sandbox_id = ? AND kind = ? ORDER BY created_at DESC, id`, sandboxID, kind)
}

// RevokeTokens implements grant.Store.
func (db *DB) RevokeTokens(ctx context.Context, sandboxID string, kind grant.Kind, hash string) (int, error) {
	n, err := db.writer().exec(ctx, `UPDATE grants SET revoked = ? WHERE sandbox_id = ? AND kind = ? AND (? = '' OR hash = ?) AND revoked = ?`,
		true, sandboxID, kind, hash, hash, false)
	return int(n), db.fault(err)
}

// PurgeTokens implements grant.Store.
func (db *DB) PurgeTokens(ctx context.Context, kind grant.Kind, before time.Time) (int, error) {
	n, err := db.writer().exec(ctx, `DELETE FROM grants WHERE kind = ? AND expires_at < ?`, kind, millis(before))
	return int(n), db.fault(err)
}

// ServerKey implements grant.Store. Of servers that start at once the first one
// wins, and all get its value.
func (db *DB) ServerKey(ctx context.Context, name, fresh string) (value string, err error) {
	err = db.tx(ctx, func(c conn) error {
		if _, err := c.exec(ctx, `INSERT INTO server_keys (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, name, fresh); err != nil {
			return err
		}
		return c.row(ctx, `SELECT value FROM server_keys WHERE name = ?`, name).Scan(&value)
	})
	return value, err
}
