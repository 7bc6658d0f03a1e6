package interpreter

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// Close codes of the socket, besides those of the protocol itself.
const statusTimeout websocket.StatusCode = 4008

// patience is how long a client may leave a frame unread before it counts as
// gone. Code that prints waits meanwhile, so nothing piles up.
const patience = 15 * time.Second

// client is who receives what a run prints. One that has gone misses it; the
// run goes on.
type client struct {
	conn *websocket.Conn
	done chan struct{} // closed when nothing more will be sent

	mu   sync.Mutex // held while a frame is sent, and guards gone
	gone bool
}

func newClient(conn *websocket.Conn) *client {
	return &client{conn: conn, done: make(chan struct{})}
}

// send sends a frame, unless the client has gone.
func (c *client) send(f frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	f.Text = strings.ToValidUTF8(f.Text, string(utf8.RuneError))
	b, err := json.Marshal(f)
	if err != nil {
		return // a chart or a form that is no JSON was refused before
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, b); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			c.leaveLocked(websocket.StatusPolicyViolation, "slow consumer")
			return
		}
		c.leaveLocked(websocket.StatusGoingAway, "")
	}
}

// finish closes the connection. Calls after the first do nothing.
func (c *client) finish(code websocket.StatusCode, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaveLocked(code, reason)
}

func (c *client) leaveLocked(code websocket.StatusCode, reason string) {
	if c.gone {
		return
	}
	c.gone = true
	// The handshake may take seconds when the other side does not answer; who
	// finished a run must not wait for that.
	go func() {
		defer close(c.done)
		_ = c.conn.Close(code, shorten(reason, 120)) // the client has gone when this fails
	}()
}

// lost notes that the client has closed its side.
func (c *client) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		c.gone = true
		close(c.done)
	}
}

// shorten cuts a text at a character, so that it fits into a close frame.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
