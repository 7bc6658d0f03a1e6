//go:build root

package netns

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// zone is a DNS server of the test that answers as it is told and remembers
// everything that it was sent.
type zone struct {
	addr string

	mu      sync.Mutex
	records map[string][]string // by name and type: the records of the answer section
	seen    []*dns.Msg
}

func newZone(t *testing.T) *zone {
	t.Helper()
	z := &zone{records: make(map[string][]string)}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	z.addr = pc.LocalAddr().String()
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: dns.HandlerFunc(z.serve)}, {Listener: l, Handler: dns.HandlerFunc(z.serve)}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return z
}

// set says what a question is answered with, such as "a.test. A" by
// "a.test. 60 IN A 192.0.2.1".
func (z *zone) set(question string, records ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[question] = records
}

func (z *zone) serve(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.seen = append(z.seen, q.Copy())
	m := new(dns.Msg)
	m.SetReply(q)
	records, ok := z.records[q.Question[0].Name+" "+dns.TypeToString[q.Question[0].Qtype]]
	if !ok {
		m.Rcode = dns.RcodeNameError
	}
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	w.WriteMsg(m)
}

// asked returns what reached the server since it was last called.
func (z *zone) asked() []*dns.Msg {
	z.mu.Lock()
	defer z.mu.Unlock()
	out := z.seen
	z.seen = nil
	return out
}

// query asks the gateway from within a slot.
func query(t *testing.T, s Slot, q *dns.Msg) *dns.Msg {
	t.Helper()
	var c net.Conn
	inside(t, s.NetNS, func() (err error) {
		c, err = net.DialTimeout("udp", net.JoinHostPort(Gateway4.String(), "53"), deadline)
		return err
	})
	defer c.Close()
	dc := &dns.Conn{Conn: c, UDPSize: dns.MaxMsgSize}
	raw, err := ask(dc, q, "udp", time.Now().Add(deadline))
	if err != nil {
		t.Fatalf("%s: %v", q.Question[0].Name, err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		t.Fatal(err)
	}
	return m
}

// lookUp asks for a name and returns the answer's code and addresses.
func lookUp(t *testing.T, s Slot, name string, qtype uint16) (rcode int, addrs []string) {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	m := query(t, s, q)
	for _, rr := range m.Answer {
		if a, ok := addressOf(rr); ok {
			addrs = append(addrs, a.String())
		}
	}
	return m.Rcode, addrs
}

func resolvesTo(t *testing.T, s Slot, name string, qtype uint16, want ...string) {
	t.Helper()
	rcode, got := lookUp(t, s, name, qtype)
	if rcode != dns.RcodeSuccess || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s %s: %s %v, want %v", name, dns.TypeToString[qtype], dns.RcodeToString[rcode], got, want)
	}
}

func isNotResolved(t *testing.T, s Slot, name string, qtype uint16) {
	t.Helper()
	if rcode, got := lookUp(t, s, name, qtype); rcode != dns.RcodeRefused || len(got) > 0 {
		t.Errorf("%s %s: %s %v, want it refused", name, dns.TypeToString[qtype], dns.RcodeToString[rcode], got)
	}
}

func setPolicy(t *testing.T, p *Pool, id string, pol Policy) {
	t.Helper()
	if err := p.SetPolicy(t.Context(), id, pol); err != nil {
		t.Fatal(err)
	}
}

// TestDomains checks what a list of names opens, in IPv4 and IPv6, over aliases
// and wildcards, and what it does not.
func TestDomains(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	z := newZone(t)
	cfg.Upstreams = []string{z.addr}
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{Domains: []string{"good.example.com", "*.wild.example.com"}})
	free := acquire(t, p, "free", Policy{})
	const first, second, third = public4 + ":8080", public4b + ":8080", "[" + public6 + "]:8080"

	z.set("good.example.com. A", "good.example.com. 60 IN CNAME cdn.example.net.", "cdn.example.net. 60 IN A "+public4,
		"other.example.com. 60 IN A "+public4b) // not asked for
	z.set("good.example.com. AAAA", "good.example.com. 60 IN AAAA "+public6)
	z.set("a.b.wild.example.com. A", "a.b.wild.example.com. 60 IN A "+public4b)

	for _, a := range []string{first, second, third} {
		isRefused(t, s, "tcp", a)
		reaches(t, free, "tcp", a, "")
	}
	resolvesTo(t, s, "good.example.com.", dns.TypeA, public4)
	reaches(t, s, "tcp", first, hostLink4)
	reaches(t, s, "udp", first, hostLink4)
	isRefused(t, s, "tcp", second)
	isRefused(t, s, "tcp", third)
	resolvesTo(t, s, "GOOD.example.com.", dns.TypeAAAA, public6)
	reaches(t, s, "tcp", third, hostLink6)
	isRefused(t, s, "tcp", second)
	resolvesTo(t, s, "a.b.wild.example.com.", dns.TypeA, public4b)
	reaches(t, s, "tcp", second, hostLink4)
	isNotResolved(t, s, "wild.example.com.", dns.TypeA)
	isNotResolved(t, s, "cdn.example.net.", dns.TypeA)
	isNotResolved(t, s, "evilgood.example.com.", dns.TypeA)
	for _, f := range forbidden {
		isRefused(t, s, "tcp", net.JoinHostPort(f, "8080"))
	}

	// A list of networks opens more, and no further name.
	setPolicy(t, p, "a", Policy{AllowList: []string{public4b + "/32"}, Domains: []string{"good.example.com"}})
	reaches(t, s, "tcp", second, hostLink4)
	reaches(t, s, "tcp", first, hostLink4) // still one of the name's
	isNotResolved(t, s, "a.b.wild.example.com.", dns.TypeA)
	setPolicy(t, p, "a", Policy{AllowList: []string{public4b + "/32"}})
	isNotResolved(t, s, "good.example.com.", dns.TypeA)
	isRefused(t, s, "tcp", first)
	setPolicy(t, p, "a", Policy{Domains: []string{"good.example.com"}})
	isRefused(t, s, "tcp", first) // to be resolved again
	isRefused(t, s, "tcp", second)
	resolvesTo(t, s, "good.example.com.", dns.TypeA, public4)
	reaches(t, s, "tcp", first, hostLink4)
	setPolicy(t, p, "a", Policy{})
	reaches(t, s, "tcp", second, hostLink4)
}

