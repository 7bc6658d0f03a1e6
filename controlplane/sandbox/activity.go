package sandbox

import (
	"sync"
	"time"
)

// touchEvery is how far apart two notes of activity of one sandbox are; a busy
// sandbox costs no more than a note each.
const touchEvery = 5 * time.Second

// activity notes when sandboxes were last used, until that is stored.
type activity struct {
	mu    sync.Mutex
	notes map[string]note
}

type note struct {
	at     time.Time
	stored bool
}

func newActivity() *activity { return &activity{notes: map[string]note{}} }

func (a *activity) touch(id string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n, ok := a.notes[id]; !ok || at.Sub(n.at) >= touchEvery {
		a.notes[id] = note{at: at}
	}
}

func (a *activity) last(id string) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, ok := a.notes[id]
	return n.at, ok
}

// pending returns the notes not stored yet.
func (a *activity) pending() map[string]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]time.Time{}
	for id, n := range a.notes {
		if !n.stored {
			out[id] = n.at
		}
	}
	return out
}

// stored marks notes as stored and forgets those that throttle nothing any more.
func (a *activity) stored(done map[string]time.Time, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range done {
		if n := a.notes[id]; n.at.Equal(at) {
			a.notes[id] = note{at: at, stored: true}
		}
	}
	for id, n := range a.notes {
		if n.stored && now.Sub(n.at) >= touchEvery {
			delete(a.notes, id)
		}
	}
}
