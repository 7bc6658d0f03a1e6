package netns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
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

// forwarder answers the sandboxes' DNS queries from the host's resolvers, so
// that no resolver's address need be opened to them.
type forwarder struct {
	upstreams *upstreams
	log       *slog.Logger
	servers   []*dns.Server
	port      uint16
	stopping  context.Context
	stop      context.CancelFunc
	total     chan struct{}

	mu     sync.Mutex
	client map[netip.Addr]int // queries under way, by slot
}

// startForwarder listens on addrs, at port 53 or, where that is taken by a
// server on all addresses, at a free one. The rules lead queries there.
func startForwarder(addrs []netip.Addr, up *upstreams, log *slog.Logger) (*forwarder, error) {
	f := &forwarder{upstreams: up, log: log, total: make(chan struct{}, dnsQueries), client: make(map[netip.Addr]int)}
	f.stopping, f.stop = context.WithCancel(context.Background())
	var err error
	for _, port := range []uint16{53, 0, 0, 0} {
		if err = f.listen(addrs, port); err == nil {
			return f, nil
		}
		f.closeListeners()
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	f.stop()
	return nil, fmt.Errorf("DNS forwarder: %w", err)
}

// listen opens a UDP and a TCP socket on each address, all on one port.
func (f *forwarder) listen(addrs []netip.Addr, port uint16) error {
	var ready sync.WaitGroup
	for _, a := range addrs {
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
		if err != nil {
			return err
		}
		port = udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
		if err != nil {
			return errors.Join(err, udp.Close())
		}
		for _, s := range []*dns.Server{
			{PacketConn: udp, Handler: dns.HandlerFunc(f.handle)},
			{Listener: tcp, Handler: dns.HandlerFunc(f.handle), MaxTCPQueries: 128, IdleTimeout: func() time.Duration { return 10 * time.Second }},
		} {
			ready.Add(1)
			s.NotifyStartedFunc = sync.OnceFunc(ready.Done)
			f.servers = append(f.servers, s)
			go func() {
				if err := s.ActivateAndServe(); err != nil && f.stopping.Err() == nil {
					f.log.Error("DNS forwarder stopped", "error", err)
				}
			}()
		}
	}
	ready.Wait() // a server can only be shut down once it runs
	f.port = port
	return nil
}

func (f *forwarder) closeListeners() {
	for _, s := range f.servers {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = s.ShutdownContext(ctx)
		cancel()
	}
	f.servers = nil
}

func (f *forwarder) close() {
	f.stop()
	f.closeListeners()
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
	answer := f.ask(ctx, network, q)
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
		if len(answer.Question) != 1 || answer.Question[0].Qtype != q.Question[0].Qtype {
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
