package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// found is a container that a driver reports.
type found struct {
	driver Driver
	Container
}

// step is what recovery does with one record.
type step string

const (
	stepAdopt   step = "adopt"   // it runs: watch it, touch nothing
	stepFinish  step = "finish"  // it runs, its create did not end: finish that
	stepEnd     step = "end"     // it ended while nobody watched
	stepUndo    step = "undo"    // it never ran: remove what there is of it
	stepStop    step = "stop"    // finish stopping
	stepDestroy step = "destroy" // finish deleting, or nobody can want it
	stepKeep    step = "keep"    // nothing is running, nothing is to do
)

// decide is the rule of recovery. alive says that the container's processes
// run; buried that the id has a tombstone; rebooted that the host went down
// since the container was started.
func decide(rec record, alive, buried, rebooted bool) step {
	switch {
	case buried, rec.Phase == phaseDeleting, rec.Build:
		return stepDestroy
	case rec.Warm != nil:
		if rec.Phase == phaseRunning && alive {
			return stepAdopt
		}
		return stepDestroy
	case rec.Phase == phaseStopping:
		return stepStop
	case rec.Phase == phaseRunning && alive:
		return stepAdopt
	case rec.Phase == phaseRunning:
		return stepEnd
	case rec.Phase == phasePreparing && alive:
		return stepFinish
	case rec.Phase == phasePreparing && (rec.Born || rec.Kept && rebooted):
		// Started anew; or running when the power went, with the last
		// write lost. Either way somebody's data is in the root.
		return stepEnd
	case rec.Phase == phasePreparing:
		return stepUndo
	default:
		return stepKeep
	}
}