// TestOpenConnections checks that a change of policy ends the connections that it
// forbids, and no other.
func TestOpenConnections(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	z := newZone(t)
	cfg.Upstreams = []string{z.addr}
	z.set("one.example.com. A", "one.example.com. 1 IN A "+public4)
	z.set("two.example.com. A", "two.example.com. 1 IN A "+public4b)
	z.set("two.example.com. AAAA", "two.example.com. 1 IN AAAA "+public6)
	p := open(t, cfg)
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			s := acquire(t, p, network, Policy{Domains: []string{"one.example.com", "two.example.com"}})
			resolvesTo(t, s, "one.example.com.", dns.TypeA, public4)
			resolvesTo(t, s, "two.example.com.", dns.TypeA, public4b)
			resolvesTo(t, s, "two.example.com.", dns.TypeAAAA, public6)
			dial := func(to string) net.Conn {
				var c net.Conn
				inside(t, s.NetNS, func() (err error) {
					c, err = net.DialTimeout(network, net.JoinHostPort(to, "8080"), 5*time.Second)
					return err
				})
				t.Cleanup(func() { c.Close() })
				return c
			}
			talks := func(c net.Conn) bool {
				buf := make([]byte, 64)
				for range 3 { // a datagram may be lost
					c.SetDeadline(time.Now().Add(time.Second))
					if _, err := c.Write([]byte("hello")); err != nil {
						continue
					}
					if _, err := c.Read(buf); err == nil {
						return true
					}
				}
				return false
			}
			kept, ended, ended6 := dial(public4), dial(public4b), dial(public6)
			for _, c := range []net.Conn{kept, ended, ended6} {
				if !talks(c) {
					t.Fatalf("%s does not talk", c.RemoteAddr())
				}
			}
			setPolicy(t, p, network, Policy{Domains: []string{"one.example.com"}})
			if !talks(kept) {
				t.Error("a connection that is still allowed ended")
			}
			if talks(ended) || talks(ended6) {
				t.Error("a connection survived the policy that forbids it")
			}
			setPolicy(t, p, network, Policy{BlockAll: true})
			if talks(kept) {
				t.Error("a connection survived the policy that blocks everything")
			}
		})
	}
}

// TestRestartKeepsNames opens a pool anew, as after kill -9: addresses that were
// resolved stay reachable, and a policy that was recorded last holds.
func TestRestartKeepsNames(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	z := newZone(t)
	cfg.Upstreams = []string{z.addr}
	z.set("one.example.com. A", "one.example.com. 60 IN A "+public4)
	z.set("two.example.com. A", "two.example.com. 60 IN A "+public4b)
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{Domains: []string{"one.example.com", "two.example.com"}})
	resolvesTo(t, s, "one.example.com.", dns.TypeA, public4)
	resolvesTo(t, s, "two.example.com.", dns.TypeA, public4b)
	p.Close()
	if _, err := dialFrom(s.NetNS, "tcp", public4+":8080", 5*time.Second); err != nil {
		t.Errorf("without the server nothing is reached that was: %v", err)
	}
	isRefused(t, s, "tcp", "["+public6+"]:8080")
	if _, err := resolve(s, "udp", Gateway4.String(), "one.example.com.", time.Second); err == nil {
		t.Error("a name resolved without a forwarder")
	}
	p = open(t, cfg)
	reaches(t, s, "tcp", public4+":8080", hostLink4)
	resolvesTo(t, s, "one.example.com.", dns.TypeA, public4)
	isNotResolved(t, s, "three.example.com.", dns.TypeA)

	// Killed between the record of a narrower policy and the rules.
	p.Close()
	l, _ := p.lease("a")
	recs, err := openRecords(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := recs.put(record{Index: l.index, ID: "a", Policy: Policy{Domains: []string{"one.example.com"}}}); err != nil {
		t.Fatal(err)
	}
	if err := recs.close(); err != nil {
		t.Fatal(err)
	}
	p = open(t, cfg)
	isRefused(t, s, "tcp", public4b+":8080")
	isNotResolved(t, s, "two.example.com.", dns.TypeA)
	resolvesTo(t, s, "one.example.com.", dns.TypeA, public4)
	reaches(t, s, "tcp", public4+":8080", hostLink4)
}
