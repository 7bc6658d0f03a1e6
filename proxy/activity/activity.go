// Package activity counts what is open as use of a sandbox, for as long as it
// carries data.
package activity

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// every is how often an open connection is counted, unless idle is less.
const every = 50 * time.Second

// Meter knows when a connection last carried data.
type Meter struct{ last atomic.Int64 }

// Note says that there was data.
func (m *Meter) Note() { m.last.Store(time.Now().UnixNano()) }

func (m *Meter) silent() time.Duration { return time.Since(time.Unix(0, m.last.Load())) }

// Watch calls touch now, and again and again until stop is called, unless there
// was no data for as long as idle.
func Watch(touch func(), idle time.Duration) (m *Meter, stop func()) {
	return watch(touch, idle, min(every, idle))
}

func watch(touch func(), idle, every time.Duration) (m *Meter, stop func()) {
	m = &Meter{}
	m.Note()
	touch()
	var mu sync.Mutex
	stopped := false
	var timer *time.Timer
	mu.Lock()
	timer = time.AfterFunc(every, func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		if m.silent() < idle {
			touch()
		}
		timer.Reset(every)
	})
	mu.Unlock()
	return m, func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// Body returns a body of which what is read is noted.
func (m *Meter) Body(b io.ReadCloser) io.ReadCloser { return &body{b, m} }

type body struct {
	io.ReadCloser
	meter *Meter
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.meter.Note()
	}
	return n, err
}

// Answer returns the body of an answer, with its data noted. That of a WebSocket
// is its connection, of which the messages count, and not the pings by which
// both sides find out whether they still have each other.
func (m *Meter) Answer(res *http.Response) io.ReadCloser {
	conn, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		return m.Body(res.Body)
	}
	socket := res.Header.Get("Upgrade")
	return &duplex{ReadWriteCloser: conn, in: noter(socket, m), out: noter(socket, m)}
}

// duplex notes what passes in either direction.
type duplex struct {
	io.ReadWriteCloser
	in, out func([]byte)
}

func (c *duplex) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p)
	c.in(p[:n])
	return n, err
}

func (c *duplex) Write(p []byte) (int, error) {
	c.out(p)
	return c.ReadWriteCloser.Write(p)
}

// CloseWrite says that nothing more will be sent.
func (c *duplex) CloseWrite() error {
	if half, ok := c.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
