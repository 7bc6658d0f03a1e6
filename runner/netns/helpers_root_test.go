//go:build root

package netns

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// deadline bounds every wait in these tests; none is expected to take as long.
const deadline = 20 * time.Second

// testConfig is a pool of its own for a test; what an earlier killed run left
// is removed first.
func testConfig(t *testing.T) Config {
	t.Helper()
	cfg := Config{
		Prefix: "dtst", Ready: 2, Max: 50,
		Outer4:   netip.MustParsePrefix("10.212.0.0/24"),
		Outer6:   netip.MustParsePrefix("fd64:6179:7401::/64"),
		StateDir: t.TempDir(),
		Log:      slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	clean := func() {
		if err := Destroy(context.Background(), cfg.Prefix); err != nil {
			t.Errorf("destroy: %v", err)
		}
	}
	clean()
	t.Cleanup(clean)
	return cfg
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func open(t *testing.T, cfg Config) *Pool {
	t.Helper()
	p, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func acquire(t *testing.T, p *Pool, id string, pol Policy) Slot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	s, err := p.Acquire(ctx, id, pol)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inside runs f on a thread in a namespace. Sockets that f makes stay there.
func inside(t *testing.T, path string, f func() error) {
	t.Helper()
	if err := insideErr(path, f); err != nil {
		t.Fatal(err)
	}
}

func insideErr(path string, f func() error) error {
	return onOwnThread(func(netns.NsHandle) error {
		ns, err := netns.GetFromPath(path)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			return err
		}
		return f()
	})
}

// dialFrom connects from within a namespace ("" for the host's) and returns
// what the peer says.
func dialFrom(path, network, addr string, timeout time.Duration) (string, error) {
	var c net.Conn
	dial := func() (err error) {
		d := net.Dialer{Timeout: timeout}
		c, err = d.Dial(network, addr)
		return err
	}
	var err error
	if path == "" {
		err = dial()
	} else {
		err = insideErr(path, dial)
	}
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		return "", err
	}
	b := make([]byte, 512)
	n, err := c.Read(b)
	return string(b[:n]), err
}

// greet serves TCP and UDP on addr in a namespace ("" for the host's): every
// peer is told its own address.
func greet(t *testing.T, path, addr string) {
	t.Helper()
	var l net.Listener
	var pc net.PacketConn
	listen := func() (err error) {
		if l, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		pc, err = net.ListenPacket("udp", addr)
		return err
	}
	if path == "" {
		if err := listen(); err != nil {
			t.Fatal(err)
		}
	} else {
		inside(t, path, listen)
	}
	t.Cleanup(func() { l.Close(); pc.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				b := make([]byte, 64)
				for {
					if _, err := c.Read(b); err != nil {
						return
					}
					if _, err := io.WriteString(c, host); err != nil {
						return
					}
				}
			}()
		}
	}()
	go func() {
		b := make([]byte, 64)
		for {
			_, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			pc.WriteTo([]byte(host), from)
		}
	}()
}

// Addresses of the test's outside world.
const (
	worldNS    = "dtstworld"
	worldLink4 = "45.66.70.2"
	hostLink4  = "45.66.70.1"
	worldLink6 = "2600:ffff:70::2"
	hostLink6  = "2600:ffff:70::1"
	public4    = "45.66.77.88"
	public4b   = "45.66.78.88"
	public6    = "2600:ffff:77::88"
)

// forbidden are addresses that the world has too and sandboxes must not reach.
var forbidden = []string{
	"10.9.9.9", "172.31.99.1", "192.168.77.1", "100.64.9.9", "169.254.169.254", "100.100.100.200", "198.18.0.9",
	"fd99::1", "fd00:ec2::254", "2002:a09:909::1", "64:ff9b::a09:909",
}

