package runner

import (
	"context"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// offerTime is how long a reserved sandbox waits for its Create.
const offerTime = time.Minute

// Reserve offers a booted sandbox that fits spec.
func (r *Runner) Reserve(ctx context.Context, spec runnerapi.Spec) (string, bool) {
	want := r.cfg.complete(spec)
	now := time.Now()
	for _, sb := range r.all() {
		if r.reserve(sb, want, now) {
			return sb.id, true
		}
	}
	return "", false
}

func (r *Runner) reserve(sb *sandbox, want runnerapi.Spec, now time.Time) bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.op != nil || sb.gone || !fits(want, sb.rec) || !r.current(sb.rec) || now.Before(sb.rec.Warm.ReservedUntil) {
		return false
	}
	sb.rec.Warm = &warm{ReservedUntil: now.Add(offerTime)}
	sb.rec.Seq++
	// Written under the lock: a Create that comes at once must find its own
	// record newer than this one.
	if err := r.store.save(&sb.rec, false); err != nil {
		r.log.Warn("a reservation is not written", "sandbox", sb.id, "error", err)
		return false
	}
	return true
}

// Waiting lists the ids of the sandboxes that are booted and unclaimed.
func (r *Runner) Waiting() []string {
	var waiting []string
	for _, sb := range r.all() {
		if rec := sb.record(); rec.Warm != nil && rec.Phase == phaseRunning {
			waiting = append(waiting, sb.id)
		}
	}
	return waiting
}

// current says whether a waiting sandbox was made with today's toolbox.
// Outdated snapshots are found by the refill worker.
func (r *Runner) current(rec record) bool { return rec.Toolbox == r.toolbox.hash }

