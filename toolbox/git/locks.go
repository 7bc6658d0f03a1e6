package git

import (
	"sync"

	"daytona/internal/fault"
)

// locks are the directories that requests are changing. The zero value holds
// none.
type locks struct {
	mu   sync.Mutex
	held map[string]bool
}

// take returns a conflict when dir is held already. A second change does not
// wait: it was asked for a state of the repository that is about to go.
func (l *locks) take(dir string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[dir] {
		return nil, fault.New(fault.Conflict, "conflict: another git request is at work in %s; try again when it has ended", dir)
	}
	if l.held == nil {
		l.held = map[string]bool{}
	}
	l.held[dir] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, dir)
	}, nil
}
