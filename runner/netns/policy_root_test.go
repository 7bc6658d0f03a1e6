//go:build root

package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"daytona/internal/fault"
)

// upstream is a DNS server of the test. Names below "hang." are never answered.
func upstream(t *testing.T) (addr string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg)
		m.SetReply(q)
		name := q.Question[0].Name
		switch {
		case strings.HasPrefix(name, "hang."):
			return
		case strings.HasPrefix(name, "big."):
			for range 200 {
				rr, _ := dns.NewRR(name + " 60 IN TXT \"" + strings.Repeat("x", 50) + "\"")
				m.Answer = append(m.Answer, rr)
			}
			if w.RemoteAddr().Network() == "udp" {
				m.Truncate(512)
			}
		default:
			rr, _ := dns.NewRR(name + " 60 IN A 45.66.77.88")
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m)
	})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return pc.LocalAddr().String(), asked
}

// resolve asks the gateway's DNS server from within a slot.
func resolve(s Slot, network, server, name string, timeout time.Duration) (*dns.Msg, error) {
	var c net.Conn
	err := insideErr(s.NetNS, func() (err error) {
		d := net.Dialer{Timeout: timeout}
		c, err = d.Dial(network, net.JoinHostPort(server, "53"))
		return err
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(timeout))
	dc := &dns.Conn{Conn: c}
	q := new(dns.Msg)
	q.SetQuestion(name, dns.TypeA)
	dc.UDPSize = dns.MaxMsgSize
	raw, err := ask(dc, q, network, time.Now().Add(timeout))
	if err != nil {
		return nil, err
	}
	if network == "udp" && len(raw) > dns.MinMsgSize {
		return nil, fmt.Errorf("an answer of %d bytes over UDP to a client that takes %d", len(raw), dns.MinMsgSize)
	}
	m := new(dns.Msg)
	err = m.Unpack(raw)
	if err == nil && m.Id != q.Id {
		return nil, dns.ErrId
	}
	return m, err
}

// ask sends a question and returns the answer. A datagram may be lost on a busy
// host, so over UDP it is sent again, as every resolver does.
func ask(c *dns.Conn, q *dns.Msg, network string, until time.Time) ([]byte, error) {
	for {
		if err := c.WriteMsg(q); err != nil {
			return nil, err
		}
		again := until
		if next := time.Now().Add(time.Second); network == "udp" && next.Before(until) {
			again = next
		}
		c.SetReadDeadline(again)
		raw, err := c.ReadMsgHeader(nil)
		if !errors.Is(err, os.ErrDeadlineExceeded) || again.Equal(until) {
			return raw, err
		}
	}
}

func TestDNS(t *testing.T) {
	cfg := testConfig(t)
	addr, asked := upstream(t)
	cfg.Upstreams = []string{addr}
	p := open(t, cfg)
	a := acquire(t, p, "a", Policy{})
	if got := p.ResolvConf(); !strings.Contains(got, "nameserver "+Gateway4.String()) {
		t.Errorf("resolv.conf is %q", got)
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, server := range []string{Gateway4.String(), Gateway6.String()} {
			m, err := resolve(a, network, server, "example.org.", 5*time.Second)
			if err != nil || len(m.Answer) != 1 || !strings.Contains(m.Answer[0].String(), public4) {
				t.Errorf("%s via %s: %v, %v", network, server, m, err)
			}
		}
	}
	if m, err := resolve(a, "udp", Gateway4.String(), "big.example.org.", 5*time.Second); err != nil || !m.Truncated {
		t.Errorf("a long answer over UDP: %v", err)
	}
	if m, err := resolve(a, "tcp", Gateway4.String(), "big.example.org.", 5*time.Second); err != nil || m.Truncated || len(m.Answer) != 200 {
		t.Errorf("a long answer over TCP: %v", err)
	}
	if m, err := resolve(a, "tcp", Gateway4.String(), "hang.example.org.", deadline); err != nil || m.Rcode != dns.RcodeServerFailure {
		t.Errorf("a hung upstream: %v, %v; want SERVFAIL", m, err)
	}
	before := asked.Load()
	blocked := acquire(t, p, "blocked", Policy{BlockAll: true})
	if m, err := resolve(blocked, "udp", Gateway4.String(), "example.org.", time.Second); err == nil {
		t.Errorf("a blocked sandbox was answered: %v", m)
	}
	if asked.Load() != before {
		t.Error("the upstream was asked for a blocked sandbox")
	}
}

// TestDNSPortTaken runs beside a server that listens at port 53 on every address.
func TestDNSPortTaken(t *testing.T) {
	cfg := testConfig(t)
	addr, _ := upstream(t)
	cfg.Upstreams = []string{addr}
	pc, err := net.ListenPacket("udp", ":53")
	if err != nil {
		t.Skipf("port 53: %v", err)
	}
	defer pc.Close()
	p := open(t, cfg)
	if p.dns.port == 53 {
		t.Fatal("port 53 was not taken")
	}
	a := acquire(t, p, "a", Policy{})
	for _, network := range []string{"udp", "tcp"} {
		for _, server := range []string{Gateway4.String(), Gateway6.String()} {
			if m, err := resolve(a, network, server, "example.org.", 5*time.Second); err != nil || len(m.Answer) != 1 {
				t.Errorf("%s via %s: %v, %v", network, server, m, err)
			}
		}
	}
}

func TestPolicies(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	addr, _ := upstream(t)
	cfg.Upstreams = []string{addr}
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{BlockAll: true})
	neighbour := acquire(t, p, "b", Policy{})
	greet(t, s.NetNS, ":2280")
	const first, second, third = public4 + ":8080", public4b + ":8080", "[" + public6 + "]:8080"
	check := func(t *testing.T, dnsWorks bool, reached, refused []string) {
		t.Helper()
		for _, a := range reached {
			reaches(t, s, "tcp", a, "")
		}
		for _, a := range refused {
			isRefused(t, s, "tcp", a)
		}
		_, err := resolve(s, "udp", Gateway4.String(), "example.org.", 2*time.Second)
		if (err == nil) != dnsWorks {
			t.Errorf("DNS: %v, want it to work: %v", err, dnsWorks)
		}
		// Whatever the policy, the host reaches the sandbox.
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		c, err := p.DialContext(ctx, s, 2280)
		if err != nil {
			t.Fatalf("the host does not reach the sandbox: %v", err)
		}
		c.Close()
		reaches(t, neighbour, "tcp", first, "")
	}
	set := func(t *testing.T, pol Policy) {
		t.Helper()
		if err := p.SetPolicy(t.Context(), "a", pol); err != nil {
			t.Fatal(err)
		}
	}
	check(t, false, nil, []string{first, second, third})
	set(t, Policy{AllowList: []string{public4 + "/24"}})
	check(t, true, []string{first}, []string{second, third})
	set(t, Policy{AllowList: []string{public4b + "/32", "10.9.9.9/32", "169.254.169.254/32"}})
	check(t, true, []string{second}, []string{first, third, "10.9.9.9:8080", "169.254.169.254:8080"})
	set(t, Policy{})
	check(t, true, []string{first, second, third}, nil)

	// A connection that is open when the policy narrows ends.
	var c net.Conn
	inside(t, s.NetNS, func() (err error) {
		c, err = net.DialTimeout("tcp", first, 5*time.Second)
		return err
	})
	defer c.Close()
	talk := func() error {
		c.SetDeadline(time.Now().Add(2 * time.Second))
		if _, err := io.WriteString(c, "hello"); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 64))
		return err
	}
	if err := talk(); err != nil {
		t.Fatal(err)
	}
	set(t, Policy{BlockAll: true})
	if err := talk(); err == nil {
		t.Error("an open connection survived the policy that forbids it")
	}
	check(t, false, nil, []string{first, second, third})

	if err := p.SetPolicy(t.Context(), "a", Policy{AllowList: []string{"not a range"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a bad policy: %v", err)
	}
	if err := p.SetPolicy(t.Context(), "nobody", Policy{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown sandbox: %v", err)
	}
	check(t, false, nil, []string{first})
}
