package pty

import (
	"bytes"
	"sync"
)

// input is what clients have sent and the program has not taken yet, in the
// order in which it came. While there is none it costs nothing; while there is
// some a goroutine waits for the terminal to take it, so that a client that
// sends more than the program reads holds up no other one.
type input struct {
	mu       sync.Mutex // guards what follows
	terminal *terminal  // set before the first input
	queue    []typed
	busy     bool // the goroutine runs
}

// typed is a piece of one client's input.
type typed struct {
	from *client
	b    []byte
}

// take hands a piece of a client's input to the program. It waits while the
// program has too much of that client's input untaken. What comes when the
// program has gone is dropped.
func (s *session) take(c *client, b []byte) {
	in := &s.input
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.busy {
		n, err := in.terminal.writeNow(b)
		if b = b[n:]; len(b) == 0 || err != nil {
			return
		}
		in.busy = true
		go s.drain()
	}
	in.queue = append(in.queue, typed{c, bytes.Clone(b)})
	c.unread += len(b)
	for c.unread > inputLimit {
		in.mu.Unlock()
		<-c.taken
		in.mu.Lock()
	}
}

// drain gives the terminal what is queued as it takes it. The end of the session
// closes the terminal, so that this ends too.
func (s *session) drain() {
	in := &s.input
	for {
		in.mu.Lock()
		if len(in.queue) == 0 {
			in.queue, in.busy = nil, false
			in.mu.Unlock()
			return
		}
		next := in.queue[0]
		in.queue[0] = typed{}
		in.queue = in.queue[1:]
		in.mu.Unlock()

		_ = in.terminal.write(next.b) // fails when nobody will ever read it

		in.mu.Lock()
		next.from.unread -= len(next.b)
		in.mu.Unlock()
		signal(next.from.taken)
	}
}
