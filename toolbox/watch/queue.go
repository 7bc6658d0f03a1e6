package watch

import "sync"

// queue holds events until the client takes them. It is bounded: where it is
// full, events are dropped and the client is told once that some are missing.
type queue struct {
	limit int
	ready chan struct{} // capacity 1: there is something to take

	mu     sync.Mutex
	events []Event
	lost   bool
	closed bool
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, ready: make(chan struct{}, 1)}
}

func (q *queue) push(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch n := len(q.events); {
	case n > 0 && e.Type == Modified && q.events[n-1].Type == Modified && q.events[n-1].Path == e.Path:
		return // told once more than it need be
	case n >= q.limit:
		q.lost = true
	case q.lost:
		// Nothing after the gap before the client knows of the gap.
	default:
		q.events = append(q.events, e)
	}
	q.wake()
}

// close says that no more events come.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns what has come, in the place of what was dropped an Overflow, and
// whether more may come. It does not block; ready tells when to call it.
func (q *queue) take() (events []Event, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, q.events = q.events, nil
	if q.lost {
		events = append(events, Event{Type: Overflow, Time: now()})
		q.lost = false
	}
	return events, !q.closed
}
