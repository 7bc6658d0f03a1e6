package runner

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner/rootfs"
)

// Start boots a stopped sandbox over the root that it had.
func (r *Runner) Start(ctx context.Context, id string) (runnerapi.Sandbox, error) {
	defer r.attend()()
	check := func(sb *sandbox) (bool, error) {
		switch rec := &sb.rec; {
		case rec.Phase == "" || rec.hidden():
			return false, errUnknown(id)
		case rec.Phase == phaseRunning:
			return false, nil
		case rec.Phase == phaseStopped:
			return true, nil
		case rec.Phase == phaseFailed:
			return false, fault.New(fault.Conflict, "sandbox %s could not be made, so it cannot be started", id)
		default:
			return false, fault.New(fault.Conflict, "sandbox %s cannot be started while it is %s", id, rec.Phase)
		}
	}
	err := r.operate(ctx, id, opStart, check, func(ctx context.Context, sb *sandbox) error {
		rec := sb.record()
		// The image may be gone by now, and the root does not need it.
		var img rootfs.Image
		if rec.Settings != nil {
			img.Config = *rec.Settings
		} else {
			var err error
			if img, err = r.cfg.Roots.Image(ctx, rec.Spec.Snapshot); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
		}
		if err := r.update(sb, false, func(rec *record) { rec.Phase, rec.StartedAt = phasePreparing, time.Time{} }); err != nil {
			return errors.Join(err, r.update(sb, false, func(rec *record) { rec.Phase = phaseStopped }))
		}
		return r.boot(ctx, sb, img, false)
	})
	if err != nil {
		return runnerapi.Sandbox{}, err
	}
	return r.Inspect(ctx, id)
}

// Stop ends every process of a sandbox and keeps its root.
func (r *Runner) Stop(ctx context.Context, id string, force bool) (runnerapi.Sandbox, error) {
	k, grace := opStop, r.cfg.StopGrace
	if force {
		k, grace = opKill, 0
	}
	check := func(sb *sandbox) (bool, error) {
		switch rec := &sb.rec; {
		case rec.Phase == "" || rec.hidden():
			return false, errUnknown(id)
		case rec.Phase == phaseStopped || rec.Phase == phaseFailed:
			return false, nil
		case rec.Phase == phaseDeleting:
			return false, fault.New(fault.Conflict, "sandbox %s is being deleted", id)
		default:
			return true, nil
		}
	}
	err := r.operate(ctx, id, k, check, func(ctx context.Context, sb *sandbox) error {
		return r.stop(ctx, sb, grace)
	})
	if err != nil && !errors.Is(err, errForced) { // a forced stop took over; it answers for itself
		return runnerapi.Sandbox{}, err
	}
	return r.Inspect(ctx, id)
}

// stop owns the operation.
func (r *Runner) stop(ctx context.Context, sb *sandbox, grace time.Duration) error {
	d, err := r.driver(sb.record().Driver)
	if err != nil {
		return err
	}
	end, endedBefore := r.detach(sb)
	if !endedBefore {
		end = runnerapi.End{Cause: runnerapi.CauseUser, ExitCode: -1, At: time.Now(), Evidence: "it was stopped"}
	}
	if err := r.update(sb, false, func(rec *record) { rec.Phase, rec.End = phaseStopping, &end }); err != nil {
		r.log.Error("the intent to stop is not written", "sandbox", sb.id, "error", err)
	}
	// What waits for room on a full disk cannot be ended.
	if err := r.cfg.Roots.Thaw(ctx, sb.id); err != nil {
		return err
	}
	if err := d.Stop(ctx, sb.id, grace); err != nil && !fault.Is(err, fault.NotFound) {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return r.settle(ctx, sb, end)
}

// detach takes the watch and the connections off a sandbox. When its container
// has ended by itself already, it says how.
func (r *Runner) detach(sb *sandbox) (end runnerapi.End, ended bool) {
	sb.mu.Lock()
	w, l := sb.watch, sb.link
	sb.watch, sb.link = nil, nil
	sb.mu.Unlock()
	if l != nil {
		l.close()
	}
	if w == nil {
		return end, false
	}
	w.cancel()
	select {
	case <-w.ended:
		return w.end, true
	default:
		return end, false
	}
}

// settle brings a sandbox to phase stopped: no container, no network, no mount.
func (r *Runner) settle(ctx context.Context, sb *sandbox, end runnerapi.End) error {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	r.detach(sb)
	rec := sb.record()
	d, err := r.driver(rec.Driver)
	if err != nil {
		return err
	}
	if err := r.cfg.Roots.Thaw(ctx, sb.id); err != nil {
		return err
	}
	if err := d.Delete(ctx, sb.id); err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error { return r.cfg.Network.Release(ctx, sb.id) })
	g.Go(func() error { return r.cfg.Roots.Unmount(ctx, sb.id) })
	if err := g.Wait(); err != nil {
		return err
	}
	r.metrics.ends.WithLabelValues(string(end.Cause)).Inc()
	return r.update(sb, true, func(rec *record) { rec.Phase, rec.End, rec.Born = phaseStopped, &end, true })
}

// clear removes what a sandbox has outside of its record.
func (r *Runner) clear(ctx context.Context, sb *sandbox) error {
	r.detach(sb)
	rec := sb.record()
	if err := r.cfg.Roots.Thaw(ctx, sb.id); err != nil {
		return err
	}
	if d := r.drivers[rec.Driver]; d != nil {
		if err := d.Delete(ctx, sb.id); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.Go(func() error { return r.cfg.Network.Release(ctx, sb.id) })
	g.Go(func() error { return r.cfg.Roots.Delete(ctx, sb.id) })
	if err := g.Wait(); err != nil {
		return err
	}
	r.userns.give(rec.UserNS)
	return nil
}

// destroy removes everything of a sandbox. With tombstone set, its id is
// remembered as deleted.
func (r *Runner) destroy(ctx context.Context, sb *sandbox, tombstone bool) error {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	// The intent must survive a power cut; the disk is waited for while the
	// container goes.
	if err := r.update(sb, false, func(rec *record) { rec.Phase = phaseDeleting }); err != nil {
		r.log.Error("the intent to delete is not written", "sandbox", sb.id, "error", err)
	}
	durable := make(chan error, 1)
	if rec := sb.record(); tombstone {
		go func() { durable <- r.store.save(&rec, true) }()
	} else {
		durable <- nil
	}
	err := r.clear(ctx, sb)
	if derr := <-durable; derr != nil {
		// A full disk must not stand in the way of what makes room.
		r.log.Error("the intent to delete is not written", "sandbox", sb.id, "error", derr)
	}
	if err != nil {
		return err
	}
	if tombstone {
		if err := r.store.bury(sb.id, time.Now()); err != nil {
			r.log.Error("a tombstone is not written", "sandbox", sb.id, "error", err)
		}
	}
	if err := r.store.remove(sb.id); err != nil {
		return err
	}
	sb.mu.Lock()
	sb.rec = record{} // operate takes it out of the map
	sb.mu.Unlock()
	return nil
}

// Delete removes a sandbox from every state.
func (r *Runner) Delete(ctx context.Context, id string) error {
	check := func(sb *sandbox) (bool, error) { return sb.rec.Phase != "", nil }
	err := r.operate(ctx, id, opDelete, check, func(ctx context.Context, sb *sandbox) error {
		return r.destroy(ctx, sb, true)
	})
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
