package proxy

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// activeEvery is how often an open connection is counted as activity.
const activeEvery = 50 * time.Second

// meter knows when a connection last carried data.
type meter struct{ last atomic.Int64 }

func (m *meter) note() { m.last.Store(time.Now().UnixNano()) }

func (m *meter) silent() time.Duration { return time.Since(time.Unix(0, m.last.Load())) }

type meterKey struct{}

// meterOf returns the meter of a request, or nil.
func meterOf(ctx context.Context) *meter {
	m, _ := ctx.Value(meterKey{}).(*meter)
	return m
}

// keepActive counts a request as activity now, and again and again while it
// carries data, until stop is called.
func (p *Proxy) keepActive(r *http.Request, sandboxID string) (_ *http.Request, stop func()) {
	m := &meter{}
	return r.WithContext(context.WithValue(r.Context(), meterKey{}, m)), p.watch(m, sandboxID)
}

func (p *Proxy) watch(m *meter, sandboxID string) (stop func()) {
	m.note()
	p.Plane.Touch(sandboxID)
	var mu sync.Mutex
	stopped := false
	var timer *time.Timer
	mu.Lock()
	timer = time.AfterFunc(activeEvery, func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		if m.silent() < p.IdleAfter {
			p.Plane.Touch(sandboxID)
		}
		timer.Reset(activeEvery)
	})
	mu.Unlock()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// meteredBody notes what is read from a body.
type meteredBody struct {
	io.ReadCloser
	meter *meter
}

func (b *meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.meter.note()
	}
	return n, err
}

// body returns the body of an answer, with its data noted. That of a WebSocket is
// its connection, of which the messages count, and not the pings by which both
// sides find out whether they still have each other.
func (m *meter) body(res *http.Response) io.ReadCloser {
	conn, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		return &meteredBody{res.Body, m}
	}
	socket := res.Header.Get("Upgrade")
	return &meteredConn{ReadWriteCloser: conn, in: noter(socket, m), out: noter(socket, m)}
}

// meteredConn notes what passes in either direction.
type meteredConn struct {
	io.ReadWriteCloser
	in, out func([]byte)
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p)
	c.in(p[:n])
	return n, err
}

func (c *meteredConn) Write(p []byte) (int, error) {
	c.out(p)
	return c.ReadWriteCloser.Write(p)
}

// CloseWrite says that nothing more will be sent.
func (c *meteredConn) CloseWrite() error {
	if half, ok := c.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
