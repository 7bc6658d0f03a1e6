package netns

import (
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxChain is how many aliases a name may have one behind the other.
const maxChain = 16

// askable says whether a sandbox whose names are limited may ask for a type of
// record. What is left out either speaks of many names at once or of addresses
// that nobody would pin.
func askable(qtype uint16) bool {
	switch qtype {
	case dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB, dns.TypeOPT, dns.TypeTKEY, dns.TypeTSIG, dns.TypeNULL:
		return false
	}
	return true
}

// unanswered are types that such a sandbox is told there are none of: they carry
// addresses of their own, and clients go on without them.
func unanswered(qtype uint16) bool { return qtype == dns.TypeHTTPS || qtype == dns.TypeSVCB }

// plainQuery is the question of a sandbox without anything else that it put into
// it: bits, options and records would all leave the host, and so would letters
// in upper case.
func plainQuery(q dns.Question) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(strings.ToLower(q.Name), q.Qtype)
	m.SetEdns0(dns.DefaultMsgSize, false)
	return m
}

// vetted is what is left of an answer for a sandbox whose names are limited.
type vetted struct {
	records []dns.RR
	soa     []dns.RR      // says how long to believe that there is nothing
	addrs   []netip.Addr  // that are to be pinned before the answer goes out
	ttl     time.Duration // of the addresses and the aliases that led there
	refused []netip.Addr  // left out: no name leads there
}

// vet takes from an answer what belongs to the question: the aliases that lead
// on from the name, and the records at their end. Addresses that reachable says
// no to are left out, whoever owns the name.
func vet(q dns.Question, answer *dns.Msg, reachable func(netip.Addr) bool) vetted {
	v := vetted{ttl: maxTTL}
	take := func(rr dns.RR) {
		rr = dns.Copy(rr)
		h := rr.Header()
		h.Ttl = min(h.Ttl, uint32(maxTTL/time.Second))
		v.ttl = min(v.ttl, time.Duration(h.Ttl)*time.Second)
		v.records = append(v.records, rr)
	}
	name := q.Name
	for range maxChain {
		next := ""
		for _, rr := range answer.Answer {
			if !strings.EqualFold(rr.Header().Name, name) || rr.Header().Class != dns.ClassINET {
				continue
			}
			if alias, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME {
				if next == "" {
					next = alias.Target
					take(rr)
				}
				continue
			}
			if rr.Header().Rrtype != q.Qtype {
				continue
			}
			a, isAddress := addressOf(rr)
			if !isAddress {
				take(rr)
				continue
			}
			if !a.IsValid() || !reachable(a) {
				v.refused = append(v.refused, a)
				continue
			}
			v.addrs = append(v.addrs, a)
			take(rr)
		}
		if next == "" {
			break
		}
		name = next
	}
	for _, rr := range answer.Ns {
		if _, ok := rr.(*dns.SOA); ok && len(v.soa) == 0 {
			v.soa = append(v.soa, dns.Copy(rr))
		}
	}
	return v
}

// addressOf returns the address of an A or AAAA record. One that is not what its
// type says is invalid.
func addressOf(rr dns.RR) (netip.Addr, bool) {
	switch r := rr.(type) {
	case *dns.A:
		a, _ := netip.AddrFromSlice(r.A.To4())
		return a, true
	case *dns.AAAA:
		a, _ := netip.AddrFromSlice(r.AAAA)
		if !a.Is6() {
			a = netip.Addr{}
		}
		return a, true
	}
	return netip.Addr{}, false
}

// refusal is the answer to a question that the policy does not let out, or whose
// answer it does not let in. why is for a person to read.
func refusal(q *dns.Msg, why string) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q, dns.RcodeRefused)
	if q.IsEdns0() != nil {
		m.SetEdns0(dns.DefaultMsgSize, false)
		opt := m.IsEdns0()
		opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeProhibited, ExtraText: why})
	}
	return m
}
