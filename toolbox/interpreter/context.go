package interpreter

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"daytona/internal/fault"
)

// grace is how long interrupted code may take to stop before its worker is
// killed.
const grace = 2 * time.Second

// run is a piece of code to be run in a context.
type run struct {
	request
	client    *client
	interrupt chan struct{} // capacity 1
}

// session is an interpreter context: a worker whose state lasts from one run to
// the next. Runs queue; a worker that has ended is replaced with the next run.
type session struct {
	id, dir, language string
	created           time.Time
	service           *Service

	mu      sync.Mutex // guards what follows
	deleted bool
	working bool // a goroutine is taking runs from the queue
	queue   []*run
	current *run
	client  *client // of the newest run
	worker  *worker
	// lost says why the state was lost, until a client has been told.
	lost string
}

// enqueue adds a run. The client of an older one is told to go, as the context
// has one client at a time; the run itself stays.
func (s *session) enqueue(r *run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleted {
		return fault.New(fault.NotFound, "context not found: %s", s.id)
	}
	if s.client != nil {
		s.client.finish(websocket.StatusPolicyViolation, "replaced by a newer connection to this context")
	}
	s.client = r.client
	s.queue = append(s.queue, r)
	if !s.working {
		s.working = true
		go s.work()
	}
	return nil
}

// work runs what is queued, and returns when nothing is left.
func (s *session) work() {
	for {
		s.mu.Lock()
		s.current = nil
		if len(s.queue) == 0 {
			s.working, s.client = false, nil
			s.mu.Unlock()
			return
		}
		r := s.queue[0]
		s.queue = s.queue[1:]
		s.current = r
		s.mu.Unlock()
		s.execute(r)
	}
}

// interrupt interrupts what runs. It reports whether anything does.
func (s *session) interrupt() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return false
	}
	select {
	case s.current.interrupt <- struct{}{}:
	default:
	}
	return true
}

// remove ends the context for ever.
func (s *session) remove() {
	s.mu.Lock()
	s.deleted = true
	for _, r := range s.queue {
		r.client.finish(websocket.StatusGoingAway, "context was deleted")
	}
	s.queue = nil
	w := s.worker
	s.mu.Unlock()
	if w != nil {
		w.kill()
	}
}

// active reports whether the context has a worker.
func (s *session) active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.worker.alive()
}

// ready returns the worker, started anew if need be.
func (s *session) ready() (*worker, error) {
	s.mu.Lock()
	old := s.worker
	s.mu.Unlock()
	if old.alive() {
		return old, nil
	}
	w, err := s.service.startWorker(context.Background(), s.language, s.dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	deleted := s.deleted
	if s.lost == "" && old != nil {
		s.lost = old.epitaph()
	}
	s.worker = w
	s.mu.Unlock()
	if deleted {
		w.kill()
		return nil, fault.New(fault.NotFound, "context was deleted")
	}
	return w, nil
}

// execute runs one run to its end.
func (s *session) execute(r *run) {
	w, err := s.ready()
	if err != nil {
		s.service.Log.Error("interpreter not started", "language", s.language, "err", err)
		r.client.finish(websocket.StatusInternalError, public(err))
		return
	}
	s.mu.Lock()
	lost := s.lost
	s.lost = ""
	s.mu.Unlock()
	if lost != "" {
		r.client.send(frame{Type: "stderr", Text: "[interpreter started anew, its variables are lost: " + lost + "]\n"})
	}
	w.stdout.subscribe(func(text string) { r.client.send(frame{Type: "stdout", Text: text}) })
	w.stderr.subscribe(func(text string) { r.client.send(frame{Type: "stderr", Text: text}) })
	drain := func() {
		w.stdout.drain()
		w.stderr.drain()
	}
	finish := func() {
		drain()
		w.stdout.unsubscribe()
		w.stderr.unsubscribe()
	}
	if err := w.send(r.Code, r.Envs); err != nil {
		w.kill()
	}
	var late, kill <-chan time.Time
	if limit := r.limit(); limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	timedOut, killed := false, false
	stop := func() {
		w.child.Signal(syscall.SIGINT)
		if kill == nil {
			kill = time.After(grace)
		}
	}
	for {
		select {
		case a, ok := <-w.answers:
			switch {
			case !ok:
				w.kill()
				finish()
				s.died(r, w, timedOut, killed)
				return
			case a.Type == "done":
				finish()
				if timedOut {
					r.client.finish(statusTimeout, "execution timed out")
					return
				}
				text := "completed"
				if a.Interrupted {
					text = "interrupted"
				}
				r.client.send(frame{Type: "control", Text: text})
				r.client.finish(websocket.StatusNormalClosure, "")
				return
			}
			drain() // what was printed before comes before
			r.client.send(a.frame())
			if a.Seq != 0 && w.acknowledge(a.Seq) != nil {
				w.kill()
			}
		case <-w.child.Done():
			finish()
			s.died(r, w, timedOut, killed)
			return
		case <-late:
			timedOut = true
			stop()
		case <-r.interrupt:
			stop()
		case <-kill:
			killed = true
			w.kill()
		}
	}
}

// died ends a run whose worker has ended.
func (s *session) died(r *run, w *worker, timedOut, killed bool) {
	s.mu.Lock()
	deleted := s.deleted
	s.worker = nil
	s.mu.Unlock()
	why := w.epitaph()
	if killed {
		why = "the interpreter was killed, since the code did not stop when interrupted"
	}
	switch {
	case deleted:
		r.client.finish(websocket.StatusGoingAway, "context was deleted")
	case timedOut:
		r.client.finish(statusTimeout, "execution timed out")
		s.mu.Lock()
		s.lost = why
		s.mu.Unlock()
	default:
		r.client.finish(websocket.StatusInternalError, why)
	}
}
