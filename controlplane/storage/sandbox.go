package storage

import (
	"context"
	"strings"
	"time"

	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

// sandboxColumns, sandboxValues and scanSandbox go through the columns in one
// order.
const sandboxColumns = `id, org_id, name, user_id, snapshot, snapshot_id, image, build_info, os_user, target, runner_id, isolation, class,
	env, labels, public, network_block_all, network_allow_list, domain_allow_list, network_pending, cpu, gpu, memory_gib, disk_gib,
	state, desired, state_since, error_reason, recoverable, end_cause, end_evidence, ended_at,
	auto_stop, auto_archive, auto_delete, preview_token, daemon_version, created_at, updated_at, last_activity_at, version, backup, fork_of, resize, snapshotting`

func sandboxValues(s sandbox.Sandbox) []any {
	var build any
	if s.BuildInfo != nil {
		build = text(s.BuildInfo)
	}
	var backup any
	if s.Backup != nil {
		backup = text(s.Backup)
	}
	var resize any
	if s.Resize != nil {
		resize = text(s.Resize)
	}
	return []any{
		s.ID, s.OrgID, s.Name, s.UserID, s.Snapshot, s.SnapshotID, s.Image, build, s.User, s.Target, s.RunnerID, s.Isolation, s.Class,
		text(s.Env), text(s.Labels), s.Public, s.NetworkBlockAll, s.NetworkAllowList, s.DomainAllowList, s.NetworkPending, s.CPU, s.GPU, s.MemoryGiB, s.DiskGiB,
		s.State, s.Desired, millis(s.StateSince), s.ErrorReason, s.Recoverable, s.EndCause, s.EndEvidence, millisPtr(s.EndedAt),
		s.AutoStop, s.AutoArchive, s.AutoDelete, s.PreviewToken, s.DaemonVersion,
		millis(s.CreatedAt), millis(s.UpdatedAt), millis(s.LastActivityAt), s.Version, backup, s.ForkOf, resize, s.Snapshotting,
	}
}

func scanSandbox(r scanner) (s sandbox.Sandbox, err error) {
	err = r.Scan(&s.ID, &s.OrgID, &s.Name, &s.UserID, &s.Snapshot, &s.SnapshotID, &s.Image, jsonTo{&s.BuildInfo}, &s.User,
		&s.Target, &s.RunnerID, &s.Isolation, &s.Class,
		jsonTo{&s.Env}, jsonTo{&s.Labels}, &s.Public, &s.NetworkBlockAll, textPtrTo{&s.NetworkAllowList}, textPtrTo{&s.DomainAllowList}, &s.NetworkPending, &s.CPU, &s.GPU, &s.MemoryGiB, &s.DiskGiB,
		&s.State, &s.Desired, timeTo{&s.StateSince}, textPtrTo{&s.ErrorReason}, &s.Recoverable, &s.EndCause, &s.EndEvidence, timePtrTo{&s.EndedAt},
		&s.AutoStop, &s.AutoArchive, &s.AutoDelete, &s.PreviewToken, textPtrTo{&s.DaemonVersion},
		timeTo{&s.CreatedAt}, timeTo{&s.UpdatedAt}, timeTo{&s.LastActivityAt}, &s.Version, jsonTo{&s.Backup}, &s.ForkOf,
		jsonTo{&s.Resize}, &s.Snapshotting)
	return s, err
}

const selectSandbox = `SELECT ` + sandboxColumns + ` FROM sandboxes `

// CreateSandbox implements sandbox.Store. The organization's row is locked, so
// that of two creates at once the second sees what the first took.
func (db *DB) CreateSandbox(ctx context.Context, sb sandbox.Sandbox, key *sandbox.Idempotency, admit sandbox.Admit) (out sandbox.Sandbox, created bool, err error) {
	err = db.tx(ctx, func(c conn) error {
		out, created = sandbox.Sandbox{}, false
		o, err := lockOrg(ctx, db, c, sb.OrgID)
		if err != nil {
			return err
		}
		if key != nil {
			old, err := findKey(ctx, db, c, sb.OrgID, key.Key)
			switch {
			case fault.Is(err, fault.NotFound):
			case err != nil:
				return err
			case old.BodyHash != key.BodyHash:
				return sandbox.ErrKeyReused()
			default:
				out, err = find(ctx, db, c, scanSandbox, selectSandbox+`WHERE id = ?`, old.SandboxID)
				return err
			}
		}
		if admit != nil {
			if err := admitIn(ctx, db, c, o, sb, "", admit); err != nil {
				return err
			}
		}
		values := sandboxValues(sb)
		n, err := c.exec(ctx, `INSERT INTO sandboxes (`+sandboxColumns+`) VALUES (`+marks(len(values))+`) ON CONFLICT (org_id, name) DO NOTHING`, values...)
		if err != nil {
			return err
		}
		if n == 0 {
			return sandbox.ErrNameTaken(sb.Name)
		}
		if key != nil {
			if _, err := c.exec(ctx, `INSERT INTO idempotency_keys (org_id, key, body_hash, sandbox_id, created_at) VALUES (?, ?, ?, ?, ?)`,
				sb.OrgID, key.Key, key.BodyHash, sb.ID, millis(sb.CreatedAt)); err != nil {
				return err
			}
		}
		out, created = sb, true
		return nil
	})
	if err != nil {
		return sandbox.Sandbox{}, false, err
	}
	return out, created, nil
}

// IdempotencyKey implements sandbox.Store.
func (db *DB) IdempotencyKey(ctx context.Context, orgID, key string) (sandbox.Idempotency, error) {
	return findKey(ctx, db, db.reader(), orgID, key)
}

func findKey(ctx context.Context, db *DB, c conn, orgID, key string) (sandbox.Idempotency, error) {
	return find(ctx, db, c, func(r scanner) (k sandbox.Idempotency, err error) {
		return k, r.Scan(&k.Key, &k.BodyHash, &k.SandboxID)
	}, `SELECT key, body_hash, sandbox_id FROM idempotency_keys WHERE org_id = ? AND key = ?`, orgID, key)
}

// Sandbox implements sandbox.Store.
func (db *DB) Sandbox(ctx context.Context, id string) (sandbox.Sandbox, error) {
	return find(ctx, db, db.reader(), scanSandbox, selectSandbox+`WHERE id = ?`, id)
}

// FindSandbox implements sandbox.Store. An id wins over another one's name.
func (db *DB) FindSandbox(ctx context.Context, orgID, idOrName string) (sandbox.Sandbox, error) {
	return find(ctx, db, db.reader(), scanSandbox, selectSandbox+`WHERE org_id = ? AND (id = ? OR name = ?)
		ORDER BY CASE WHEN id = ? THEN 0 ELSE 1 END LIMIT 1`, orgID, idOrName, idOrName, idOrName)
}

// SandboxesOn implements sandbox.Store.
func (db *DB) SandboxesOn(ctx context.Context, runnerID string) ([]sandbox.Sandbox, error) {
	return list(ctx, db, db.reader(), scanSandbox, selectSandbox+`WHERE runner_id = ? ORDER BY created_at, id`, runnerID)
}

// MoveSandbox implements sandbox.Store.
func (db *DB) MoveSandbox(ctx context.Context, from sandbox.Sandbox, to sandbox.State, ch sandbox.Change, now time.Time) (out sandbox.Sandbox, err error) {
	u := assign("state = ?", to).and("state_since = ?", millis(now))
	if ch.Desired != nil {
		u = u.and("desired = ?", *ch.Desired)
	}
	if ch.Isolation != nil {
		u = u.and("isolation = ?", *ch.Isolation)
	}
	if ch.DaemonVersion != nil {
		u = u.and("daemon_version = ?", *ch.DaemonVersion)
	}
	if ch.PreviewToken != nil {
		u = u.and("preview_token = ?", *ch.PreviewToken)
	}
	if ch.ErrorReason != nil {
		u = u.and("error_reason = ?", orNull(*ch.ErrorReason))
	}
	if ch.Recoverable != nil {
		u = u.and("recoverable = ?", *ch.Recoverable)
	}
	if e := ch.End; e != nil {
		u = u.and("end_cause = ?", e.Cause).and("end_evidence = ?", strings.ToValidUTF8(strings.ReplaceAll(e.Evidence, "\x00", ""), "?"))
		if e.At.IsZero() {
			u = u.and("ended_at = ?", nil)
		} else {
			u = u.and("ended_at = ?", millis(e.At))
		}
	}
	if ch.RunnerID != nil {
		u = u.and("runner_id = ?", *ch.RunnerID)
	}
	if ch.Backup != nil {
		u = u.and("backup = ?", text(ch.Backup))
	}
	if ch.Name != nil {
		u = u.and("name = ?", *ch.Name)
	}
	if ch.Active != nil {
		u = u.and("last_activity_at = ?", millis(*ch.Active))
	}
	where, args := ` WHERE id = ? AND state = ? AND version = ?`, []any{from.ID, from.State, from.Version}
	if ch.IdleSince != nil {
		where += ` AND last_activity_at <= ?`
		args = append(args, millis(*ch.IdleSince))
	}
	if ch.Admit == nil {
		return u.sandbox(ctx, db, db.writer(), from.ID, where, args, now)
	}
	err = db.tx(ctx, func(c conn) error {
		o, err := lockOrg(ctx, db, c, from.OrgID)
		if err != nil {
			return err
		}
		if err := admitIn(ctx, db, c, o, from, from.ID, ch.Admit); err != nil {
			return err
		}
		out, err = u.sandbox(ctx, db, c, from.ID, where, args, now)
		return err
	})
	return out, err
}

// SetSandbox implements sandbox.Store.
func (db *DB) SetSandbox(ctx context.Context, id string, s sandbox.Settings, now time.Time) (sandbox.Sandbox, error) {
	var u assignments
	if s.Labels != nil {
		u = u.and("labels = ?", text(s.Labels))
	}
	if s.Public != nil {
		u = u.and("public = ?", *s.Public)
	}
	if s.AutoStop != nil {
		u = u.and("auto_stop = ?", *s.AutoStop)
	}
	if s.AutoArchive != nil {
		u = u.and("auto_archive = ?", *s.AutoArchive)
	}
	if s.AutoDelete != nil {
		u = u.and("auto_delete = ?", *s.AutoDelete)
	}
	if s.Backup != nil {
		u = u.and("backup = ?", text(s.Backup))
	}
	return u.sandbox(ctx, db, db.writer(), id, ` WHERE id = ? AND state NOT IN (?, ?)`, []any{id, sandbox.Destroying, sandbox.Destroyed}, now)
}

// SetSandboxNetwork implements sandbox.Store.
func (db *DB) SetSandboxNetwork(ctx context.Context, from sandbox.Sandbox, n sandbox.Network, pending bool, admit sandbox.Admit, now time.Time) (out sandbox.Sandbox, err error) {
	u := assign("network_block_all = ?", n.BlockAll).and("network_allow_list = ?", n.AllowList).
		and("domain_allow_list = ?", n.Domains).and("network_pending = ?", pending)
	where, args := ` WHERE id = ? AND state = ? AND version = ?`, []any{from.ID, from.State, from.Version}
	if admit == nil {
		return u.sandbox(ctx, db, db.writer(), from.ID, where, args, now)
	}
	err = db.tx(ctx, func(c conn) error {
		o, err := lockOrg(ctx, db, c, from.OrgID)
		if err != nil {
			return err
		}
		if err := admit(o, org.Usage{}); err != nil {
			return err
		}
		out, err = u.sandbox(ctx, db, c, from.ID, where, args, now)
		return err
	})
	return out, err
}

// SetSandboxWork implements sandbox.Store.
func (db *DB) SetSandboxWork(ctx context.Context, from sandbox.Sandbox, w sandbox.Work, admit sandbox.Admit, now time.Time) (out sandbox.Sandbox, err error) {
	var resize any
	if w.Resize != nil {
		resize = text(w.Resize)
	}
	u := assign("cpu = ?", w.Size.CPU).and("gpu = ?", w.Size.GPU).and("memory_gib = ?", w.Size.MemoryGiB).and("disk_gib = ?", w.Size.DiskGiB).
		and("resize = ?", resize).and("snapshotting = ?", w.Snapshotting).and("error_reason = ?", w.ErrorReason)
	where, args := ` WHERE id = ? AND state = ? AND version = ?`, []any{from.ID, from.State, from.Version}
	if admit == nil {
		return u.sandbox(ctx, db, db.writer(), from.ID, where, args, now)
	}
	err = db.tx(ctx, func(c conn) error {
		o, err := lockOrg(ctx, db, c, from.OrgID)
		if err != nil {
			return err
		}
		if err := admitIn(ctx, db, c, o, from, from.ID, admit); err != nil {
			return err
		}
		out, err = u.sandbox(ctx, db, c, from.ID, where, args, now)
		return err
	})
	return out, err
}

// TouchSandboxes implements sandbox.Store.
func (db *DB) TouchSandboxes(ctx context.Context, at map[string]time.Time) error {
	return db.tx(ctx, func(c conn) error {
		for _, id := range sorted(at) {
			t := millis(at[id])
			if _, err := c.exec(ctx, `UPDATE sandboxes SET last_activity_at = ? WHERE id = ? AND last_activity_at < ?`, t, id, t); err != nil {
				return err
			}
		}
		return nil
	})
}

// PurgeSandboxes implements sandbox.Store.
func (db *DB) PurgeSandboxes(ctx context.Context, destroyed, keys time.Time) (int, error) {
	n, err := db.writer().exec(ctx, `DELETE FROM sandboxes WHERE state = ? AND state_since < ?`, sandbox.Destroyed, millis(destroyed))
	if err != nil {
		return 0, db.fault(err)
	}
	k, err := db.writer().exec(ctx, `DELETE FROM idempotency_keys WHERE created_at < ?`, millis(keys))
	return int(n + k), db.fault(err)
}

// lockOrg reads an organization and keeps others from changing what it uses
// until the transaction ends.
func lockOrg(ctx context.Context, db *DB, c conn, id string) (org.Organization, error) {
	return find(ctx, db, c, scanOrg, `SELECT `+orgColumns+` FROM organizations o WHERE o.id = ?`+c.forUpdate(), id)
}

// assignments is the SET part of an UPDATE.
type assignments struct {
	set  []string
	args []any
}

func assign(set string, arg any) assignments { return assignments{}.and(set, arg) }

func (a assignments) and(set string, arg any) assignments {
	return assignments{append(a.set, set), append(a.args, arg)}
}

// sandbox updates one row that is as where says, counts the change and returns
// the row. Otherwise it says what is the matter.
func (a assignments) sandbox(ctx context.Context, db *DB, c conn, id, where string, args []any, now time.Time) (sandbox.Sandbox, error) {
	a = a.and("updated_at = ?", millis(now))
	out, err := find(ctx, db, c, scanSandbox, `UPDATE sandboxes SET version = version + 1, `+strings.Join(a.set, ", ")+where+
		` RETURNING `+sandboxColumns, append(a.args, args...)...)
	if !fault.Is(err, fault.NotFound) {
		return out, err
	}
	is, err := find(ctx, db, c, scanSandbox, selectSandbox+`WHERE id = ?`, id)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	return sandbox.Sandbox{}, fault.New(fault.Conflict, "Sandbox %s has changed meanwhile: it is %s", id, is.Shown())
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