// world makes a namespace that stands for the internet: it has public addresses
// and, to prove that refusals are ours, private ones that the host can reach.
// Its services greet at port 8080.
func world(t *testing.T) string {
	t.Helper()
	remove := func() {
		if l, err := netlink.LinkByName("dtstworld"); err == nil {
			netlink.LinkDel(l)
		}
		if err := removeNamespace(worldNS); err != nil {
			t.Error(err)
		}
	}
	remove()
	t.Cleanup(remove)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(shareNamespaceDir())
	all := append([]string{public4, public4b, public6}, forbidden...)
	must(makeNamespace(worldNS, func(home netns.NsHandle) error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "up0"
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "dtstworld", PeerNamespace: netlink.NsFd(home)}); err != nil {
			return err
		}
		lo, _ := h.LinkByName("lo")
		up, _ := h.LinkByName("up0")
		h.LinkSetUp(lo)
		h.LinkSetUp(up)
		for _, a := range []string{worldLink4 + "/30", worldLink6 + "/64"} {
			if err := h.AddrAdd(up, testAddr(a)); err != nil {
				return fmt.Errorf("%s: %w", a, err)
			}
		}
		for _, a := range all {
			if err := h.AddrAdd(lo, testAddr(host(netip.MustParseAddr(a)).String())); err != nil {
				return fmt.Errorf("%s: %w", a, err)
			}
		}
		// The world knows no way back to the sandboxes' addresses: without
		// masquerading nothing returns.
		return nil
	}))
	dev, err := netlink.LinkByName("dtstworld")
	must(err)
	must(netlink.LinkSetUp(dev))
	must(netlink.AddrAdd(dev, testAddr(hostLink4+"/30")))
	must(netlink.AddrAdd(dev, testAddr(hostLink6+"/64")))
	for _, a := range all {
		ip := netip.MustParseAddr(a)
		gw := worldLink4
		if ip.Is6() {
			gw = worldLink6
		}
		must(netlink.RouteReplace(&netlink.Route{LinkIndex: dev.Attrs().Index, Dst: ipNet(host(ip)), Gw: net.ParseIP(gw)}))
	}
	path := namespacePath(worldNS)
	for _, a := range all { // each its own: a UDP answer comes from where the question went
		greet(t, path, net.JoinHostPort(a, "8080"))
	}
	return path
}

func testAddr(s string) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(s))}
	if strings.Contains(s, ":") {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// reaches fails the test unless a connection from the slot is greeted as the
// address given.
func reaches(t *testing.T, s Slot, network, addr, as string) {
	t.Helper()
	got, err := dialFrom(s.NetNS, network, addr, 5*time.Second)
	if err != nil {
		t.Errorf("%s to %s from %s: %v", network, addr, s.Device, err)
	} else if as != "" && got != as {
		t.Errorf("%s to %s from %s: seen as %q, want %q", network, addr, s.Device, got, as)
	}
}

// isRefused fails the test unless the attempt is answered with a refusal. UDP
// may also be met with silence: the kernel sends few ICMP errors a second.
func isRefused(t *testing.T, s Slot, network, addr string) {
	t.Helper()
	timeout := 3 * time.Second
	if network == "udp" {
		timeout = time.Second / 2
	}
	got, err := dialFrom(s.NetNS, network, addr, timeout)
	if err == nil {
		t.Errorf("%s to %s from %s: reached it, seen as %q", network, addr, s.Device, got)
		return
	}
	if network == "udp" {
		return
	}
	text := err.Error()
	for _, ok := range []string{"refused", "no route to host", "permission denied", "network is unreachable"} {
		if strings.Contains(text, ok) {
			return
		}
	}
	t.Errorf("%s to %s from %s: not refused but %v", network, addr, s.Device, err)
}

// snapshotHost describes what a pool may leave on the host.
func snapshotHost(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	links, err := wholly(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "dtst") {
			fmt.Fprintln(&b, "link", l.Attrs().Name)
		}
	}
	addrs, err := wholly(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if strings.HasPrefix(a.IP.String(), "10.212.") || strings.HasPrefix(a.IP.String(), "fd64:6179:7401::") {
			fmt.Fprintln(&b, "address", a.IPNet)
		}
	}
	entries, _ := os.ReadDir(namespaceDir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "dtst") {
			fmt.Fprintln(&b, "namespace", e.Name())
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, namespaceDir+"/dtst") {
			fmt.Fprint(&b, "mount ", line)
		}
	}
	conn, err := openNftables()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseLasting()
	chains, err := conn.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chains {
		if strings.HasPrefix(c.Table.Name, "dtst") {
			fmt.Fprintln(&b, "chain", c.Table.Name, c.Name)
		}
	}
	return b.String()
}

// takeAddresses removes all addresses of the inner device, and with them its
// routes, as gVisor does when it starts.
func takeAddresses(t *testing.T, s Slot) {
	t.Helper()
	inside(t, s.NetNS, func() error {
		dev, err := netlink.LinkByName(InnerDevice)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(dev, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if err := netlink.AddrDel(dev, &a); err != nil {
				return err
			}
		}
		return nil
	})
}
