package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Bounds of the forwarder. A query over a bound is answered SERVFAIL at once.
const (
	dnsQueriesPerSlot = 64              // at the same time
	dnsQueries        = 1024            // of all slots together
	dnsTryTimeout     = 2 * time.Second // for one upstream
	dnsTotalTimeout   = 5 * time.Second // for a query
)

// guests knows who asks.
type guests interface {
	// guest returns the sandbox whose address on this host addr is.
	guest(addr netip.Addr) (guest, bool)
	// pin makes the addresses of a name reachable for the sandbox, unless its
	// policy has changed since guest was called.
	pin(g guest, name string, addrs []netip.Addr, how time.Duration) error
	// reachable says whether the name of any sandbox may lead to an address.
	reachable(netip.Addr) bool
}

// guest is a sandbox that asks.
type guest struct {
	index  int
	policy Policy
	epoch  uint64 // of its policy
}

// forwarder answers the sandboxes' DNS queries from the host's resolvers, so
// that no resolver's address need be opened to them. Where a policy limits the
// names that resolve, nothing else leaves the host, and an answer is given only
// when what it says can be reached. When the forwarder fails, no name resolves.
type forwarder struct {
	upstreams *upstreams
	guests    guests
	log       *slog.Logger
	port      uint16
	stopping  context.Context
	stop      context.CancelFunc
	total     chan struct{}
	serving   sync.WaitGroup

	mu      sync.Mutex
	sockets map[io.Closer]bool // open ones
	client  map[netip.Addr]int // queries under way, by slot
}

// startForwarder listens on addrs, at port 53 or, where that is taken by a
// server on all addresses, at a free one. The rules lead queries there.
func startForwarder(addrs []netip.Addr, up *upstreams, who guests, log *slog.Logger) (*forwarder, error) {
	f := &forwarder{
		upstreams: up, guests: who, log: log, total: make(chan struct{}, dnsQueries), client: make(map[netip.Addr]int), sockets: make(map[io.Closer]bool),
	}
	f.stopping, f.stop = context.WithCancel(context.Background())
	var err error
	for _, port := range []uint16{53, 0, 0, 0} {
		if err = f.listen(addrs, port); err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	f.stop()
	return nil, fmt.Errorf("DNS forwarder: %w", err)
}

// listen opens a UDP and a TCP socket on each address, all on one port.
func (f *forwarder) listen(addrs []netip.Addr, port uint16) error {
	var servers []*dns.Server
	for _, a := range addrs {
		udp, err := listenDNS("udp", netip.AddrPortFrom(a, port))
		if err != nil {
			return errors.Join(err, shut(servers))
		}
		servers = append(servers, udp)
		port = udp.PacketConn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		tcp, err := listenDNS("tcp", netip.AddrPortFrom(a, port))
		if err != nil {
			return errors.Join(err, shut(servers))
		}
		servers = append(servers, tcp)
	}
	for _, s := range servers {
		ready := make(chan struct{})
		f.serving.Go(func() { f.serve(s, sync.OnceFunc(func() { close(ready) })) })
		<-ready // a server can only be shut down once it runs
	}
	f.port = port
	return nil
}

// listenDNS opens one socket, for a server that is not started yet.
func listenDNS(network string, at netip.AddrPort) (*dns.Server, error) {
	s := &dns.Server{Net: network, Addr: at.String(), MaxTCPQueries: 128, IdleTimeout: func() time.Duration { return 10 * time.Second }}
	var err error
	if network == "udp" {
		s.PacketConn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	} else {
		s.Listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	}
	return s, err
}

// shut closes the sockets of servers that were never started.
func shut(servers []*dns.Server) error {
	var errs []error
	for _, s := range servers {
		if s.PacketConn != nil {
			errs = append(errs, s.PacketConn.Close())
		}
		if s.Listener != nil {
			errs = append(errs, s.Listener.Close())
		}
	}
	return errors.Join(errs...)
}

// serve answers at a socket until the forwarder is closed. A socket that fails
// is opened anew; until then nothing is answered there. started is called once
// the first attempt goes on or has failed.
func (f *forwarder) serve(s *dns.Server, started func()) {
	defer started()
	network, at := s.Net, s.Addr
	if s.PacketConn != nil {
		at = s.PacketConn.LocalAddr().String()
	}
	for {
		s.Handler = dns.HandlerFunc(f.handle)
		s.NotifyStartedFunc = func() {
			context.AfterFunc(f.stopping, func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_ = s.ShutdownContext(ctx) // who waits for an answer waits in vain
			})
			started()
		}
		f.track(s, true)
		err := s.ActivateAndServe()
		f.track(s, false)
		for {
			if f.stopping.Err() != nil {
				return
			}
			f.log.Error("the DNS forwarder stopped and is started again; no name resolves meanwhile", "network", network, "address", at, "error", err)
			pause(f.stopping)
			var again *dns.Server
			if again, err = listenDNS(network, netip.MustParseAddrPort(at)); err == nil {
				s = again
				break
			}
		}
	}
}

