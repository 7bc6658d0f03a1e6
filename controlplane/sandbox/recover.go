package sandbox

import (
	"context"
	"errors"
	"time"

	"daytona/controlplane/fleet"
	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// Recover brings a sandbox out of state error if that can be: from the files that
// its runner has, else from those in object storage. With skipStart it is left
// stopped. It waits like Start.
func (m *Manager) Recover(ctx context.Context, orgID, idOrName string, skipStart bool) (Sandbox, error) {
	sb, err := m.ask(ctx, orgID, idOrName, func(sb Sandbox) (State, Change, error) {
		switch {
		case sb.State != Error:
			return "", Change{}, fault.New(fault.Invalid, "Sandbox is not in state error: it is %s", sb.Shown())
		case !sb.Recoverable:
			return "", Change{}, fault.New(fault.Invalid, "Sandbox cannot be recovered (%s). Delete it and create another", deref(sb.ErrorReason))
		}
		to, c := Starting, Change{Desired: ptr(Started), ErrorReason: new(string), Recoverable: new(bool), Active: ptr(m.now())}
		want := sb.Resources()
		if skipStart {
			to, c.Desired = Stopped, ptr(Stopped)
			want = org.Resources{DiskGiB: sb.DiskGiB}
		} else {
			c.End = &End{}
		}
		if sb.RunnerID == "" {
			to, want = Restoring, sb.Resources()
		}
		c.Admit = m.admitAgain(want)
		return to, c, nil
	})
	return m.settle(ctx, sb, err, "recover", nudge{})
}

// Backup has the files of a sandbox copied to object storage, while it runs or
// is stopped. It answers before that is done; Backup.State tells.
func (m *Manager) Backup(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	if m.c.Archives == nil {
		return Sandbox{}, fault.New(fault.Unavailable, "This server has no object storage, so there are no backups")
	}
	sb, err := m.Get(ctx, orgID, idOrName)
	switch {
	case err != nil:
		return Sandbox{}, err
	case sb.State != Started && sb.State != Stopped || sb.Shown() != sb.State:
		return Sandbox{}, fault.New(fault.Invalid, "Sandbox is %s. A backup can be made of one that is started or stopped", sb.Shown())
	case sb.wantsBackup():
		return Sandbox{}, fault.New(fault.Invalid, "A backup of the sandbox is under way")
	}
	return m.change(ctx, orgID, sb.ID, Settings{Backup: archiving(sb).Backup})
}

// backupsAtOnce bounds how many sandboxes are backed up at a time: each reads a
// disk and loads the network.
const backupsAtOnce = 6

// backUp takes one attempt at a backup that was asked for.
func (m *Manager) backUp(w *worker, sb Sandbox, member fleet.Member) error {
	if sb.Backup.State == BackupPending {
		b := *sb.Backup
		b.State = BackupInProgress
		_, err := m.c.Store.SetSandbox(m.life, sb.ID, Settings{Backup: &b}, m.now())
		return err
	}
	ctx, done := m.withFiles(w, sb)
	defer done()
	select {
	case m.saving <- struct{}{}:
		defer func() { <-m.saving }()
	case <-ctx.Done():
		return nil // it goes on when the sandbox rests again
	}
	began := time.Now()
	b, err := m.save(ctx, sb, member)
	switch {
	case err == nil:
		m.log.Info("sandbox backed up", "sandbox_id", sb.ID, "org_id", sb.OrgID, "bytes", b.Ref.Size, "sent", b.Ref.Sent, "took", time.Since(began))
	case errors.Is(ctx.Err(), context.Canceled):
		return nil // it goes on when the sandbox rests again
	case m.retries.failures(sb.ID)+1 < archiveAttempts && lastingLess(err):
		return again(err)
	default:
		m.log.Error("sandbox could not be backed up", "sandbox_id", sb.ID, "org_id", sb.OrgID, "runner_id", sb.RunnerID, "error", err)
		b = *sb.Backup
		b.State, b.Error, b.Tried = BackupError, reason("the backup failed", err), m.now()
	}
	if _, err := m.c.Store.SetSandbox(m.life, sb.ID, Settings{Backup: &b}, m.now()); err != nil || b.State == BackupError {
		return err
	}
	// Only now is nothing needed any more of the backup before.
	if err := m.c.Archives.Prune(ctx, archivePrefix(sb), b.Ref); err != nil {
		m.log.Warn("parts of older backups stay in object storage", "sandbox_id", sb.ID, "error", err)
	}
	return nil
}
