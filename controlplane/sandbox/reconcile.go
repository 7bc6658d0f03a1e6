package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/internal/fault"
)

const (
	flushEvery = 5 * time.Second
	keepKeys   = 24 * time.Hour // how long idempotency keys are remembered
	closeGrace = 10 * time.Second
)

// Run keeps sandboxes as they should be until ctx ends: it follows the runners'
// events, wakes up for what is due, and compares everything now and then. It
// then waits for the steps under way and closes the Manager. It stops no sandbox.
func (m *Manager) Run(ctx context.Context) error {
	defer m.Close()
	// Apart, so that a runner that hangs holds up nothing but itself.
	var loops sync.WaitGroup
	loops.Go(func() { m.wakeLoop(ctx) })
	loops.Go(func() { m.flushLoop(ctx) })
	loops.Go(func() { m.resyncLoop(ctx) })
	loops.Wait()
	return nil
}

// Close stores what is only in memory and waits a while for steps under way to
// end; runners go on with theirs. A call after it changes rows, which the next
// process carries out.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	m.flush(ctx)
	m.end()
	idle := make(chan struct{})
	go func() {
		m.busy.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		m.log.Warn("closing although a runner does not let go of a call")
	}
}

func (m *Manager) resyncLoop(ctx context.Context) {
	watching := &sync.Map{}
	for ctx.Err() == nil {
		m.watchNew(ctx, watching)
		if _, err := m.runOnce(ctx, m.now(), m.soon); err != nil && ctx.Err() == nil {
			m.log.Warn("sandboxes not compared with the runners", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(m.c.Resync):
		}
	}
}

func (m *Manager) flushLoop(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.flush(ctx)
		}
	}
}

func (m *Manager) wakeLoop(ctx context.Context) {
	gate := make(chan struct{}, m.c.Workers)
	alarm := time.NewTimer(m.untilDue())
	defer alarm.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.timers.changed:
		case <-alarm.C:
			m.wake(ctx, gate)
		}
		alarm.Reset(m.untilDue())
	}
}

// watchNew follows the events of runners that joined since the last call, or
// whose events ended.
func (m *Manager) watchNew(ctx context.Context, watching *sync.Map) {
	for _, member := range m.c.Runners.Members() {
		if _, already := watching.LoadOrStore(member.ID, true); already {
			continue
		}
		events := member.Runner.Watch(ctx)
		m.busy.Go(func() {
			defer watching.Delete(member.ID)
			for e := range events {
				if e.Snapshot == "" {
					m.kick(e.Sandbox.ID, nudge{inspect: true})
					continue
				}
				for _, id := range m.waiting.on(e.Snapshot) {
					m.soon(id, nudge{})
				}
			}
		})
	}
}

// wake drives what is due, at most Workers at once.
func (m *Manager) wake(ctx context.Context, gate chan struct{}) {
	ids, _ := m.timers.due(m.now())
	for _, id := range ids {
		if m.driven(id) { // it has its place already, and will look again
			m.kick(id, nudge{})
			continue
		}
		select {
		case gate <- struct{}{}:
		case <-ctx.Done():
			return
		}
		_, suspect := m.suspects.LoadAndDelete(id)
		done := m.kick(id, nudge{inspect: suspect})
		m.busy.Go(func() {
			<-done
			<-gate
		})
	}
}

func (m *Manager) driven(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.workers[id] != nil
}

// soon has a sandbox driven by the wake loop, which bounds how many are.
func (m *Manager) soon(id string, n nudge) {
	if n.inspect {
		m.suspects.Store(id, true)
	}
	m.timers.set(id, m.now())
}

func (m *Manager) untilDue() time.Duration {
	m.timers.mu.Lock()
	defer m.timers.mu.Unlock()
	if len(m.timers.heap) == 0 {
		return time.Hour
	}
	return max(m.timers.heap[0].at.Sub(m.now()), time.Millisecond)
}

func (m *Manager) flush(ctx context.Context) {
	notes := m.activity.pending()
	if len(notes) > 0 {
		if err := m.c.Store.TouchSandboxes(ctx, notes); err != nil {
			m.log.Warn("activity not stored; it will be tried again", "sandboxes", len(notes), "error", err)
			return
		}
	}
	m.activity.stored(notes, m.now())
}

// Resynced counts what one comparison found.
type Resynced struct {
	Rows    int // looked at
	Driven  int // needed a step
	Strange int // on a runner without a row that wants it; removed
	Purged  int // rows and keys that had lasted long enough
}

