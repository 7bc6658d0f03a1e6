package fakedriver

import (
	"context"
	"sync"
)

// faults are what a test makes of a driver's methods, by name: "Create",
// "Start", "Stop", "Delete", "Wait", "List", "Dial", "SetBackground", "SetLimits".
type faults struct {
	mu   sync.Mutex
	fail map[string]error
	hold map[string]*hold
}

type hold struct {
	entered chan struct{}
	once    sync.Once
	release chan struct{}
}

// Fail makes every following call of a method fail, until it is set to nil.
func (f *faults) Fail(method string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		f.fail = map[string]error{}
	}
	f.fail[method] = err
}

// Block makes every following call of a method wait for release. entered is
// closed when the first call has come.
func (f *faults) Block(method string) (entered <-chan struct{}, release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hold == nil {
		f.hold = map[string]*hold{}
	}
	h := &hold{entered: make(chan struct{}), release: make(chan struct{})}
	f.hold[method] = h
	var once sync.Once
	return h.entered, func() {
		once.Do(func() {
			f.mu.Lock()
			if f.hold[method] == h {
				delete(f.hold, method)
			}
			f.mu.Unlock()
			close(h.release)
		})
	}
}

// pass is called first by every method.
func (f *faults) pass(ctx context.Context, method string) error {
	f.mu.Lock()
	h := f.hold[method]
	f.mu.Unlock()
	if h != nil {
		h.once.Do(func() { close(h.entered) })
		select {
		case <-h.release:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail[method]; err != nil {
		return err
	}
	return ctx.Err()
}
