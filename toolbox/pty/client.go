package pty

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/coder/websocket"

	"daytona/internal/fault"
)

// client is a connection to a session.
type client struct {
	conn      *websocket.Conn
	wantsExit bool          // it asked for a control message about the end
	wake      chan struct{} // there is something to send; capacity 1
	taken     chan struct{} // the program has taken some of its input; capacity 1

	// Under the session's mu:
	queue   [][]byte      // pieces of output, shared with other clients: never written to
	pending int           // bytes of output that are not yet on the network
	stalled time.Duration // how long the program has been held back since it took something
	lagging time.Duration // the same while others waited, since it last had everything
	leave   *farewell     // set once it is no longer part of the session
	leaveBy time.Time     // when it must have had the rest

	unread int // bytes of input that the program has not taken; under input.mu
}

// attach takes a client in, and starts the shell for the first one. A client
// gets everything that is printed from then on, after what the session has kept
// of what was printed before.
func (s *session) attach(wantsExit bool) (*client, error) {
	c := &client{wantsExit: wantsExit, wake: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return nil, errOver()
	}
	if len(s.clients) >= s.service.MaxClients {
		s.mu.Unlock()
		return nil, fault.New(fault.TooMany, "PTY session has %d clients, which is the most that it may have", s.service.MaxClients)
	}
	s.clients[c] = struct{}{}
	s.replayLocked(c)
	if s.lonely != nil {
		s.lonely.Stop()
	}
	s.mu.Unlock()
	if err := s.start(); err != nil {
		s.detach(c)
		return nil, err
	}
	return c, nil
}

// detach lets a client go that has gone.
func (s *session) detach(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dismissLocked(c, farewell{status: websocket.StatusNormalClosure})
}

// dismissLocked lets a client go. It is told why once it has had the output
// that waits for it, for which it has the time of one frame.
func (s *session) dismissLocked(c *client, why farewell) {
	delete(s.clients, c)
	s.lingerLocked()
	if c.leave == nil {
		c.leave, c.leaveBy = &why, time.Now().Add(s.service.FrameLimit)
	}
	signal(c.wake)
	signal(s.room)
}

// serve exchanges input and output with a client until one of both sides ends.
func (s *session) serve(c *client, conn *websocket.Conn) {
	c.conn = conn
	conn.SetReadLimit(-1) // messages are not gathered, so they may be of any length
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.send(c)
	}()
	s.receive(c)
	s.detach(c)
	<-sent
}

// send sends output as it comes, then the reason why there is no more.
func (s *session) send(c *client) {
	defer func() { _ = c.conn.CloseNow() }()
	err := s.service.writeControl(c.conn, control{Type: "control", Status: "connected"})
	for err == nil {
		piece, by, leave := s.next(c)
		if piece == nil {
			s.service.bid(c.conn, *leave)
			return
		}
		err = s.service.write(c.conn, websocket.MessageBinary, piece, by)
		s.sent(c, piece)
	}
	s.detach(c)
}

// next waits for something to send: a piece of output, and when it must be on
// the network; or, without a piece, how to leave.
func (s *session) next(c *client) (piece []byte, by time.Time, leave *farewell) {
	for {
		s.mu.Lock()
		if len(c.queue) > 0 {
			piece, c.queue[0], c.queue = c.queue[0], nil, c.queue[1:]
		} else {
			c.queue = nil // lets the array go
		}
		by, leave = c.leaveBy, c.leave
		s.mu.Unlock()
		if piece != nil || leave != nil {
			return piece, by, leave
		}
		<-c.wake
	}
}

// sent notes that a piece is on the network, or lost.
func (s *session) sent(c *client, piece []byte) {
	s.mu.Lock()
	c.pending -= cost(piece)
	c.stalled = 0
	if c.pending <= 0 {
		c.lagging = 0
	}
	s.mu.Unlock()
	signal(s.room)
}

// cost is the memory that a piece takes while it waits.
func cost(piece []byte) int { return len(piece) + 64 }

// receive hands on what the client sends, until the connection is over. After
// the end of the session it is read and dropped, as the client may answer the
// close frame only after what it was sending.
func (s *session) receive(c *client) {
	ctx := context.Background() // a connection that is silent is in order
	for {
		_, message, err := c.conn.Reader(ctx)
		if err != nil || s.hand(c, message) != nil {
			return // the client has gone
		}
	}
}

// hand hands one message on, which may be of any length.
func (s *session) hand(c *client, message io.Reader) error {
	buffer := s.service.input.Get().(*[]byte)
	defer s.service.input.Put(buffer)
	for {
		n, err := message.Read(*buffer)
		if n > 0 {
			s.take(c, (*buffer)[:n])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write sends one message, at the latest at a time unless that is zero. A network
// that does not take it in time ends the connection.
func (s *Service) write(conn *websocket.Conn, kind websocket.MessageType, b []byte, by time.Time) error {
	limit := time.Now().Add(s.FrameLimit)
	if !by.IsZero() && by.Before(limit) {
		limit = by
	}
	ctx, cancel := context.WithDeadline(context.Background(), limit)
	defer cancel()
	return conn.Write(ctx, kind, b)
}

func (s *Service) writeControl(conn *websocket.Conn, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write(conn, websocket.MessageText, b, time.Time{})
}

// bid takes leave. The client is given time to answer, so that it gets to read
// the reason.
func (s *Service) bid(conn *websocket.Conn, f farewell) {
	if f.control != nil {
		_ = s.writeControl(conn, f.control) // then the close frame fails too
	}
	_ = conn.Close(f.status, f.reason)
}

// signal wakes whoever waits for the channel, now or next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