// track notes whether a server's socket is open.
func (f *forwarder) track(s *dns.Server, open bool) {
	var c io.Closer = s.PacketConn
	if s.PacketConn == nil {
		c = s.Listener
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if delete(f.sockets, c); open {
		f.sockets[c] = true
	}
}

// close ends it. No name resolves from then on.
func (f *forwarder) close() {
	f.stop()
	f.serving.Wait()
}

func (f *forwarder) handle(w dns.ResponseWriter, q *dns.Msg) {
	network := w.RemoteAddr().Network()
	client := addrOf(w.RemoteAddr())
	if q.Response || len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		f.reply(w, q, dns.RcodeFormatError)
		return
	}
	if t := q.Question[0].Qtype; t == dns.TypeAXFR || t == dns.TypeIXFR {
		f.reply(w, q, dns.RcodeRefused)
		return
	}
	if !f.enter(client) {
		f.reply(w, q, dns.RcodeServerFailure)
		return
	}
	defer f.leave(client)
	ctx, cancel := context.WithTimeout(f.stopping, dnsTotalTimeout)
	defer cancel()
	answer := f.answer(ctx, network, client, q)
	if answer == nil {
		f.reply(w, q, dns.RcodeServerFailure)
		return
	}
	answer.Id = q.Id
	if network == "udp" {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
		answer.Truncate(size)
	}
	_ = w.WriteMsg(answer) // a client that is gone is no concern of ours
}

// answer is what a sandbox is told; nil is nothing that helps. Somebody whom
// nobody knows has no right to ask.
func (f *forwarder) answer(ctx context.Context, network string, client netip.Addr, q *dns.Msg) *dns.Msg {
	g, ok := f.guests.guest(client)
	question := q.Question[0]
	switch {
	case !ok || !resolves(g.policy, question.Name):
		return refusal(q, "the sandbox's network policy does not allow this name")
	case !restricts(g.policy):
		return f.ask(ctx, network, q)
	case question.Qclass != dns.ClassINET || !askable(question.Qtype):
		return refusal(q, "the sandbox's network policy does not allow this kind of question")
	case unanswered(question.Qtype):
		m := new(dns.Msg)
		return m.SetReply(q)
	}
	got := f.ask(ctx, network, plainQuery(question))
	if got == nil {
		return nil
	}
	v := vet(question, got, f.guests.reachable)
	if len(v.refused) > 0 {
		f.log.Debug("a name leads to addresses that no sandbox may reach", "slot", g.index, "name", question.Name, "addresses", v.refused)
		if len(v.addrs) == 0 {
			return refusal(q, "this name leads to an address that no sandbox may reach")
		}
	}
	if len(v.addrs) > 0 && pins(g.policy) {
		name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
		if err := f.guests.pin(g, name, v.addrs, pinTime(v.ttl)); err != nil {
			f.log.Warn("a name's addresses could not be opened; it does not resolve", "slot", g.index, "name", question.Name, "error", err)
			return nil
		}
	}
	m := new(dns.Msg)
	m.SetRcode(q, got.Rcode)
	m.RecursionAvailable, m.Truncated = true, got.Truncated
	m.Answer, m.Ns = v.records, v.soa
	if q.IsEdns0() != nil {
		m.SetEdns0(dns.DefaultMsgSize, false)
	}
	return m
}

