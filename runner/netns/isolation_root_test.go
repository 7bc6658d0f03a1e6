//go:build root

package netns

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestIsolation(t *testing.T) {
	cfg := testConfig(t)
	path := world(t)
	p := open(t, cfg)
	a := acquire(t, p, "a", Policy{})
	b := acquire(t, p, "b", Policy{})
	if a.Index == b.Index || a.Addr == b.Addr || a.NetNS == b.NetNS {
		t.Fatalf("two sandboxes share a slot: %v, %v", a, b)
	}
	greet(t, a.NetNS, ":2280")
	greet(t, b.NetNS, ":2280")
	greet(t, "", ":18088") // as the control plane listens, on all addresses

	for _, network := range []string{"tcp", "udp"} {
		t.Run("outside/"+network, func(t *testing.T) {
			for _, s := range []Slot{a, b} {
				reaches(t, s, network, net.JoinHostPort(public4, "8080"), hostLink4)
				reaches(t, s, network, net.JoinHostPort(public6, "8080"), hostLink6)
			}
		})
		t.Run("from the host/"+network, func(t *testing.T) {
			for _, s := range []Slot{a, b} {
				for addr, want := range map[netip.Addr]string{s.Addr: Gateway4.String(), s.Addr6: Gateway6.String()} {
					got, err := dialFrom("", network, net.JoinHostPort(addr.String(), "2280"), 5*time.Second)
					if err != nil || got != want {
						t.Errorf("dial %s: seen as %q, %v; want %q", addr, got, err, want)
					}
				}
			}
		})
		t.Run("other sandbox/"+network, func(t *testing.T) {
			for _, addr := range []netip.Addr{b.Addr, b.Addr6} {
				isRefused(t, a, network, net.JoinHostPort(addr.String(), "2280"))
			}
			isRefused(t, b, network, net.JoinHostPort(a.Addr.String(), "2280"))
		})
		t.Run("host/"+network, func(t *testing.T) {
			addrs, err := wholly(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
			if err != nil {
				t.Fatal(err)
			}
			gateways := []string{p.plan.gateway4().String(), p.plan.gateway6().String()}
			tried := 0
			for _, addr := range addrs {
				if addr.IP.IsLoopback() || addr.IP.IsLinkLocalUnicast() {
					continue // never leave the sandbox; see below
				}
				tried++
				if slices.Contains(gateways, addr.IP.String()) {
					// The refusal comes from the address that the sandbox
					// knows the gateway by, so it waits.
					if got, err := dialFrom(a.NetNS, network, net.JoinHostPort(addr.IP.String(), "18088"), time.Second); err == nil {
						t.Errorf("%s to the gateway's outer address %s: reached it, seen as %q", network, addr.IP, got)
					}
					continue
				}
				isRefused(t, a, network, net.JoinHostPort(addr.IP.String(), "18088"))
			}
			if tried < 4 {
				t.Errorf("only %d addresses of the host tried", tried)
			}
			isRefused(t, a, network, net.JoinHostPort(Gateway4.String(), "18088"))
			isRefused(t, a, network, net.JoinHostPort(Gateway6.String(), "18088"))
		})
		t.Run("private and metadata/"+network, func(t *testing.T) {
			for _, addr := range forbidden {
				target := net.JoinHostPort(addr, "8080")
				if _, err := dialFrom("", network, target, 5*time.Second); err != nil {
					t.Errorf("the host itself does not reach %s: %v", target, err)
				}
				isRefused(t, a, network, target)
			}
		})
	}
	t.Run("from outside", func(t *testing.T) {
		// Someone beside the host routes to the sandboxes through it.
		inside(t, path, func() error {
			up, err := netlink.LinkByName("up0")
			if err != nil {
				return err
			}
			if err := netlink.RouteReplace(&netlink.Route{LinkIndex: up.Attrs().Index, Dst: ipNet(cfg.Outer4), Gw: net.ParseIP(hostLink4)}); err != nil {
				return err
			}
			return netlink.RouteReplace(&netlink.Route{LinkIndex: up.Attrs().Index, Dst: ipNet(cfg.Outer6), Gw: net.ParseIP(hostLink6)})
		})
		for _, target := range []string{
			net.JoinHostPort(a.Addr.String(), "2280"), net.JoinHostPort(a.Addr6.String(), "2280"),
			net.JoinHostPort(p.plan.gateway4().String(), "53"),
		} {
			if got, err := dialFrom(path, "tcp", target, time.Second); err == nil {
				t.Errorf("the outside reached %s as %q", target, got)
			}
		}
	})
}

func TestAllowPrivate(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	cfg.AllowPrivate = prefixes("172.31.0.0/16", "fd99::/16", "169.254.0.0/16", "10.0.0.0/8")
	p := open(t, cfg)
	a := acquire(t, p, "a", Policy{})
	b := acquire(t, p, "b", Policy{})
	greet(t, b.NetNS, ":2280")
	reaches(t, a, "tcp", "172.31.99.1:8080", hostLink4)
	reaches(t, a, "tcp", "10.9.9.9:8080", hostLink4)
	reaches(t, a, "tcp", "[fd99::1]:8080", hostLink6)
	isRefused(t, a, "tcp", "192.168.77.1:8080")
	isRefused(t, a, "tcp", "169.254.169.254:8080")
	isRefused(t, a, "tcp", net.JoinHostPort(b.Addr.String(), "2280"))
}

// TestSpoofedSource sends from addresses that are not the sandbox's own.
func TestSpoofedSource(t *testing.T) {
	cfg := testConfig(t)
	path := world(t)
	p := open(t, cfg)
	a, b := acquire(t, p, "a", Policy{}), acquire(t, p, "b", Policy{})
	heard := make(chan string, 64)
	listen := func(addr string) func() error {
		return func() error {
			pc, err := net.ListenPacket("udp", addr)
			if err != nil {
				return err
			}
			t.Cleanup(func() { pc.Close() })
			go func() {
				buf := make([]byte, 64)
				for {
					n, from, err := pc.ReadFrom(buf)
					if err != nil {
						return
					}
					heard <- from.String() + " " + string(buf[:n])
				}
			}()
			return nil
		}
	}
	inside(t, path, listen(":8099"))
	inside(t, b.NetNS, listen(":8099"))
	if err := listen(":18099")(); err != nil {
		t.Fatal(err)
	}
	for _, src := range []string{"45.66.70.2", "10.212.0.1", b.Addr.String(), a.Addr.String(), "127.0.0.1", "192.0.2.2",
		"2600:ffff:70::2", b.Addr6.String(), a.Addr6.String(), "fe80::1234"} {
		inside(t, a.NetNS, func() error {
			dev, err := netlink.LinkByName(InnerDevice)
			if err != nil {
				return err
			}
			own := testAddr(host(netip.MustParseAddr(src)).String())
			if err := netlink.AddrReplace(dev, own); err != nil {
				return err
			}
			defer netlink.AddrDel(dev, own)
			ip := net.ParseIP(src)
			targets := []string{public4 + ":8099", b.Addr.String() + ":8099", "10.212.0.1:18099", "192.0.2.2:18099"}
			if ip.To4() == nil {
				targets = []string{"[" + public6 + "]:8099", "[" + b.Addr6.String() + "]:8099", "[" + p.plan.gateway6().String() + "]:18099"}
			}
			for _, target := range targets {
				ra, err := net.ResolveUDPAddr("udp", target)
				if err != nil {
					return err
				}
				zone := ""
				if strings.HasPrefix(src, "fe80") {
					zone = InnerDevice
				}
				c, err := net.DialUDP("udp", &net.UDPAddr{IP: ip, Zone: zone}, ra)
				if err != nil {
					continue // the sandbox's own kernel would not send it
				}
				io.WriteString(c, "spoofed as "+src)
				c.Close()
			}
			return nil
		})
	}
	// An honest packet comes last: what came before it has arrived by then.
	inside(t, a.NetNS, func() error {
		c, err := net.Dial("udp", public4+":8099")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = io.WriteString(c, "honest")
		return err
	})
	select {
	case got := <-heard:
		if !strings.HasSuffix(got, " honest") {
			t.Errorf("heard %s", got)
		}
	case <-time.After(deadline):
		t.Error("the honest packet did not arrive")
	}
	select {
	case got := <-heard:
		t.Errorf("heard %s", got)
	default:
	}
}

// TestUnreachablePortIsReported checks that ICMP errors reach the sandbox with
// the packet that they quote translated: its kernel only then believes them.
func TestUnreachablePortIsReported(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	p := open(t, cfg)
	a := acquire(t, p, "a", Policy{})
	for _, target := range []string{public4 + ":9", "[" + public6 + "]:9"} {
		// The kernel limits how many such reports it sends, so one may be missing.
		var err error
		for until := time.Now().Add(deadline); time.Now().Before(until); {
			if _, err = dialFrom(a.NetNS, "udp", target, time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v, want connection refused", target, err)
		}
	}
}

// TestConnectionLimit opens more connections than one sandbox may have.
func TestConnectionLimit(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	p := open(t, cfg)
	a, b := acquire(t, p, "a", Policy{}), acquire(t, p, "b", Policy{})
	inside(t, a.NetNS, func() error {
		pc, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			return err
		}
		defer pc.Close()
		for port := range maxConnections + 500 {
			// Each port is a connection of its own. Errors are answers to
			// earlier packets.
			pc.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(public4b), Port: 10000 + port})
		}
		return nil
	})
	flows, err := wholly(func() ([]*netlink.ConntrackFlow, error) {
		return netlink.ConntrackTableList(netlink.ConntrackTable, netlink.InetFamily(netlink.FAMILY_V4))
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range flows {
		if f.Forward.SrcIP.Equal(net.IP(a.Addr.AsSlice())) {
			n++
		}
	}
	// The kernel forgets a connection that it has counted and cannot find yet,
	// because its first packet is still on its way on another processor; that
	// one is then tracked past the limit.
	const late = maxConnections / 64
	if n < maxConnections/2 || n > maxConnections+late {
		t.Errorf("%d connections are tracked for one sandbox, want up to %d", n, maxConnections)
	}
	if _, err := dialFrom(a.NetNS, "tcp", public4+":8080", time.Second); err == nil {
		t.Error("a sandbox over its limit opened another connection")
	}
	reaches(t, b, "tcp", public4+":8080", hostLink4)
}

// TestBulk moves enough bytes both ways for segmentation offload to matter.
func TestBulk(t *testing.T) {
	cfg := testConfig(t)
	p := open(t, cfg)
	a := acquire(t, p, "a", Policy{})
	const size = 32 << 20
	received := make(chan int64, 1)
	inside(t, a.NetNS, func() error {
		l, err := net.Listen("tcp", ":2280")
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			n, _ := io.CopyN(io.Discard, c, size)
			received <- n
			io.CopyN(c, zeros{}, size)
		}()
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, err := p.DialContext(ctx, a, 2280)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(deadline))
	if _, err := io.CopyN(c, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if n := <-received; n != size {
		t.Errorf("the sandbox received %d bytes of %d", n, size)
	}
	if n, err := io.CopyN(io.Discard, c, size); err != nil {
		t.Errorf("the host received %d bytes of %d: %v", n, size, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
