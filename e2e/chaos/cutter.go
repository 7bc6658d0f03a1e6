//go:build linux

package chaos

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// cutter passes connections on to the server, and can break or delay them.
type cutter struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	until time.Time // bytes wait until then
}

func newCutter(ctx context.Context, to string) (*cutter, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cutter{listener: l, to: to, conns: map[net.Conn]struct{}{}}
	go c.serve(ctx)
	return c, nil
}

func (c *cutter) serve(ctx context.Context) {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return // closed
		}
		go c.pass(ctx, in)
	}
}

func (c *cutter) pass(ctx context.Context, in net.Conn) {
	defer in.Close()
	out, err := new(net.Dialer).DialContext(ctx, "tcp", c.to)
	if err != nil {
		return // the caller sees its connection end
	}
	defer out.Close()
	c.mu.Lock()
	c.conns[in], c.conns[out] = struct{}{}, struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.conns, in)
		delete(c.conns, out)
		c.mu.Unlock()
	}()
	ended := make(chan struct{}, 2)
	for _, d := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			_, _ = io.Copy(d[1], &late{c, d[0]}) // an end is an end
			ended <- struct{}{}
		}()
	}
	<-ended
}

// late holds back what it reads while connections are delayed.
type late struct {
	c  *cutter
	in net.Conn
}

func (l *late) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	l.c.mu.Lock()
	until := l.c.until
	l.c.mu.Unlock()
	time.Sleep(time.Until(until))
	return n, err
}

// cut breaks every connection.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
}

func (c *cutter) delay(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Now().Add(d)
}

func (c *cutter) close() {
	c.listener.Close()
	c.cut()
}
