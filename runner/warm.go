package runner

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// offerTime is how long a reserved sandbox waits for its Create.
const offerTime = time.Minute

// claimPatience is how long the toolbox of a waiting sandbox may take to accept an
// identity. Whoever waits for it gets a new sandbox after that.
const claimPatience = 3 * time.Second

// Reserve offers a booted sandbox that fits spec.
func (r *Runner) Reserve(ctx context.Context, spec runnerapi.Spec) (string, bool) {
	want := r.cfg.complete(spec)
	now := time.Now()
	img, err := r.cfg.Roots.Image(ctx, want.Snapshot)
	if err != nil { // not there, or not any more
		return "", false
	}
	id, outcome := "", "miss"
	for _, org := range []string{want.OrgID, ""} { // the organization's own first
		for _, sb := range r.all() {
			if r.reserve(sb, want, org, img.Digest, now) {
				id, outcome = sb.id, "hit"
				break
			}
		}
		if id != "" || org == "" {
			break
		}
	}
	if p, ok := r.poolOf(want); ok {
		r.metrics.offers.WithLabelValues(p.name, outcome).Inc()
		if id == "" {
			r.wakeRefill() // what waits may be outdated
		}
	}
	return id, id != ""
}

// reserve never offers one sandbox twice, one that was made of what the snapshot
// was before, or one that is known to be unwell.
func (r *Runner) reserve(sb *sandbox, want runnerapi.Spec, org, digest string, now time.Time) bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	switch {
	case sb.op != nil, sb.gone, sb.sick, sb.watch.over(), !fits(want, sb.rec):
		return false
	case sb.rec.Warm.OrgID != org, sb.rec.Image != digest, !r.current(sb.rec), now.Before(sb.rec.Warm.ReservedUntil):
		return false
	}
	offered := *sb.rec.Warm
	offered.ReservedUntil = now.Add(offerTime)
	sb.rec.Warm = &offered
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
			ctx, cancel := context.WithTimeout(ctx, claimPatience)
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

// refillLoop keeps the pools filled, one boot at a time, and looks after what waits.
func (r *Runner) refillLoop(ctx context.Context) {
	const resync = 15 * time.Second
	pause := time.Second // after a failure, doubling
	var checked time.Time
	for ctx.Err() == nil {
		wait := resync
		if time.Since(checked) >= resync {
			r.checkWarm(ctx)
			checked = time.Now()
		}
		switch more, err := r.refillOnce(ctx); {
		case err != nil && ctx.Err() == nil:
			r.log.Warn("the warm pool cannot be filled", "error", err, "retry", pause)
			wait, pause = pause, min(2*pause, time.Minute)
		case more:
			pause, wait = time.Second, r.cfg.RefillEvery
		}
		if wait > r.cfg.RefillEvery {
			wait = min(wait, max(r.restLeft(time.Now()), r.cfg.RefillEvery+1))
		}
		timer := time.NewTimer(wait)
		if wait == r.cfg.RefillEvery { // more to do, and no sooner than this
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-r.refill:
		}
		timer.Stop()
	}
}

// checkWarm removes waiting sandboxes whose toolbox does not answer.
func (r *Runner) checkWarm(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(8)
	for _, sb := range r.all() {
		sb.mu.Lock()
		rec, l := sb.rec, sb.link
		sb.mu.Unlock()
		if rec.Warm == nil || rec.Phase != phaseRunning || l == nil {
			continue
		}
		g.Go(func() error {
			ping, cancel := context.WithTimeout(ctx, claimPatience)
			defer cancel()
			if err := l.ping(ping); err == nil || ctx.Err() != nil {
				return nil
			}
			sb.mu.Lock()
			sb.sick = true // not offered from here on
			sb.mu.Unlock()
			r.log.Warn("a waiting sandbox does not answer and is removed", "sandbox", sb.id, "snapshot", rec.Spec.Snapshot)
			return r.dropWarm(ctx, sb.id, "unhealthy")
		})
	}
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		r.log.Warn("waiting sandboxes that do not answer are still there", "error", err)
	}
}

// refillOnce removes what is outdated, and boots one sandbox if one is missing.
// more says that there may be more to do at once.
func (r *Runner) refillOnce(ctx context.Context) (more bool, err error) {
	// First what no pool wants: it takes memory from what one does.
	digest := make(map[string]string)
	pools := r.allPools()
	for _, p := range pools {
		img, err := r.cfg.Roots.Image(ctx, p.spec.Snapshot)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return false, err
		}
		digest[p.name] = img.Digest // "" when it is not made yet, or not any more
	}
	ready := make(map[string]int)
	for _, sb := range r.all() {
		rec := sb.record()
		if rec.Warm == nil || rec.Phase == phaseDeleting || r.mayBelong(rec) {
			continue
		}
		i := slices.IndexFunc(pools, func(p pool) bool { return p.owns(rec) })
		reason := "outdated"
		if i >= 0 && rec.Image == digest[pools[i].name] && r.current(rec) {
			p := pools[i]
			if ready[p.name] < p.target {
				ready[p.name]++
				continue
			}
			reason = "surplus"
		}
		if err := r.dropWarm(ctx, sb.id, reason); err != nil {
			return false, err
		}
	}
	// The one with the fewest, so that a large pool does not keep others empty.
	now := time.Now()
	var next *pool
	for i, p := range pools {
		if ready[p.name] < p.target && digest[p.name] != "" && !r.rests(p, now) && (next == nil || ready[p.name] < ready[next.name]) {
			next = &pools[i]
		}
	}
	if next == nil {
		return false, nil
	}
	if ok, err := r.roomForWarm(); !ok || err != nil {
		return false, err
	}
	r.yieldToRequests(ctx)
	if err := r.bootWarm(ctx, *next); ctx.Err() == nil {
		r.filled(*next, err, time.Now())
	}
	return true, ctx.Err()
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

// bootWarm adds one sandbox to a pool.
func (r *Runner) bootWarm(ctx context.Context, p pool) error {
	spec := p.spec
	spec.ID = uuid.NewString()
	check := func(*sandbox) (bool, error) { return true, nil }
	err := r.operate(ctx, spec.ID, opCreate, check, func(ctx context.Context, sb *sandbox) error {
		return r.makeNew(ctx, sb, record{Spec: spec, Driver: spec.Isolation, FromPool: true, Warm: &warm{Pool: p.id, OrgID: p.org}})
	})
	r.metrics.creates.WithLabelValues("pool", outcome(err)).Inc()
	return err
}

// dropWarm removes a sandbox if it is still in the pool and not on offer.
func (r *Runner) dropWarm(ctx context.Context, id, reason string) error {
	snapshot := ""
	check := func(sb *sandbox) (bool, error) {
		return sb.rec.Warm != nil && time.Now().After(sb.rec.Warm.ReservedUntil), nil
	}
	err := r.operate(ctx, id, opDrop, check, func(ctx context.Context, sb *sandbox) error {
		snapshot = sb.record().Spec.Snapshot
		return r.destroy(ctx, sb, false)
	})
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err == nil && snapshot != "" {
		r.metrics.drops.WithLabelValues(snapshot, reason).Inc()
	}
	return err
}
