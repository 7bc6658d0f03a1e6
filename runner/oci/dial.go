package oci

import (
	"context"
	"errors"
	"net"
	"strconv"

	"daytona/internal/fault"
	"daytona/runner"
)

// Dial implements runner.Driver. The network of a container that ends may
// vanish without a word, so that its peers would wait for ever: where none runs
// Dial fails at once, and a connection is closed when its container ends.
func (d *Driver) Dial(ctx context.Context, b runner.Bundle, port int) (net.Conn, error) {
	r, err := d.load(b.ID)
	if err != nil {
		return nil, err
	}
	var p *proc
	if boot, err := bootID(); err != nil {
		return nil, err
	} else if r.Phase == phaseStarted && r.BootID == boot {
		p, err = openProc(r.PID, r.StartTime)
		if err != nil && !errors.Is(err, errDead) {
			return nil, err
		}
	}
	if p == nil || !p.alive() {
		if p != nil {
			p.close()
		}
		return nil, fault.New(fault.Conflict, "container %s does not run", b.ID)
	}
	living, cancel := context.WithCancel(context.Background())
	dialing, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if p.wait(living) == nil {
			cancel()
		}
		p.close()
	}()
	context.AfterFunc(living, stop)
	c, err := (&net.Dialer{}).DialContext(dialing, "tcp", net.JoinHostPort(b.Addr, strconv.Itoa(port)))
	if err != nil {
		cancel()
		return nil, fault.Wrap(err, fault.Unavailable, "port %d of container %s cannot be reached", port, b.ID)
	}
	tcp := &conn{TCPConn: c.(*net.TCPConn), done: cancel}
	context.AfterFunc(living, func() { _ = tcp.TCPConn.Close() })
	return tcp, nil
}

// conn is a connection into a container. It keeps what TCP connections can do
// beyond net.Conn, such as closing one direction.
type conn struct {
	*net.TCPConn
	done context.CancelFunc
}

func (c *conn) Close() error {
	err := c.TCPConn.Close()
	c.done()
	return err
}
