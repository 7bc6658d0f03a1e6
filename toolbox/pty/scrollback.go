package pty

import (
	"bytes"
	"time"
)

// mostScrollback is how many bytes of output a session may keep.
const mostScrollback = 1 << 20

// scrollback is the latest output of a session, for clients that come later. The
// zero value keeps nothing.
type scrollback struct {
	limit int
	kept  []byte
}

// add takes a piece of output in. At most twice the limit is held.
func (s *scrollback) add(piece []byte) {
	if s.limit == 0 {
		return
	}
	s.kept = append(s.kept, piece...)
	if len(s.kept) > 2*s.limit {
		s.kept = append([]byte(nil), s.last()...)
	}
}

// last returns what is kept, from the start of a line if something is missing
// before it: the middle of a line may be the middle of a control sequence.
func (s *scrollback) last() []byte {
	if len(s.kept) <= s.limit {
		return s.kept
	}
	tail := s.kept[len(s.kept)-s.limit:]
	if _, after, ok := bytes.Cut(tail, []byte{'\n'}); ok {
		return after
	}
	return tail
}

// replayLocked gives a new client what was printed before it came.
func (s *session) replayLocked(c *client) {
	for rest := s.scrollback.last(); len(rest) > 0; {
		n := min(len(rest), frame)
		piece := append([]byte(nil), rest[:n]...)
		c.queue = append(c.queue, piece)
		c.pending += cost(piece)
		rest = rest[n:]
	}
	if len(c.queue) > 0 {
		signal(c.wake)
	}
}

// lingerLocked begins to wait for a client to come back, if the session is to end
// without one.
func (s *session) lingerLocked() {
	if s.linger == 0 || s.over || len(s.clients) > 0 {
		return
	}
	if s.lonely != nil {
		s.lonely.Stop()
	}
	s.lonely = time.AfterFunc(s.linger, func() {
		s.mu.Lock()
		alone := len(s.clients) == 0 && !s.over
		s.mu.Unlock()
		if alone {
			s.kill()
		}
	})
}
