package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/image"
	"daytona/internal/fault"
)

// archiveAttempts is how often in a row an archive or a restore fails before
// that counts.
const archiveAttempts = 3

// Archive moves the files of a stopped sandbox to object storage, from where
// Start brings them back. The runner is free then. It waits like Start.
func (m *Manager) Archive(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	sb, err := m.ask(ctx, orgID, idOrName, func(sb Sandbox) (State, Change, error) {
		if err := sb.busy("archive"); err != nil {
			return "", Change{}, err
		}
		switch {
		case m.c.Archives == nil:
			return "", Change{}, fault.New(fault.Unavailable, "This server has no object storage, so nothing can be archived")
		case sb.State == Archived || sb.State == Archiving:
			return "", Change{}, nil
		case sb.Ephemeral():
			return "", Change{}, fault.New(fault.Invalid, "Ephemeral sandboxes cannot be archived: they are deleted when they stop")
		case sb.State == Stopped && sb.Desired == Stopped, sb.State == Error && sb.Desired == Archived && sb.RunnerID != "":
			return Archiving, archiving(sb), nil
		default:
			return "", Change{}, fault.New(fault.Invalid, "Sandbox is not stopped: it is %s. Stop it, then archive it", sb.Shown())
		}
	})
	return m.settle(ctx, sb, err, "archive", nudge{})
}

// archiving is what changes with the wish to archive.
func archiving(sb Sandbox) Change {
	b := Backup{}
	if sb.Backup != nil {
		b = *sb.Backup
	}
	b.State, b.Error = BackupPending, ""
	return Change{Desired: ptr(Archived), Backup: &b, ErrorReason: new(string), Recoverable: new(bool)}
}

// autoArchive decides that a sandbox that was stopped long enough is archived.
// One that failed is tried again.
func (m *Manager) autoArchive(sb Sandbox) error {
	c := archiving(sb)
	if sb.State == Stopped {
		since := sb.LastActivityAt
		c.IdleSince = &since
		m.log.Info("sandbox is archived", "sandbox_id", sb.ID, "org_id", sb.OrgID, "reason", "auto-archive",
			"evidence", fmt.Sprintf("stopped and unused since %s (auto-archive after %d min)", since.Format(time.RFC3339), archiveInterval(sb.AutoArchive)))
	}
	return m.step(sb, Archiving, c)
}

// next is Next for what this server has.
func (m *Manager) next(sb Sandbox) Step {
	step := Next(sb, m.now())
	if m.c.Archives == nil {
		if step.Do == DoAutoArchive {
			return Step{}
		}
		return step
	}
	if step.Do == DoNothing {
		step = sooner(step, NextBackup(sb, m.c.BackupEvery, m.now()))
	}
	return step
}

// archiveIt takes the files to object storage and reads them back. Only then is
// the sandbox archived, and only after that does its runner lose them.
func (m *Manager) archiveIt(w *worker, sb Sandbox, member fleet.Member) error {
	if m.c.Archives == nil {
		return m.fail(sb, "Archiving failed: this server has no object storage", true)
	}
	ctx, done := m.withFiles(w, sb)
	defer done()
	began := time.Now()
	b, err := m.save(ctx, sb, member)
	if err == nil {
		err = m.c.Archives.Verify(ctx, archivePrefix(sb), b.Ref)
	}
	switch {
	case err == nil:
		m.log.Info("sandbox archived", "sandbox_id", sb.ID, "org_id", sb.OrgID, "bytes", b.Ref.Size, "sent", b.Ref.Sent, "took", time.Since(began))
		return m.step(sb, Archived, Change{Backup: &b})
	case errors.Is(ctx.Err(), context.Canceled):
		return nil // no longer wanted: the row says what is
	case gone(err):
		return m.fail(sb, "The sandbox is missing on its runner", false)
	}
	if m.retries.failures(sb.ID)+1 < archiveAttempts && lastingLess(err) {
		return again(err)
	}
	m.log.Error("sandbox could not be archived", "sandbox_id", sb.ID, "org_id", sb.OrgID, "runner_id", sb.RunnerID, "error", err)
	failed := *sb.Backup
	failed.State, failed.Error = BackupError, reason("archiving failed", err)
	c := m.ended(sb, nil)
	why := reason("Archiving failed", err) + ". Its files are where they were: start it, or archive it again"
	c.ErrorReason, c.Recoverable, c.Backup = &why, ptr(true), &failed
	return m.step(sb, Error, c)
}

