package sandbox

import (
	"context"

	"daytona/controlplane/fleet"
	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

// Snapshot begins to make a snapshot of a sandbox's files, started or stopped,
// which it stays. What is done is over when the sandbox is no longer shown as
// snapshotting; what became of it the snapshot says. It waits like Start.
func (m *Manager) Snapshot(ctx context.Context, orgID, idOrName, name string) (Sandbox, error) {
	sb, err := m.Get(ctx, orgID, idOrName)
	if err != nil {
		return Sandbox{}, err
	}
	if err := sb.busy("make a snapshot of"); err != nil {
		return Sandbox{}, err
	}
	if !sb.atRest() || sb.Shown() != sb.State {
		return Sandbox{}, fault.New(fault.Invalid, "Sandbox is %s. A snapshot can be made of one that is started or stopped", sb.Shown())
	}
	// The snapshot comes first: when this process dies here it is made all the
	// same, and nobody waits for one that does not come.
	sn, err := m.c.Snapshots.Capture(ctx, snapshot.Capture{
		OrgID: orgID, Name: name, SandboxID: sb.ID, RunnerID: sb.RunnerID, Resources: sb.Resources(), Isolation: m.leastIsolation(ctx, sb),
	})
	if err != nil {
		return Sandbox{}, err
	}
	sb, err = m.begin(ctx, orgID, sb.ID, "made a snapshot of", func(sb Sandbox) (Work, Admit, error) {
		w := sb.work()
		w.Snapshotting = sn.ID
		return w, nil, nil
	})
	if err != nil { // something else was asked of the sandbox meanwhile
		if derr := m.c.Snapshots.Delete(context.WithoutCancel(ctx), snapshot.By{OrgID: orgID}, sn.ID); derr != nil {
			m.log.Warn("a snapshot stays that was not asked for in the end", "snapshot_id", sn.ID, "error", derr)
		}
		return Sandbox{}, err
	}
	return m.settle(ctx, sb, nil, "snapshot", nudge{})
}

// leastIsolation is the weakest isolation that sandboxes with the files of sb may
// have: what its own image or snapshot demanded.
func (m *Manager) leastIsolation(ctx context.Context, sb Sandbox) string {
	least := ""
	if img, err := m.c.Images.Get(ctx, sb.Image); err == nil {
		least = img.Isolation
	}
	if sb.SnapshotID == "" {
		return least
	}
	sn, err := m.c.Snapshots.Get(ctx, sb.OrgID, sb.SnapshotID)
	if err != nil { // it was deleted: what it demanded is not known any more
		return fleet.Stronger(least, sb.Isolation)
	}
	return fleet.Stronger(least, sn.Isolation)
}

// snapshotIt sees whether the snapshot is done, one way or the other.
func (m *Manager) snapshotIt(sb Sandbox) error {
	sn, err := m.c.Snapshots.Get(m.life, sb.OrgID, sb.Snapshotting)
	switch {
	case fault.Is(err, fault.NotFound): // deleted meanwhile
	case err != nil:
		return err
	case sn.State.Underway() && m.now().Sub(sn.CreatedAt) < filesLimit(sb):
		m.c.Images.Wake()
		return errWaiting
	}
	m.log.Info("snapshot of a sandbox is done", "sandbox_id", sb.ID, "org_id", sb.OrgID, "snapshot", sn.Name, "state", sn.State, "reason", deref(sn.ErrorReason))
	w := sb.work()
	w.Snapshotting = ""
	_, err = m.c.Store.SetSandboxWork(m.life, sb, w, nil, m.now())
	m.targets.drop(sb.ID)
	return err
}