// recover makes memory, records and the world agree. It is called before
// anything else may happen.
func (r *Runner) recover(ctx context.Context) error {
	recs, leftover, err := r.store.load()
	if err != nil {
		return err
	}
	containers, err := r.containers(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for i := range recs {
		rec := &recs[i]
		known[rec.Spec.ID] = true
		r.userns.hold(rec.UserNS)
		r.sandboxes[rec.Spec.ID] = &sandbox{id: rec.Spec.ID, rec: *rec}
	}
	// First what nobody knows: it may hold what a known one needs.
	for id, c := range containers {
		if !known[id] || c.driver.Name() != r.sandboxes[id].rec.Driver {
			r.log.Info("removing a container without a record", "sandbox", id, "isolation", c.driver.Name())
			if err := c.driver.Delete(ctx, id); err != nil {
				return fmt.Errorf("remove container %s: %w", id, err)
			}
			delete(containers, id)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(r.cfg.Parallel)
	for _, sb := range r.all() {
		g.Go(func() error {
			if err := r.recoverOne(gctx, sb, containers[sb.id]); err != nil {
				// One that cannot be settled must not keep the others down.
				r.log.Error("a sandbox could not be recovered", "sandbox", sb.id, "phase", sb.record().Phase, "error", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.sweep(ctx, leftover)
}

// containers asks every driver what it has.
func (r *Runner) containers(ctx context.Context) (map[string]found, error) {
	all := map[string]found{}
	for _, d := range r.cfg.Drivers {
		list, err := d.List(ctx)
		if err != nil {
			return nil, fmt.Errorf("list %s containers: %w", d.Name(), err)
		}
		for _, c := range list {
			all[c.ID] = found{driver: d, Container: c}
		}
	}
	return all, nil
}

func (r *Runner) recoverOne(ctx context.Context, sb *sandbox, c found) error {
	rec := sb.record()
	rebooted := rec.BootID != "" && rec.BootID != r.bootID
	what := decide(rec, c.Running, r.store.buried(sb.id), rebooted)
	if what != stepKeep {
		r.log.Info("recovering a sandbox", "sandbox", sb.id, "phase", rec.Phase, "step", what)
	}
	defer func() { // as operate does
		if sb.record().Phase == "" {
			sb.gone = true
			r.forget(sb)
		}
	}()
	switch what {
	case stepAdopt:
		return r.adopt(ctx, sb, c.driver, rec)
	case stepFinish:
		return r.finish(ctx, sb, c.driver, rec)
	case stepEnd:
		end := r.lostEnd(ctx, c, rec, rebooted)
		err := r.settle(ctx, sb, end)
		return err
	case stepUndo:
		if err := r.clear(ctx, sb); err != nil {
			return err
		}
		end := runnerapi.End{
			Cause: runnerapi.CauseStartFailed, ExitCode: -1, At: time.Now(),
			Evidence: "the runner was interrupted while it was made",
		}
		return r.update(sb, false, func(rec *record) {
			*rec = record{Seq: rec.Seq, Spec: rec.Spec, Driver: rec.Driver, CreatedAt: rec.CreatedAt, Phase: phaseFailed, End: &end}
		})
	case stepStop:
		if c.driver != nil && c.Running {
			if err := r.cfg.Roots.Thaw(ctx, sb.id); err != nil {
				return err
			}
			if err := c.driver.Stop(ctx, sb.id, 0); err != nil {
				return err
			}
		}
		end := runnerapi.End{Cause: runnerapi.CauseUser, ExitCode: -1, At: time.Now(), Evidence: "it was stopped"}
		if rec.End != nil {
			end = *rec.End
		}
		return r.settle(ctx, sb, end)
	case stepDestroy:
		return r.destroy(ctx, sb, rec.Warm == nil && !rec.Build)
	}
	return nil
}

// adopt watches a container that runs. One of the pool must answer; any other
// is left alone even when it is slow.
func (r *Runner) adopt(ctx context.Context, sb *sandbox, d Driver, rec record) error {
	l := newLink(d, rec.Bundle, rec.Token)
	if rec.Warm != nil {
		ping, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if err := l.ping(ping); err != nil || !r.current(rec) {
			l.close()
			return r.destroy(ctx, sb, false)
		}
	}
	sb.mu.Lock()
	sb.watch, sb.link = r.startWatch(sb, d), l
	sb.mu.Unlock()
	if rec.Warm == nil {
		// Killed between the record of a changed policy and the rules.
		if err := r.cfg.Network.SetPolicy(ctx, sb.id, rec.Spec.Network); err != nil {
			r.log.Error("the network policy of a running sandbox could not be set again", "sandbox", sb.id, "error", err)
		}
		r.foregroundAgain(ctx, rec)
		go func() {
			ping, cancel := context.WithTimeout(r.ctx, 30*time.Second)
			defer cancel()
			if err := l.ping(ping); err != nil && r.ctx.Err() == nil {
				r.log.Warn("the toolbox of a running sandbox does not answer", "sandbox", sb.id, "error", err)
			}
		}()
	}
	return nil
}

// foregroundAgain repeats what a claim did, of which no record tells whether it
// was done before the runner was killed.
func (r *Runner) foregroundAgain(ctx context.Context, rec record) {
	if err := r.foreground(ctx, rec); err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
		r.log.Warn("a sandbox keeps only the processor time that no other wants", "sandbox", rec.Spec.ID, "error", err)
	}
}

// finishPatience bounds how long a start waits for one sandbox that was being
// made when the runner ended.
const finishPatience = 20 * time.Second

// finish brings a create, claim or start to its end that was interrupted after
// its container had started.
func (r *Runner) finish(ctx context.Context, sb *sandbox, d Driver, rec record) error {
	r.foregroundAgain(ctx, rec)
	err := r.cfg.Network.SetPolicy(ctx, sb.id, rec.Spec.Network)
	if err == nil {
		sw := r.newStopwatch(rec.Driver)
		attempt, cancel := context.WithTimeoutCause(ctx, finishPatience, errNotReady)
		err = r.attach(attempt, sw, sb, d)
		cancel()
		sw.log(ctx, "interrupted boot finished", sb.id, err)
	}
	if errors.Is(err, errNotReady) && rec.Born {
		// It may be somebody's, and only slow: leave it alone.
		return r.update(sb, false, func(rec *record) { rec.Phase = phaseRunning })
	}
	if err != nil {
		if err := r.bootFailed(ctx, sb, !rec.Born, err); fault.Is(err, fault.Unavailable) {
			return err
		}
	}
	return nil
}

// lostEnd says how a sandbox ended while nobody watched.
func (r *Runner) lostEnd(ctx context.Context, c found, rec record, rebooted bool) runnerapi.End {
	if rebooted {
		return runnerapi.End{
			Cause: runnerapi.CauseHostLost, ExitCode: -1, At: time.Now(),
			Evidence: "the host was started anew",
		}
	}
	if c.driver != nil {
		wait, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if end, err := c.driver.Wait(wait, rec.Spec.ID); err == nil {
			return r.judge(ctx, rec.Spec.ID, normalEnd(end))
		}
	}
	if rec.Phase == phasePreparing {
		return runnerapi.End{
			Cause: runnerapi.CauseStartFailed, ExitCode: -1, At: time.Now(),
			Evidence: "the runner was interrupted while it was started",
		}
	}
	return runnerapi.End{
		Cause: runnerapi.CauseExit, ExitCode: -1, At: time.Now(),
		Evidence: "it ended while the runner was not running",
	}
}

// sweep removes what belongs to no sandbox.
func (r *Runner) sweep(ctx context.Context, leftover []string) error {
	var roots, slots []string
	programs := map[string]bool{filepath.Base(r.toolbox.path): true}
	for _, sb := range r.all() {
		rec := sb.record()
		if rec.Phase != phaseFailed {
			roots = append(roots, sb.id)
		}
		if rec.Phase != phaseFailed && rec.Phase != phaseStopped {
			slots = append(slots, sb.id)
			programs[rec.Toolbox] = true
		}
	}
	if err := r.cfg.Network.Reconcile(ctx, slots); err != nil {
		return fmt.Errorf("network leftovers: %w", err)
	}
	if err := r.cfg.Roots.Reconcile(ctx, roots); err != nil {
		return fmt.Errorf("root leftovers: %w", err)
	}
	for _, id := range leftover {
		if err := r.store.remove(id); err != nil {
			return err
		}
	}
	if err := dropPrograms(filepath.Dir(r.toolbox.path), programs); err != nil {
		r.log.Warn("old toolbox programs stay", "error", err)
	}
	return nil
}
