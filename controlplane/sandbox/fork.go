package sandbox

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/internal/fault"
)

// Fork makes a sandbox with the files and settings of a stopped one, and starts
// it. name "" is its id. The two know nothing of each other afterwards. It waits
// like Start.
func (m *Manager) Fork(ctx context.Context, orgID, userID, idOrName, name string) (Sandbox, error) {
	of, err := m.Get(ctx, orgID, idOrName)
	switch {
	case err != nil:
		return Sandbox{}, err
	case of.busy("fork") != nil:
		return Sandbox{}, of.busy("fork")
	case of.State != Stopped || of.Desired != Stopped:
		return Sandbox{}, fault.New(fault.Invalid, "Sandbox is %s. Stop it, then fork it: its files must not change meanwhile", of.Shown())
	}
	if name != "" {
		if err := checkName(name); err != nil {
			return Sandbox{}, fault.New(fault.Invalid, "name: %s", err)
		}
	}
	now := m.now()
	sb := of
	sb.ID, sb.UserID, sb.ForkOf, sb.Backup = uuid.NewString(), userID, of.ID, nil
	if sb.Name = name; name == "" {
		sb.Name = sb.ID
	}
	sb.State, sb.Desired = Forking, Started
	sb.ErrorReason, sb.Recoverable, sb.EndCause, sb.EndEvidence, sb.EndedAt = nil, false, "", "", nil
	sb.PreviewToken = newToken()
	sb.CreatedAt, sb.UpdatedAt, sb.StateSince, sb.LastActivityAt, sb.Version = now, now, now, now, 1
	sb, _, err = m.c.Store.CreateSandbox(ctx, sb, nil, m.admitAgain(sb.Resources()))
	return m.settle(ctx, sb, err, "fork", nudge{})
}

// Parent returns the sandbox that one was forked from.
func (m *Manager) Parent(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	sb, err := m.Get(ctx, orgID, idOrName)
	if err != nil {
		return Sandbox{}, err
	}
	if sb.ForkOf == "" {
		return Sandbox{}, fault.New(fault.NotFound, "Sandbox %s was not forked from another one", shorten(idOrName))
	}
	return m.Get(ctx, orgID, sb.ForkOf)
}

// forkIt has the runner make the fork.
func (m *Manager) forkIt(w *worker, sb Sandbox, member fleet.Member) error {
	ctx, done := m.withFiles(w, sb)
	defer done()
	got, err := member.Runner.Fork(ctx, sb.ForkOf, Spec(sb))
	if err == nil && got.State != runnerapi.StateStopped && got.State != runnerapi.StateRunning {
		err = unexpected(got)
	}
	switch {
	case err == nil:
		return m.step(sb, Starting, Change{})
	case errors.Is(ctx.Err(), context.Canceled):
		return nil
	case m.retries.failures(sb.ID)+1 < archiveAttempts && lastingLess(err):
		return again(err)
	}
	m.log.Error("sandbox could not be forked", "sandbox_id", sb.ID, "fork_of", sb.ForkOf, "runner_id", sb.RunnerID, "error", err)
	return m.fail(sb, reason("The sandbox could not be forked", err), false)
}