// runOnce compares every row with what its runner reports and hands those that
// differ, or are not as they should be, to drive. Runners that another server
// leads, or that do not answer, are left out.
func (m *Manager) runOnce(ctx context.Context, now time.Time, drive func(id string, n nudge)) (Resynced, error) {
	var total Resynced
	var errs []error
	for _, member := range m.c.Runners.Members() {
		r, err := m.resync(ctx, member, drive)
		m.met.resyncs.WithLabelValues(outcome(err)).Inc()
		total.Rows, total.Driven, total.Strange = total.Rows+r.Rows, total.Driven+r.Driven, total.Strange+r.Strange
		if err != nil {
			errs = append(errs, fmt.Errorf("runner %s: %w", member.ID, err))
		}
	}
	homeless, err := m.resyncArchived(ctx, drive)
	total.Rows, total.Driven = total.Rows+homeless.Rows, total.Driven+homeless.Driven
	errs = append(errs, err)
	n, err := m.c.Store.PurgeSandboxes(ctx, now.Add(-KeepDestroyed), now.Add(-keepKeys))
	total.Purged = n
	return total, errors.Join(append(errs, err)...)
}

func (m *Manager) resync(ctx context.Context, member fleet.Member, drive func(id string, n nudge)) (Resynced, error) {
	var r Resynced
	lead, err := m.c.Store.Lead(ctx, member.ID)
	if err != nil || !lead {
		return r, err
	}
	// The runner first: a row is always older than what it made there.
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	seen, err := member.Runner.List(call)
	if err != nil {
		return r, err
	}
	rows, err := m.c.Store.SandboxesOn(ctx, member.ID)
	if err != nil {
		return r, err
	}
	r.Rows = len(rows)
	there := make(map[string]runnerapi.Sandbox, len(seen))
	for _, s := range seen {
		there[s.ID] = s
	}
	var errs []error
	for _, sb := range rows {
		s, found := there[sb.ID]
		delete(there, sb.ID)
		if !found {
			s = runnerapi.Sandbox{ID: sb.ID, State: runnerapi.StateDeleted}
		}
		if sb.State == Destroyed {
			if s.State != runnerapi.StateDeleted { // restored from an old copy of its disk, say
				r.Strange++
				errs = append(errs, remove(ctx, member, sb.ID))
			}
			continue
		}
		sb = m.withActivity(sb)
		n := nudge{}
		if _, differs := Observe(sb, s, m.now()); differs {
			n.inspect = true
		} else if step := m.next(sb); step.Do == DoNothing {
			m.timers.set(sb.ID, step.At)
			continue
		}
		r.Driven++
		drive(sb.ID, n)
	}
	strange, err := m.removeStrange(ctx, member, there, len(rows))
	r.Strange += strange
	return r, errors.Join(append(errs, err)...)
}

// removeStrange deletes from a runner what has no row. A row comes before its
// sandbox and outlasts it, so there is none but after a loss: of a row by a
// restored backup, or of the way to the right database. In that last case no
// sandbox at all would be known here, and nothing is touched.
func (m *Manager) removeStrange(ctx context.Context, member fleet.Member, strange map[string]runnerapi.Sandbox, rows int) (int, error) {
	if len(strange) == 0 {
		return 0, nil
	}
	if rows == 0 {
		m.log.Error("the runner has sandboxes but the database knows none of them; is this the right database? Nothing was removed",
			"runner_id", member.ID, "sandboxes", len(strange))
		return 0, nil
	}
	n := 0
	var errs []error
	for id := range strange {
		if _, err := m.c.Store.Sandbox(ctx, id); !fault.Is(err, fault.NotFound) {
			continue // made meanwhile, or not to be found out
		}
		m.log.Warn("removing a sandbox that has no row", "sandbox_id", id, "runner_id", member.ID)
		if err := remove(ctx, member, id); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

func remove(ctx context.Context, member fleet.Member, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return member.Runner.Delete(ctx, id)
}

// inspect asks the runner about a sandbox and records what changed by itself.
func (m *Manager) inspect(ctx context.Context, sb Sandbox) error {
	member, err := m.c.Runners.Member(sb.RunnerID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	seen, err := member.Runner.Inspect(ctx, sb.ID)
	if gone(err) {
		seen, err = runnerapi.Sandbox{ID: sb.ID, State: runnerapi.StateDeleted}, nil
	}
	if err != nil {
		return err
	}
	o, differs := Observe(sb, seen, m.now())
	if !differs {
		return nil
	}
	return m.step(sb, o.To, o.Change)
}
