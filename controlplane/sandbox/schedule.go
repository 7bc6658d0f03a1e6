package sandbox

import (
	"container/heap"
	"sync"
	"time"
)

// schedule holds for each sandbox the time at which to look at it again.
type schedule struct {
	mu      sync.Mutex
	heap    alarms
	byID    map[string]*alarm
	changed chan struct{} // gets a token when the first alarm changed
}

type alarm struct {
	id    string
	at    time.Time
	index int
}

func newSchedule() *schedule {
	return &schedule{byID: map[string]*alarm{}, changed: make(chan struct{}, 1)}
}

// set replaces a sandbox's alarm; the zero time removes it.
func (s *schedule) set(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.byID[id]
	switch {
	case at.IsZero() && ok:
		heap.Remove(&s.heap, a.index)
		delete(s.byID, id)
	case at.IsZero():
		return
	case ok:
		a.at = at
		heap.Fix(&s.heap, a.index)
	default:
		a = &alarm{id: id, at: at}
		s.byID[id] = a
		heap.Push(&s.heap, a)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// due takes out the sandboxes whose time has come and says when the next one's
// will; zero is never.
func (s *schedule) due(now time.Time) (ids []string, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.heap) > 0 && !s.heap[0].at.After(now) {
		a := heap.Pop(&s.heap).(*alarm)
		delete(s.byID, a.id)
		ids = append(ids, a.id)
	}
	if len(s.heap) > 0 {
		next = s.heap[0].at
	}
	return ids, next
}

type alarms []*alarm

func (h alarms) Len() int           { return len(h) }
func (h alarms) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarms) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *alarms) Push(x any) {
	a := x.(*alarm)
	a.index = len(*h)
	*h = append(*h, a)
}

func (h *alarms) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return a
}
