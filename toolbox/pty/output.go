package pty

import "time"

// broadcast gives a piece of output to every client, and returns when none of
// them has too much of it waiting.
func (s *session) broadcast(piece []byte) {
	if len(piece) == 0 {
		return
	}
	s.mu.Lock()
	s.scrollback.add(piece)
	for c := range s.clients {
		c.queue = append(c.queue, piece)
		c.pending += cost(piece)
		signal(c.wake)
	}
	full := s.fullLocked() > 0
	s.mu.Unlock()
	if full {
		s.awaitRoom()
	}
}

// fullLocked returns how many clients have too much output waiting.
func (s *session) fullLocked() int {
	n := 0
	for c := range s.clients {
		if c.pending > s.service.Backlog {
			n++
		}
	}
	return n
}

// awaitRoom holds the program back until every client has room again, or has
// been disconnected for having none.
func (s *session) awaitRoom() {
	// The only clock of a session, and it runs only here.
	tick := time.NewTicker(min(s.service.Stall, s.service.Lag)/16 + 1)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-s.room:
		case <-tick.C:
		}
		now := time.Now()
		if !s.judge(now.Sub(last)) {
			return
		}
		last = now
	}
}

// judge counts a time of waiting against the clients waited for and disconnects
// those that have used up theirs. It reports whether there is still one to wait
// for.
func (s *session) judge(waited time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false // killed: the rest of its output is not worth a wait
	}
	company := s.fullLocked() < len(s.clients)
	wait := false
	for c := range s.clients {
		if c.pending <= s.service.Backlog {
			continue
		}
		c.stalled += waited
		if company {
			c.lagging += waited
		}
		if c.stalled > s.service.Stall || c.lagging > s.service.Lag {
			c.queue = nil
			s.dismissLocked(c, slowConsumer)
			continue
		}
		wait = true
	}
	return wait
}
