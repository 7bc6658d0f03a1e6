package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/internal/fault"
)

// errWaiting says that there is nothing to do but to look again soon.
var errWaiting = errors.New("waiting")

const (
	// waitFor is how soon.
	waitFor = 500 * time.Millisecond
	// callLimit is how long one call of a runner may take. It is tried again
	// after that: the runner goes on, and the next call joins it.
	callLimit = 2 * time.Minute
)

// do takes one step. It may be repeated whole, after a crash at any line.
// fault.Conflict means that the row has moved on; fault.Unavailable and internal
// errors that the step shall be repeated.
func (m *Manager) do(w *worker, sb Sandbox, step Step) error {
	switch step.Do {
	case DoIdleStop:
		return m.idleStop(sb)
	case DoAutoDelete:
		return m.autoDelete(sb)
	case DoAutoArchive:
		return m.autoArchive(sb)
	case DoAutoBackup:
		_, err := m.c.Store.SetSandbox(m.life, sb.ID, Settings{Backup: archiving(sb).Backup}, m.now())
		return err
	case DoRestore:
		if sb.RunnerID == "" {
			return m.placeAgain(sb)
		}
	case DoDelete:
		if sb.RunnerID == "" {
			return m.deleteArchived(w, sb)
		}
	case DoFail:
		if sb.State == Restoring {
			return m.failRestore(sb, step.Reason)
		}
		return m.fail(sb, step.Reason, sb.State != Creating && sb.State != Forking && !sb.State.AwaitsImage())
	}
	member, err := m.c.Runners.Member(sb.RunnerID)
	if err != nil {
		return err
	}
	switch step.Do {
	case DoAwaitImage:
		return m.awaitImage(sb, member)
	case DoCreate:
		return m.makeIt(w, sb, member)
	case DoStart:
		return m.startIt(w, sb, member)
	case DoStop:
		return m.stopIt(w, sb, member)
	case DoNetwork:
		return m.networkIt(w, sb, member)
	case DoDelete:
		return m.deleteIt(w, sb, member)
	case DoResize:
		return m.resizeIt(w, sb, member)
	case DoSnapshot:
		return m.snapshotIt(sb)
	case DoBackup:
		return m.backUp(w, sb, member)
	case DoFork:
		return m.forkIt(w, sb, member)
	case DoArchive:
		return m.archiveIt(w, sb, member)
	case DoRelease:
		return m.releaseIt(w, sb, member)
	case DoRestore:
		return m.restoreIt(w, sb, member)
	}
	return fmt.Errorf("unknown step %q", step.Do)
}

func (m *Manager) makeIt(w *worker, sb Sandbox, member fleet.Member) error {
	ctx, done := m.interruptible(w)
	defer done()
	got, err := member.Runner.Create(ctx, Spec(sb))
	if err == nil && got.State == runnerapi.StateRunning {
		return m.started(sb, got, member)
	}
	if err == nil {
		err = unexpected(got)
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil // no longer wanted: the row says what is
	case !lasting(err):
		// A runner refuses while the snapshot is not ready. Say so, rather
		// than use up the time there is for creating.
		if to := m.imageMissing(sb, member); to != "" {
			return m.step(sb, to, Change{})
		}
		return err
	case fault.Is(err, fault.NotFound):
		if to := m.imageMissing(sb, member); to != "" {
			return m.step(sb, to, Change{})
		}
	}
	m.log.Error("sandbox could not be created", "sandbox_id", sb.ID, "org_id", sb.OrgID, "runner_id", sb.RunnerID, "error", err)
	return m.fail(sb, reason("The sandbox could not be created", err), false)
}

func (m *Manager) startIt(w *worker, sb Sandbox, member fleet.Member) error {
	if sb.State == Stopped {
		return m.step(sb, Starting, Change{})
	}
	ctx, done := m.interruptible(w)
	defer done()
	var got runnerapi.Sandbox
	var err error
	if sb.NetworkPending { // changed while it was stopped: not one packet under the old policy
		if err = member.Runner.SetNetwork(ctx, sb.ID, sb.Network().policy()); fault.Is(err, fault.Conflict) {
			err = errWaiting
		}
	}
	if err == nil {
		got, err = member.Runner.Start(ctx, sb.ID)
	}
	if err == nil && got.State == runnerapi.StateRunning {
		return m.started(sb, got, member)
	}
	if err == nil {
		err = unexpected(got)
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil
	case !lasting(err):
		return err
	}
	m.log.Error("sandbox could not be started", "sandbox_id", sb.ID, "org_id", sb.OrgID, "runner_id", sb.RunnerID, "error", err)
	return m.fail(sb, reason("The sandbox could not be started", err), !gone(err))
}

// started records that the sandbox runs.
func (m *Manager) started(sb Sandbox, got runnerapi.Sandbox, member fleet.Member) error {
	now := m.now()
	c := Change{Isolation: &got.Isolation, ErrorReason: new(string), Recoverable: new(bool), End: &End{}, Active: &now}
	if v := member.Info.Version; v != "" {
		c.DaemonVersion = &v
	}
	return m.step(sb, Started, c)
}

