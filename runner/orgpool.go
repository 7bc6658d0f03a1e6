package runner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// orgPools are the pools of organizations, as they were last asked for.
type orgPools struct {
	mu      sync.Mutex
	known   bool // SetPools was called: before, what waits may belong to any
	list    []pool
	trouble map[string]trouble // by the name of a pool, of the operator's too
}

// trouble is why a pool cannot be filled, and when that is tried again.
type trouble struct {
	err   error
	pause time.Duration
	until time.Time
}

// SetPools implements runnerapi.Runner.
func (r *Runner) SetPools(ctx context.Context, asked []runnerapi.Pool) ([]runnerapi.PoolState, error) {
	list := make([]pool, 0, len(asked))
	for _, a := range asked {
		if a.ID == "" || a.Spec.OrgID == "" || a.Target < 0 {
			return nil, fault.New(fault.Invalid, "pool %q: an id, an organization and a size of 0 or more are required", a.ID)
		}
		p := pool{name: a.ID, id: a.ID, org: a.Spec.OrgID, spec: r.cfg.complete(a.Spec), target: a.Target}
		p.spec.OrgID = "" // who gets one is its owner from then on
		if _, err := r.driver(p.spec.Isolation); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	r.asked.mu.Lock()
	changed := !r.asked.known || !slices.EqualFunc(r.asked.list, list, func(a, b pool) bool { return a.id == b.id && a.target == b.target })
	for _, old := range r.asked.list { // what is told of a pool ends with it
		if !slices.ContainsFunc(list, func(p pool) bool { return p.id == old.id }) {
			delete(r.asked.trouble, old.name)
			r.metrics.offers.DeletePartialMatch(prometheus.Labels{"snapshot": old.name})
			r.metrics.drops.DeletePartialMatch(prometheus.Labels{"snapshot": old.name})
		}
	}
	r.asked.known, r.asked.list = true, list
	r.asked.mu.Unlock()
	if changed {
		r.wakeRefill()
	}
	ready := r.readyOf(list)
	states := make([]runnerapi.PoolState, len(list))
	for i, p := range list {
		states[i] = runnerapi.PoolState{ID: p.id, Ready: ready[p.name]}
		if states[i].Ready < p.target {
			states[i].Reason = r.whyNot(ctx, p)
		}
	}
	return states, nil
}

// whyNot says why a pool is not full, if there is more to it than time.
func (r *Runner) whyNot(ctx context.Context, p pool) string {
	if _, err := r.cfg.Roots.Image(ctx, p.spec.Snapshot); err != nil {
		return "The snapshot is not on the runner"
	}
	if ok, err := r.roomForWarm(); !ok && err == nil {
		return "The runner has no memory to spare at the moment"
	}
	r.asked.mu.Lock()
	defer r.asked.mu.Unlock()
	t, ok := r.asked.trouble[p.name]
	if !ok {
		return ""
	}
	if f, ok := errors.AsType[*fault.Error](t.err); ok && f.Kind != fault.Internal {
		return f.Text
	}
	return "A sandbox of the snapshot could not be started"
}

// allPools are the operator's, and then those of organizations.
func (r *Runner) allPools() []pool {
	r.asked.mu.Lock()
	defer r.asked.mu.Unlock()
	return append(slices.Clone(r.pools), r.asked.list...)
}

// mayBelong says that a waiting sandbox is of an organization's pool, of which
// nobody has spoken yet since the start.
func (r *Runner) mayBelong(rec record) bool {
	r.asked.mu.Lock()
	defer r.asked.mu.Unlock()
	return rec.Warm.Pool != "" && !r.asked.known
}

// rests says that a pool could not be filled a short while ago.
func (r *Runner) rests(p pool, now time.Time) bool {
	r.asked.mu.Lock()
	defer r.asked.mu.Unlock()
	return now.Before(r.asked.trouble[p.name].until)
}

// restLeft is how long until the first pool that rests does no more, an hour when
// none does.
func (r *Runner) restLeft(now time.Time) time.Duration {
	r.asked.mu.Lock()
	defer r.asked.mu.Unlock()
	left := time.Hour
	for _, t := range r.asked.trouble {
		left = min(left, t.until.Sub(now))
	}
	return left
}

// filled notes how filling a pool ended. One that fails is left alone for a
// while, twice as long each time, and the others are not.
func (r *Runner) filled(p pool, err error, now time.Time) {
	r.asked.mu.Lock()
	defer r.asked.mu.Unlock()
	if err == nil {
		delete(r.asked.trouble, p.name)
		return
	}
	if r.asked.trouble == nil {
		r.asked.trouble = make(map[string]trouble)
	}
	pause := min(max(2*r.asked.trouble[p.name].pause, time.Second), time.Minute)
	r.asked.trouble[p.name] = trouble{err: err, pause: pause, until: now.Add(pause)}
	r.log.Warn("a warm pool cannot be filled", "pool", p.name, "error", err, "retry", pause)
}
