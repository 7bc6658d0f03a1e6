package storage

import (
	"context"
	"slices"
	"time"

	"daytona/controlplane/auth"
	"daytona/controlplane/org"
	"daytona/internal/fault"
)

const userColumns = `id, name, email, email_verified, role, created_at`

func scanUser(r scanner) (u auth.User, err error) {
	err = r.Scan(&u.ID, &u.Name, &u.Email, &u.EmailVerified, &u.Role, timeTo{&u.CreatedAt})
	return u, err
}

// insertUser reports whether the user is new.
func insertUser(ctx context.Context, c conn, u auth.User) (bool, error) {
	n, err := c.exec(ctx, `INSERT INTO users (`+userColumns+`) VALUES (`+marks(6)+`) ON CONFLICT (id) DO NOTHING`,
		u.ID, u.Name, u.Email, u.EmailVerified, u.Role, millis(u.CreatedAt))
	return n == 1, err
}

// Plant implements auth.Store. Of two at once the second waits for the first to
// commit, and then finds the user.
func (db *DB) Plant(ctx context.Context, s auth.Seed) (planted bool, err error) {
	err = db.tx(ctx, func(c conn) error {
		if planted, err = insertUser(ctx, c, s.User); err != nil || !planted {
			return err
		}
		if err := insertOrg(ctx, c, s.Organization, s.Owner); err != nil {
			return err
		}
		return insertKey(ctx, c, s.Key)
	})
	return planted && err == nil, err
}

// CreateUser implements auth.Store.
func (db *DB) CreateUser(ctx context.Context, u auth.User, o org.Organization, owner org.Membership) error {
	return db.tx(ctx, func(c conn) error {
		fresh, err := insertUser(ctx, c, u)
		if err != nil {
			return err
		}
		if !fresh {
			return fault.New(fault.Conflict, "User with ID %s already exists", u.ID)
		}
		return insertOrg(ctx, c, o, owner)
	})
}

// User implements auth.Store.
func (db *DB) User(ctx context.Context, id string) (auth.User, error) {
	return find(ctx, db, db.reader(), scanUser, `SELECT `+userColumns+` FROM users WHERE id = ?`, id)
}

// Users implements auth.Store.
func (db *DB) Users(ctx context.Context) ([]auth.User, error) {
	return list(ctx, db, db.reader(), scanUser, `SELECT `+userColumns+` FROM users ORDER BY created_at, id`)
}

const keyColumns = `org_id, user_id, name, hash, prefix, suffix, permissions, created_at, expires_at, last_used_at`

func scanKey(r scanner) (k auth.Key, err error) {
	err = r.Scan(&k.OrgID, &k.UserID, &k.Name, &k.Hash, &k.Prefix, &k.Suffix, jsonTo{&k.Permissions},
		timeTo{&k.CreatedAt}, timePtrTo{&k.ExpiresAt}, timePtrTo{&k.LastUsedAt})
	return k, err
}

func insertKey(ctx context.Context, c conn, k auth.Key) error {
	n, err := c.exec(ctx, `INSERT INTO api_keys (`+keyColumns+`) VALUES (`+marks(10)+`) ON CONFLICT (org_id, user_id, name) DO NOTHING`,
		k.OrgID, k.UserID, k.Name, k.Hash, k.Prefix, k.Suffix, text(k.Permissions),
		millis(k.CreatedAt), millisPtr(k.ExpiresAt), millisPtr(k.LastUsedAt))
	if err == nil && n == 0 {
		return fault.New(fault.Conflict, "API key with name %s already exists", k.Name)
	}
	return err
}

// CreateKey implements auth.Store.
func (db *DB) CreateKey(ctx context.Context, k auth.Key) error {
	return db.fault(insertKey(ctx, db.writer(), k))
}

// Keys implements auth.Store.
func (db *DB) Keys(ctx context.Context, orgID, userID string) ([]auth.Key, error) {
	return list(ctx, db, db.reader(), scanKey, `SELECT `+keyColumns+` FROM api_keys WHERE org_id = ? AND (user_id = ? OR ? = '')
		ORDER BY CASE WHEN last_used_at IS NULL THEN 1 ELSE 0 END, last_used_at DESC, created_at DESC, name`, orgID, userID, userID)
}

// Key implements auth.Store.
func (db *DB) Key(ctx context.Context, orgID, userID, name string) (auth.Key, error) {
	return find(ctx, db, db.reader(), scanKey, `SELECT `+keyColumns+` FROM api_keys WHERE org_id = ? AND user_id = ? AND name = ?`,
		orgID, userID, name)
}

// KeyByHash implements auth.Store.
func (db *DB) KeyByHash(ctx context.Context, hash string) (auth.Key, error) {
	return find(ctx, db, db.reader(), scanKey, `SELECT `+keyColumns+` FROM api_keys WHERE hash = ?`, hash)
}

// DeleteKey implements auth.Store.
func (db *DB) DeleteKey(ctx context.Context, orgID, userID, name string) (auth.Key, error) {
	return find(ctx, db, db.writer(), scanKey, `DELETE FROM api_keys WHERE org_id = ? AND user_id = ? AND name = ? RETURNING `+keyColumns,
		orgID, userID, name)
}

// TouchKeys implements auth.Store.
func (db *DB) TouchKeys(ctx context.Context, at map[string]time.Time) error {
	return db.tx(ctx, func(c conn) error {
		for _, hash := range sorted(at) {
			t := millis(at[hash])
			if _, err := c.exec(ctx, `UPDATE api_keys SET last_used_at = ? WHERE hash = ? AND (last_used_at IS NULL OR last_used_at < ?)`,
				t, hash, t); err != nil {
				return err
			}
		}
		return nil
	})
}

// sorted gives rows one order for all, so that two transactions never wait for
// each other.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