func (m *Manager) stopIt(w *worker, sb Sandbox, member fleet.Member) error {
	if sb.State == Started {
		return m.step(sb, Stopping, Change{})
	}
	ctx, done := m.interruptible(w)
	defer done()
	got, err := member.Runner.Stop(ctx, sb.ID, m.take(&w.force))
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.Canceled):
		return nil
	case gone(err):
		return m.fail(sb, "The sandbox is missing on its runner", false)
	default:
		return err
	}
	return m.step(sb, Stopped, m.ended(sb, got.End))
}

func (m *Manager) deleteIt(w *worker, sb Sandbox, member fleet.Member) error {
	if sb.State != Destroying {
		return m.step(sb, Destroying, Change{})
	}
	if err := remove(m.traced(w), member, sb.ID); err != nil {
		return err
	}
	return m.destroyed(w, sb)
}

// destroyed records that nothing is left of a sandbox on a runner.
func (m *Manager) destroyed(w *worker, sb Sandbox) error {
	m.dropBackup(w, sb)
	c := m.ended(sb, nil)
	name := fmt.Sprintf("DESTROYED_%s_%d", sb.Name, m.now().UnixMilli())
	c.Name = &name
	return m.step(sb, Destroyed, c)
}

// idleStop decides that an idle sandbox stops. Activity that another server has
// stored meanwhile prevents it.
func (m *Manager) idleStop(sb Sandbox) error {
	since, to, desired := sb.LastActivityAt, Stopping, Stopped
	if sb.AutoDelete == 0 {
		to, desired = Destroying, Destroyed
	}
	_, err := m.move(m.life, sb, to, Change{Desired: &desired, IdleSince: &since, End: &End{
		Cause: EndIdle, At: m.now(),
		Evidence: fmt.Sprintf("no activity since %s (auto-stop after %d min)", since.Format(time.RFC3339), sb.AutoStop),
	}})
	return err
}

func (m *Manager) autoDelete(sb Sandbox) error {
	since := sb.LastActivityAt
	_, err := m.move(m.life, sb, Destroying, Change{Desired: ptr(Destroyed), IdleSince: &since})
	return err
}

// fail gives up. The quota is free then, and nobody tries again unless told to.
func (m *Manager) fail(sb Sandbox, why string, recoverable bool) error {
	return m.failTo(sb, Error, why, recoverable)
}

func (m *Manager) failTo(sb Sandbox, to State, why string, recoverable bool) error {
	c := m.ended(sb, nil)
	if sb.EndCause == "" {
		c.End = &End{Cause: string(runnerapi.CauseStartFailed), Evidence: why, At: m.now()}
	}
	c.ErrorReason, c.Recoverable = &why, &recoverable
	return m.step(sb, to, c)
}

// step makes a move on behalf of a worker.
func (m *Manager) step(sb Sandbox, to State, c Change) error {
	_, err := m.move(m.life, sb, to, c)
	return err
}

// move makes a move that the table allows. With the end of a sandbox its preview
// token ends: links that were handed out are not good for what runs next.
func (m *Manager) move(ctx context.Context, sb Sandbox, to State, c Change) (Sandbox, error) {
	if !sb.State.CanBecome(to) {
		return Sandbox{}, fault.New(fault.Invalid, "Sandbox %s cannot go from %s to %s", sb.ID, sb.State, to)
	}
	if to == Stopped || to == Error || to == Destroyed {
		token := newToken()
		c.PreviewToken = &token
	}
	now, err := m.c.Store.MoveSandbox(ctx, sb, to, c, m.now())
	if err != nil {
		return Sandbox{}, err
	}
	m.targets.drop(sb.ID)
	log := m.log.With("sandbox_id", sb.ID, "org_id", sb.OrgID, "from", sb.State, "to", to)
	if c.End != nil && c.End.Cause != "" {
		m.met.ends.WithLabelValues(c.End.Cause).Inc()
		log = log.With("cause", c.End.Cause, "evidence", c.End.Evidence)
	}
	log.Info("sandbox moved")
	return now, nil
}

// ended says how a sandbox ended. What was recorded with the wish stands: it is
// the reason for which the runner was told to end it.
func (m *Manager) ended(sb Sandbox, seen *runnerapi.End) Change {
	now := m.now()
	c := Change{Active: &now}
	if sb.EndCause != "" {
		return c
	}
	e := End{Cause: string(runnerapi.CauseUser), At: now}
	if seen != nil && seen.Cause != runnerapi.CauseNone {
		e = End{Cause: string(seen.Cause), Evidence: seen.Evidence, At: seen.At}
	}
	c.End = &e
	return c
}

// unexpected is the error for a runner that says it is done with a sandbox that
// does not run.
func unexpected(got runnerapi.Sandbox) error {
	if got.State == runnerapi.StateCreating {
		return errWaiting
	}
	if got.End != nil && got.End.Evidence != "" {
		return fault.New(fault.Unprocessable, "it ended at once: %s (%s)", got.End.Cause, got.End.Evidence)
	}
	return fault.New(fault.Unprocessable, "the runner reports it %s", got.State)
}

// lasting reports that trying again would not help.
func lasting(err error) bool {
	if errors.Is(err, errWaiting) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.Timeout, fault.TooMany:
		return false
	}
	return true
}

func gone(err error) bool { return fault.Is(err, fault.NotFound) || fault.Is(err, fault.Gone) }

// reason is what the owner reads. What is not a fault is for the log alone.
func reason(what string, err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return what + ": " + f.Text
	}
	return what + " because of an internal error on its runner; the server's log says more"
}
