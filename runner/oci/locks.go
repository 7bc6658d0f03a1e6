package oci

import "sync"

// locks is a mutex for each id. The zero value is ready.
type locks struct {
	mu   sync.Mutex
	byID map[string]*entry
}

type entry struct {
	sync.Mutex
	users int
}

// lock locks an id and returns the function that unlocks it.
func (l *locks) lock(id string) (unlock func()) {
	l.mu.Lock()
	if l.byID == nil {
		l.byID = map[string]*entry{}
	}
	e := l.byID[id]
	if e == nil {
		e = &entry{}
		l.byID[id] = e
	}
	e.users++
	l.mu.Unlock()
	e.Lock()
	return func() {
		e.Unlock()
		l.mu.Lock()
		if e.users--; e.users == 0 {
			delete(l.byID, id)
		}
		l.mu.Unlock()
	}
}