// lastingLess reports that another attempt may help: damage in object storage is
// sent again.
func lastingLess(err error) bool {
	return !lasting(err) || fault.Is(err, fault.Unprocessable) || fault.Is(err, fault.Internal) || fault.Is(err, fault.Conflict)
}

// again keeps a failure from being taken for a row that has moved on.
func again(err error) error {
	if fault.Is(err, fault.Conflict) {
		return fault.Wrap(err, fault.Unavailable, "%s", err)
	}
	return err
}

// save brings the files of a sandbox to object storage. What is there of an
// earlier time is not sent again.
func (m *Manager) save(ctx context.Context, sb Sandbox, member fleet.Member) (Backup, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pr, pw := io.Pipe()
	base, exported := "", make(chan error, 1)
	go func() {
		var err error
		base, err = member.Runner.Export(ctx, sb.ID, pw)
		pw.CloseWithError(err)
		exported <- err
	}()
	ref, err := m.c.Archives.Write(ctx, archivePrefix(sb), pr)
	_ = pr.CloseWithError(errStopReading) // never fails
	if failed := <-exported; failed != nil && !errors.Is(failed, errStopReading) {
		err = failed
	}
	if err != nil {
		return Backup{}, err
	}
	return Backup{State: BackupCompleted, At: m.now(), Ref: ref, Base: base, RunnerID: sb.RunnerID}, nil
}

var errStopReading = errors.New("object storage takes no more")

// releaseIt frees the runner of what object storage has.
func (m *Manager) releaseIt(w *worker, sb Sandbox, member fleet.Member) error {
	if err := remove(m.traced(w), member, sb.ID); err != nil {
		return err
	}
	if err := m.step(sb, Archived, Change{RunnerID: new(string)}); err != nil {
		return err
	}
	// What is of no use any more costs only room: another archive takes it out.
	ctx, cancel := context.WithTimeout(m.life, callLimit)
	defer cancel()
	if err := m.c.Archives.Prune(ctx, archivePrefix(sb), sb.Backup.Ref); err != nil {
		m.log.Warn("parts of older backups stay in object storage", "sandbox_id", sb.ID, "error", err)
	}
	return nil
}

// placeAgain finds a runner for an archived sandbox.
func (m *Manager) placeAgain(sb Sandbox) error {
	if !sb.Backup.Complete() || m.c.Archives == nil {
		return m.failRestore(sb, "The sandbox has no complete backup in object storage")
	}
	member, err := m.c.Runners.Place(m.life, fleet.Want{
		Region: sb.Target, Isolation: sb.Isolation, CPU: sb.CPU, MemoryGiB: sb.MemoryGiB, DiskGiB: sb.DiskGiB, Prefer: sb.Backup.RunnerID,
		Avoid: sb.Backup.Avoid,
	})
	if err != nil {
		if lasting(err) {
			return m.failRestore(sb, reason("Restoring failed", err))
		}
		return err
	}
	return m.step(sb, Restoring, Change{RunnerID: &member.ID})
}

// restoreIt brings the files of an archived sandbox to its runner.
func (m *Manager) restoreIt(w *worker, sb Sandbox, member fleet.Member) error {
	ctx, done := m.withFiles(w, sb)
	defer done()
	ready, err := m.imageThere(ctx, sb, member)
	if err == nil && !ready {
		return errWaiting
	}
	began := time.Now()
	if err == nil {
		err = m.bring(ctx, sb, member)
	}
	switch {
	case err == nil:
		m.log.Info("sandbox restored", "sandbox_id", sb.ID, "org_id", sb.OrgID, "runner_id", member.ID, "bytes", sb.Backup.Ref.Size, "took", time.Since(began))
		if sb.Desired == Stopped {
			return m.step(sb, Stopped, Change{Active: ptr(m.now())})
		}
		return m.step(sb, Starting, Change{})
	case errors.Is(ctx.Err(), context.Canceled):
		return nil
	case m.retries.failures(sb.ID)+1 < archiveAttempts && lastingLess(err):
		return again(err)
	}
	m.log.Error("sandbox could not be restored", "sandbox_id", sb.ID, "org_id", sb.OrgID, "runner_id", sb.RunnerID, "error", err)
	if err := remove(m.life, member, sb.ID); err != nil { // what a broken-off attempt may have left
		return err
	}
	return m.failRestore(sb, reason("Restoring failed", err)+". Its files are in object storage: start it to try again")
}

