// Package tlsport serves TLS and plain connections at one port.
package tlsport

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// patience is how long a connection may take until its first byte, and until
// its handshake is done.
const patience = 10 * time.Second

// recordHandshake is the first byte of every TLS connection, and no method's.
const recordHandshake = 0x16

// Listener looks at the first byte of every connection and shakes hands where it
// is that of TLS. What Accept returns is a *tls.Conn or what the inner listener
// accepted, untouched.
type Listener struct {
	net.Listener
	config *tls.Config
	log    *slog.Logger
	hint   string

	conns  chan net.Conn
	failed chan error
	ctx    context.Context
	cancel context.CancelFunc
	once   sync.Once
}

// New wraps a TCP listener. hint is logged when a client refuses the certificate.
func New(inner net.Listener, config *tls.Config, hint string, log *slog.Logger) *Listener {
	l := &Listener{Listener: inner, config: config, hint: hint, log: log, conns: make(chan net.Conn), failed: make(chan error, 1)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	l.once.Do(func() { go l.loop() })
	select {
	case c := <-l.conns:
		return c, nil
	case err := <-l.failed:
		l.failed <- err
		return nil, err
	}
}

func (l *Listener) loop() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			var later interface{ Temporary() bool }
			if errors.As(err, &later) && later.Temporary() && l.ctx.Err() == nil {
				time.Sleep(20 * time.Millisecond) // out of descriptors: some will come back
				continue
			}
			l.failed <- err
			return
		}
		go l.look(c)
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.cancel()
	return l.Listener.Close()
}

func (l *Listener) look(c net.Conn) {
	stop := context.AfterFunc(l.ctx, func() { c.Close() })
	out, ok := l.open(c)
	if !stop() || !ok {
		c.Close()
		return
	}
	select {
	case l.conns <- out:
	case <-l.ctx.Done():
		c.Close()
	}
}

func (l *Listener) open(c net.Conn) (net.Conn, bool) {
	_ = c.SetDeadline(time.Now().Add(patience))
	first, err := peek(c)
	if err != nil {
		return nil, false
	}
	out := c
	if first == recordHandshake {
		secure := tls.Server(c, l.config)
		if err := secure.HandshakeContext(l.ctx); err != nil {
			l.complain(c, err)
			return nil, false
		}
		out = secure
	}
	_ = c.SetDeadline(time.Time{})
	return out, true
}

func (l *Listener) complain(c net.Conn, err error) {
	var alert tls.AlertError
	var remote *net.OpError // an alert that the client sent
	if errors.As(err, &alert) || errors.As(err, &remote) && remote.Op == "remote error" {
		l.log.Warn("a client refuses the certificate", "client", c.RemoteAddr().String(), "hint", l.hint, "error", err)
		return
	}
	l.log.Debug("TLS handshake failed", "client", c.RemoteAddr().String(), "error", err)
}

// peek returns the first byte of a connection and leaves it there.
func peek(c net.Conn) (byte, error) {
	raw, ok := c.(syscall.Conn)
	if !ok {
		return 0, errors.New("not a connection of the system")
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return 0, err
	}
	var buffer [1]byte
	var n int
	var failed error
	err = control.Read(func(fd uintptr) bool {
		for {
			n, _, failed = syscall.Recvfrom(int(fd), buffer[:], syscall.MSG_PEEK) // #nosec G115 -- a descriptor
			if !errors.Is(failed, syscall.EINTR) {
				return !errors.Is(failed, syscall.EAGAIN)
			}
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errors.New("closed without a byte")
	}
	return buffer[0], nil
}