// claim gives a waiting sandbox the identity of spec. From the first write on
// it is no longer in the pool, whatever happens.
func (r *Runner) claim(ctx context.Context, sb *sandbox, spec runnerapi.Spec) (err error) {
	sw := r.newStopwatch(sb.record().Driver)
	defer func() { sw.log(ctx, "sandbox claimed", sb.id, err) }()
	if err := r.foreground(ctx, sb.record()); err != nil {
		return err
	}
	now := time.Now()
	err = r.update(sb, false, func(rec *record) {
		rec.Spec, rec.Warm, rec.Phase = spec, nil, phasePreparing
		rec.CreatedAt, rec.StartedAt, rec.Kept, rec.Born = now, now, true, true
	})
	if err != nil {
		return err
	}
	rec := sb.record()
	sb.mu.Lock()
	l := sb.link
	sb.mu.Unlock()
	if l == nil {
		return fault.New(fault.Internal, "the waiting sandbox has no toolbox")
	}
	var g errgroup.Group
	g.Go(func() error {
		return sw.phase(ctx, "claim_record", func(context.Context) error { return r.store.save(&rec, true) })
	})
	g.Go(func() error {
		// The policy before the identity: nothing of the user's may run under
		// a looser one.
		err := sw.phase(ctx, "claim_network", func(ctx context.Context) error {
			return r.cfg.Network.SetPolicy(ctx, sb.id, spec.Network)
		})
		if err != nil {
			return err
		}
		return sw.phase(ctx, "claim_init", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			return l.init(ctx, identityOf(spec, rec.User))
		})
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	// That it runs need not be written: recovery comes to the same end, by
	// giving the identity once more.
	sb.mu.Lock()
	sb.rec.Phase = phaseRunning
	sb.mu.Unlock()
	return nil
}

// foreground gives a sandbox that came from the pool its share of the processors.
func (r *Runner) foreground(ctx context.Context, rec record) error {
	d, err := r.driver(rec.Driver)
	if err != nil {
		return err
	}
	b, ok := d.(Backgrounder)
	if !ok || !rec.Bundle.Background {
		return nil
	}
	return b.SetBackground(ctx, rec.Bundle, false)
}

// wakeRefill makes the worker look at the pool.
func (r *Runner) wakeRefill() {
	select {
	case r.refill <- struct{}{}:
	default:
	}
}

// refillLoop keeps the pool filled, one boot at a time.
func (r *Runner) refillLoop(ctx context.Context) {
	const resync = 15 * time.Second
	pause := time.Second // after a failure, doubling
	for ctx.Err() == nil {
		wait := resync
		switch more, err := r.refillOnce(ctx); {
		case err != nil && ctx.Err() == nil:
			r.log.Warn("the warm pool cannot be filled", "error", err, "retry", pause)
			wait, pause = pause, min(2*pause, time.Minute)
		case more:
			pause = time.Second
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-r.refill:
		}
		timer.Stop()
	}
}

// refillOnce removes what is outdated, and boots one sandbox if one is missing.
// more says that there may be more to do at once.
func (r *Runner) refillOnce(ctx context.Context) (more bool, err error) {
	for snapshot, target := range r.cfg.Warm {
		img, err := r.cfg.Roots.Image(ctx, snapshot)
		if fault.Is(err, fault.NotFound) {
			continue // it is not made yet
		}
		if err != nil {
			return false, err
		}
		ready := 0
		for _, sb := range r.all() {
			rec := sb.record()
			if rec.Warm == nil || rec.Spec.Snapshot != snapshot || rec.Phase == phaseDeleting {
				continue
			}
			if rec.Image != img.Digest || !r.current(rec) || ready >= target {
				if err := r.dropWarm(ctx, sb.id); err != nil {
					return false, err
				}
				continue
			}
			ready++
		}
		r.metrics.warm.WithLabelValues(snapshot).Set(float64(ready))
		if ready >= target {
			continue
		}
		if ok, err := r.roomForWarm(); !ok || err != nil {
			return false, err
		}
		r.yieldToRequests(ctx)
		return true, r.bootWarm(ctx, snapshot)
	}
	return false, nil
}

// roomForWarm says whether the host has memory to spare.
func (r *Runner) roomForWarm() (bool, error) {
	mem, err := readMeminfo()
	return mem.availableMiB >= r.cfg.MemoryReserveMiB, err
}

// yieldToRequests lets creates that somebody waits for go first, and leaves the
// processors to what is done with a new sandbox first, for a while.
func (r *Runner) yieldToRequests(ctx context.Context) {
	const quiet, most = 250 * time.Millisecond, 3 * time.Second
	deadline := time.Now().Add(most)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		wait := quiet
		if r.busy.Load() == 0 {
			wait = quiet - time.Since(time.Unix(0, r.lastBusy.Load()))
		}
		if wait <= 0 {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// attend counts a create or start that somebody waits for, until the returned
// function is called.
func (r *Runner) attend() (done func()) {
	r.busy.Add(1)
	return func() {
		r.lastBusy.Store(time.Now().UnixNano())
		r.busy.Add(-1)
	}
}

// bootWarm adds one sandbox to the pool.
func (r *Runner) bootWarm(ctx context.Context, snapshot string) error {
	spec := r.cfg.complete(runnerapi.Spec{ID: uuid.NewString(), Snapshot: snapshot})
	check := func(*sandbox) (bool, error) { return true, nil }
	err := r.operate(ctx, spec.ID, opCreate, check, func(ctx context.Context, sb *sandbox) error {
		return r.makeNew(ctx, sb, record{Spec: spec, Driver: spec.Isolation, FromPool: true, Warm: &warm{}})
	})
	r.metrics.creates.WithLabelValues("pool", outcome(err)).Inc()
	return err
}

// dropWarm removes a sandbox if it is still in the pool and not on offer.
func (r *Runner) dropWarm(ctx context.Context, id string) error {
	check := func(sb *sandbox) (bool, error) {
		return sb.rec.Warm != nil && time.Now().After(sb.rec.Warm.ReservedUntil), nil
	}
	err := r.operate(ctx, id, opDrop, check, func(ctx context.Context, sb *sandbox) error {
		return r.destroy(ctx, sb, false)
	})
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