func (m *Manager) bring(ctx context.Context, sb Sandbox, member fleet.Member) error {
	if !sb.Backup.Complete() || m.c.Archives == nil {
		return fault.New(fault.Invalid, "there is no complete backup in object storage")
	}
	files, err := m.c.Archives.Open(ctx, archivePrefix(sb), sb.Backup.Ref)
	if err != nil {
		return err
	}
	defer files.Close()
	got, err := member.Runner.Import(ctx, Spec(sb), sb.Backup.Base, files)
	if err == nil && got.State != runnerapi.StateStopped && got.State != runnerapi.StateRunning {
		err = unexpected(got)
	}
	return err
}

// imageThere has the runner make the image that a sandbox's files lie on, if it
// has it not.
func (m *Manager) imageThere(ctx context.Context, sb Sandbox, member fleet.Member) (bool, error) {
	seen, there, err := m.onRunner(sb, member)
	switch {
	case err != nil:
		return false, err
	case there && seen.State == runnerapi.SnapshotReady:
		return true, nil
	case there && seen.State != runnerapi.SnapshotFailed:
		m.waiting.add(sb.Image, sb.ID)
		return false, nil
	case !image.Ours(sb.Image):
		return false, fault.New(fault.Unprocessable, "its runner has no snapshot %s any more", sb.Image)
	}
	m.waiting.add(sb.Image, sb.ID)
	return false, m.c.Images.Ensure(ctx, member, sb.Image)
}

// failRestore gives up. The files are in object storage alone, so that the next
// start begins anew, wherever there is room.
func (m *Manager) failRestore(sb Sandbox, why string) error {
	c := m.ended(sb, nil)
	c.ErrorReason, c.Recoverable, c.RunnerID = &why, ptr(sb.Backup.Complete()), new(string)
	if sb.Backup != nil { // where it failed, it is not tried first
		b := *sb.Backup
		b.RunnerID, b.Avoid = "", sb.RunnerID
		c.Backup = &b
	}
	return m.step(sb, Error, c)
}

// deleteArchived destroys what no runner has.
func (m *Manager) deleteArchived(w *worker, sb Sandbox) error {
	if sb.State != Destroying {
		return m.step(sb, Destroying, Change{})
	}
	return m.destroyed(w, sb)
}

// dropBackup removes what object storage has of a sandbox. What it does not take
// out now, the next sweep does: a deletion waits for nobody.
func (m *Manager) dropBackup(w *worker, sb Sandbox) {
	if sb.Backup == nil || m.c.Archives == nil {
		return
	}
	ctx, cancel := context.WithTimeout(m.traced(w), 10*time.Second)
	defer cancel()
	if err := m.c.Archives.Remove(ctx, archivePrefix(sb)); err != nil {
		m.log.Warn("the backup of a deleted sandbox stays in object storage for now", "sandbox_id", sb.ID, "error", err)
	}
}

// resyncArchived looks at the sandboxes that no runner has.
func (m *Manager) resyncArchived(ctx context.Context, drive func(id string, n nudge)) (Resynced, error) {
	var r Resynced
	lead, err := m.c.Store.Lead(ctx, "")
	if err != nil || !lead {
		return r, err
	}
	rows, err := m.c.Store.SandboxesOn(ctx, "")
	if err != nil {
		return r, err
	}
	for _, sb := range rows {
		r.Rows++
		step := m.next(sb)
		if step.Do == DoNothing {
			m.timers.set(sb.ID, step.At)
			continue
		}
		r.Driven++
		drive(sb.ID, nudge{})
	}
	return r, nil
}