// ask tries the upstreams in order until one answers. nil means none did.
func (f *forwarder) ask(ctx context.Context, network string, q *dns.Msg) *dns.Msg {
	var last *dns.Msg
	for _, upstream := range f.upstreams.list() {
		if ctx.Err() != nil {
			break
		}
		m := q.Copy()
		m.Id = dns.Id() // the client's choice is no protection against forged answers
		c := dns.Client{Net: network, Timeout: dnsTryTimeout, UDPSize: dns.DefaultMsgSize}
		answer, _, err := c.ExchangeContext(ctx, m, upstream)
		if err != nil {
			f.log.Debug("DNS upstream failed", "upstream", upstream, "error", err)
			continue
		}
		if len(answer.Question) != 1 || answer.Question[0].Qtype != q.Question[0].Qtype || !strings.EqualFold(answer.Question[0].Name, q.Question[0].Name) {
			continue
		}
		last = answer
		if answer.Rcode != dns.RcodeServerFailure && answer.Rcode != dns.RcodeRefused {
			break
		}
	}
	return last
}

func (f *forwarder) reply(w dns.ResponseWriter, q *dns.Msg, rcode int) {
	m := new(dns.Msg)
	m.SetRcode(q, rcode)
	_ = w.WriteMsg(m)
}

func (f *forwarder) enter(client netip.Addr) bool {
	select {
	case f.total <- struct{}{}:
	default:
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.client[client] >= dnsQueriesPerSlot {
		<-f.total
		return false
	}
	f.client[client]++
	return true
}

func (f *forwarder) leave(client netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.client[client]--; f.client[client] <= 0 {
		delete(f.client, client)
	}
	<-f.total
}

func addrOf(a net.Addr) netip.Addr {
	p, _ := netip.ParseAddrPort(a.String())
	return p.Addr().Unmap()
}

// upstreams is the list of DNS servers: a fixed one, or what a resolv.conf says
// at the moment.
type upstreams struct {
	fixed []string
	path  string

	mu      sync.Mutex
	checked time.Time
	servers []string
}

// newUpstreams reads servers, "addr" or "addr:port"; without any it follows path.
func newUpstreams(servers []string, path string) (*upstreams, error) {
	u := &upstreams{path: path}
	for _, s := range servers {
		if a, err := netip.ParseAddr(s); err == nil {
			u.fixed = append(u.fixed, netip.AddrPortFrom(a, 53).String())
			continue
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, fmt.Errorf("DNS server %q is neither an address nor address:port", s)
		}
		u.fixed = append(u.fixed, ap.String())
	}
	return u, nil
}

// list returns the servers in the order in which to ask them. The file is read
// again every few seconds: a laptop changes networks, a DHCP lease ends.
func (u *upstreams) list() []string {
	if len(u.fixed) > 0 {
		return u.fixed
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Since(u.checked) < 5*time.Second {
		return u.servers
	}
	u.checked = time.Now()
	conf, err := dns.ClientConfigFromFile(u.path)
	if err != nil {
		return u.servers // what worked before is better than nothing
	}
	u.servers = nil
	for _, s := range conf.Servers {
		port := conf.Port
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			port = "53"
		}
		u.servers = append(u.servers, net.JoinHostPort(s, port))
	}
	return u.servers
}
