package builder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/moby/buildkit/identity"
	"golang.org/x/sys/unix"

	"daytona/api/runnerapi"
)

// guardedTransport is HTTP with a sandbox's rights: its connections leave from
// a network slot, through the rules of sandboxes, so that ADD reaches neither
// this host nor private networks.
func (b *Builder) guardedTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 nil, // a proxy would reach what the rules forbid
		DialContext:           b.dialGuarded,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		DisableKeepAlives:     true,
	}
}

func (b *Builder) dialGuarded(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return nil, err
	}
	id := "fetch-" + identity.NewID()
	slot, err := b.cfg.Network.Acquire(ctx, id, runnerapi.NetworkPolicy{})
	if err != nil {
		return nil, err
	}
	release := sync.OnceFunc(func() {
		if err := b.cfg.Network.Release(context.WithoutCancel(ctx), id); err != nil {
			b.log.Warn("a network slot could not be released", "slot", id, "error", err)
		}
	})
	var errs []error
	for _, ip := range ips {
		conn, err := dialIn(ctx, slot.NetNS, net.JoinHostPort(ip.Unmap().String(), port))
		if err == nil {
			return &slotConn{conn, release}, nil
		}
		errs = append(errs, err)
	}
	release()
	return nil, fmt.Errorf("a build may reach what a sandbox may: %w", errors.Join(errs...))
}

// slotConn gives its slot back when it is closed.
type slotConn struct {
	net.Conn
	release func()
}

func (c *slotConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// dialPatience is how long a connection may take.
const dialPatience = 15 * time.Second

// dialIn connects to an address, which must be an IP's, from a network
// namespace. A socket stays in the namespace in which it was made.
func dialIn(ctx context.Context, netns, addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: the changed thread dies with the goroutine.
		runtime.LockOSThread()
		conn, err := func() (net.Conn, error) {
			f, err := os.Open(netns)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("network of the build: %w", err)
			}
			// With one address the socket is made by this very goroutine.
			d := net.Dialer{Timeout: dialPatience}
			return d.DialContext(ctx, "tcp4", addr)
		}()
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}
