package sandbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"daytona/internal/fault"
)

// worker drives one sandbox. Manager.mu guards its fields.
type worker struct {
	again   bool // something changed since the last round began
	force   bool // stop without grace
	inspect bool // ask the runner before deciding
	// interrupted: a deletion came since the row was last read.
	interrupted bool
	// preempted: something else is wanted of the sandbox than to have its files
	// read, since the row was last read.
	preempted bool
	// breakFiles ends the reading of files under way; nil is none.
	breakFiles context.CancelFunc
	// breakOff ends the runner call under way; nil when none may be broken off.
	breakOff context.CancelFunc
	done     chan struct{}
	// trace is of the request that last asked for something.
	trace trace.SpanContext
}

// nudge says why a sandbox is to be driven.
type nudge struct {
	interrupt bool // what is under way is no longer wanted
	force     bool
	inspect   bool
	files     bool              // what reads its files must let go
	trace     trace.SpanContext // of the request that asks, if one does
}

// kick has a sandbox driven, after whatever drives it now. The channel closes
// when its worker has nothing more to do at the moment.
func (m *Manager) kick(id string, n nudge) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		done := make(chan struct{})
		close(done)
		return done
	}
	w, ok := m.workers[id]
	if !ok {
		w = &worker{done: make(chan struct{})}
		m.workers[id] = w
		m.busy.Go(func() { m.work(w, id) })
	}
	w.again = true
	w.force = w.force || n.force
	w.inspect = w.inspect || n.inspect
	if n.trace.IsValid() {
		w.trace = n.trace
	}
	if n.files {
		w.preempted = true
		if w.breakFiles != nil {
			w.breakFiles()
		}
	}
	if n.interrupt {
		w.interrupted = true
		if w.breakOff != nil {
			w.breakOff()
		}
	}
	return w.done
}

func (m *Manager) work(w *worker, id string) {
	for {
		m.mu.Lock()
		if !w.again || m.closed {
			delete(m.workers, id)
			close(w.done)
			m.mu.Unlock()
			return
		}
		w.again = false
		m.mu.Unlock()
		m.drive(w, id)
	}
}

// drive takes steps until there is nothing to do now, and sets the alarm for
// what is to do later.
func (m *Manager) drive(w *worker, id string) {
	for conflicts := 0; ; {
		if m.life.Err() != nil {
			return
		}
		m.take(&w.interrupted)
		m.take(&w.preempted)
		sb, err := m.c.Store.Sandbox(m.life, id)
		if fault.Is(err, fault.NotFound) {
			m.timers.set(id, time.Time{})
			m.retries.clear(id)
			m.waiting.drop(id)
			return
		}
		var step Step
		if err == nil {
			sb = m.withActivity(sb)
			if !sb.State.AwaitsImage() {
				m.waiting.drop(id)
			}
			if m.take(&w.inspect) {
				err = m.inspect(m.life, sb)
				step.Do = "inspect"
			} else if step = m.next(sb); step.Do == DoNothing {
				m.timers.set(id, step.At)
				return
			} else {
				err = m.do(w, sb, step)
			}
			m.met.steps.WithLabelValues(string(step.Do), outcome(err)).Inc()
		}
		switch {
		case err == nil:
			m.retries.clear(id)
		case m.life.Err() != nil:
			return
		case fault.Is(err, fault.Conflict) && conflicts < 100:
			conflicts++ // the row moved on: read it again
		default:
			wait := waitFor
			if !errors.Is(err, errWaiting) {
				attempt := m.retries.count(id)
				wait = backoff(attempt)
				m.log.Warn("sandbox step failed; it will be repeated", "sandbox_id", id, "runner_id", sb.RunnerID,
					"step", step.Do, "attempt", attempt, "again_in", wait, "error", err)
			}
			m.timers.set(id, m.now().Add(wait))
			return
		}
	}
}

// take returns a worker's flag and clears it.
func (m *Manager) take(flag *bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := *flag
	*flag = false
	return v
}

// traced returns a context for a runner call within the trace of the request
// that asked for it. It is not the request's own: what that began goes on
// without it.
func (m *Manager) traced(w *worker) context.Context {
	m.mu.Lock()
	defer m.mu.Unlock()
	return trace.ContextWithSpanContext(m.life, w.trace)
}

// interruptible returns a context for a runner call that a deletion breaks off.
// If one came since the row was read, the context has ended already.
func (m *Manager) interruptible(w *worker) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(m.traced(w), callLimit)
	m.mu.Lock()
	w.breakOff = cancel
	if w.interrupted {
		cancel()
	}
	m.mu.Unlock()
	return ctx, func() {
		m.mu.Lock()
		w.breakOff = nil
		m.mu.Unlock()
		cancel()
	}
}

// withFiles returns a context for moving a sandbox's files, which whatever else
// is asked of the sandbox breaks off.
func (m *Manager) withFiles(w *worker, sb Sandbox) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(m.traced(w), filesLimit(sb))
	m.mu.Lock()
	w.breakFiles = cancel
	if w.preempted {
		cancel()
	}
	m.mu.Unlock()
	return ctx, func() {
		m.mu.Lock()
		w.breakFiles = nil
		m.mu.Unlock()
		cancel()
	}
}

// backoff is how long to wait before attempt n+1: 250 ms, doubled up to 30 s.
func backoff(n int) time.Duration {
	return min(250*time.Millisecond<<min(n-1, 8), 30*time.Second)
}

// retries counts failures in a row by sandbox.
type retries struct {
	mu sync.Mutex
	n  map[string]int
}

func (r *retries) count(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n[id]++
	return r.n[id]
}

// failures is how often a sandbox's step has failed in a row.
func (r *retries) failures(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n[id]
}

func (r *retries) clear(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.n, id)
}
