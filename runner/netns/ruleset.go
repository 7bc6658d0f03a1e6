package netns

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// maxConnections is how many tracked connections one sandbox may have, so that
// none exhausts the host's table.
const maxConnections = 4096

// The sets of devices that the rules consult. Their ids tie rules and sets
// together within one transaction.
var (
	setSlots   = &lookup{name: "slots", id: 1}                    // all slots
	setDNS     = &lookup{name: "dns", id: 2}                      // those that may ask the forwarder
	mapCount   = &lookup{name: "count", id: 3, verdicts: true}    // jump to the slot's connection limit
	mapPolicy  = &lookup{name: "policy", id: 4, verdicts: true}   // go to the slot's policy
	deviceSets = []*lookup{setSlots, setDNS, mapCount, mapPolicy} // ids 5 and 6: the pool's own addresses
)

// Names of the chains that all slots share.
const (
	chainPrerouting  = "prerouting"
	chainInput       = "input"
	chainForward     = "forward"
	chainPostrouting = "postrouting"
	chainToHost      = "tohost"   // from a slot to the host
	chainOutbound    = "outbound" // from a slot to elsewhere
	chainInbound     = "inbound"  // from elsewhere to a slot
	chainBase        = "base"     // destinations refused to everybody
	chainRefuse      = "refuse"
)

// pinSet holds the addresses of one IP version that a slot's names have resolved
// to. Each leaves it by itself when its time is up. The set of another list of
// names is another set: what was resolved for a longer list is never taken for an
// answer of this one, whenever a process was killed.
type pinSet struct {
	name   string
	id     uint32
	layout layout
}

// maxPins is how many addresses a slot's names may have at the same time, by IP
// version.
const maxPins = 2048

// pinSets are a slot's sets for a policy; none for one without names.
func pinSets(p plan, index int, pol Policy) []pinSet {
	if !pins(pol) {
		return nil
	}
	h := fnv.New64a()
	for _, name := range pol.Domains {
		fmt.Fprintln(h, name)
	}
	name, id := fmt.Sprintf("%s%d.%016x", pinPrefix, index, h.Sum64()), uint32(1000+2*index)
	out := []pinSet{{name + ".4", id, layout4}}
	if p.v6 {
		out = append(out, pinSet{name + ".6", id + 1, layout6})
	}
	return out
}

// pinPrefix begins the names of such sets, and of no others.
const pinPrefix = "pinned"

func countChain(index int) string  { return fmt.Sprintf("count%d", index) }
func policyChain(index int) string { return fmt.Sprintf("policy%d", index) }

// chainRules is a chain's name and what is in it.
type chainRules struct {
	chain string
	rules []rule
}

// sharedRules computes the inet table's chains but for those of single slots.
// dnsPort is where the forwarder listens.
func sharedRules(p plan, allowPrivate []netip.Prefix, dnsPort uint16) []chainRules {
	established := tracked(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	invalid := tracked(expr.CtStateBitINVALID)
	gateways := p.families(host(p.gateway4()), host(p.gateway6()))
	var prerouting, dns, guard, masquerade []rule
	for _, g := range gateways {
		l := layoutOf(g.Addr())
		for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			if dnsPort != 53 {
				prerouting = append(prerouting, when(incoming(setSlots), version(l), to(g), toPort(proto, 53), rule{
					&expr.Immediate{Register: 1, Data: g.Addr().AsSlice()},
					&expr.Immediate{Register: 2, Data: []byte{byte(dnsPort >> 8), byte(dnsPort)}},
					&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(l.nfproto), RegAddrMin: 1, RegProtoMin: 2},
				}))
			}
			dns = append(dns, when(incoming(setDNS), version(l), to(g), toPort(proto, dnsPort), accept))
		}
		// The pool's own addresses are for slots and the host itself.
		guard = append(guard, when(rule{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: deviceKey("lo")}}, version(l), to(g), drop))
	}
	for _, outer := range p.families(p.outer4, p.outer6) {
		masquerade = append(masquerade, when(outgoing(setSlots.not()), version(layoutOf(outer.Addr())), from(outer),
			notLocal(), rule{&expr.Masq{}}))
	}
	return []chainRules{
		{chainPrerouting, prerouting},
		{chainInput, append([]rule{when(incoming(setSlots), proceed(chainToHost))}, guard...)},
		{chainForward, []rule{
			when(incoming(setSlots), proceed(chainOutbound)),
			when(outgoing(setSlots), proceed(chainInbound)),
		}},
		{chainPostrouting, masquerade},
		{chainToHost, append(append([]rule{
			// Answers to what the host dialled, whatever the policy.
			when(reply(), established, accept),
			when(invalid, drop),
			incoming(mapCount),
		}, dns...), proceed(chainRefuse))},
		{chainOutbound, []rule{
			when(invalid, drop),
			// The host's own redirections (published ports) lead to its services.
			when(redirected(), proceed(chainRefuse)),
			incoming(mapCount),
			jump(chainBase),
			// Each packet, not only the first of a connection, so that a
			// changed policy holds for connections that are open.
			incoming(mapPolicy),
			proceed(chainRefuse),
		}},
		{chainInbound, []rule{
			when(reply(), established, accept),
			drop,
		}},
		{chainBase, decisionRules(p, baseDecision(p, allowPrivate), goBack)},
		{chainRefuse, []rule{
			when(protocol(unix.IPPROTO_TCP), tcpReset),
			prohibit,
		}},
	}
}

// slotRules computes the inet chains of one slot.
func slotRules(p plan, index int, pol Policy) []chainRules {
	return []chainRules{
		{countChain(index), []rule{when(
			tracked(expr.CtStateBitNEW),
			rule{&expr.Connlimit{Count: maxConnections, Flags: expr.NFT_CONNLIMIT_F_INV}},
			drop,
		)}},
		{policyChain(index), policyRules(p, index, pol)},
	}
}

// policyRules are those of the policy's ranges, then those of the addresses that
// its names have resolved to, then what happens to all the rest.
func policyRules(p plan, index int, pol Policy) []rule {
	out := decisionRules(p, policyDecision(pol), accept)
	if !pins(pol) {
		return out
	}
	rest := out[len(out)-1]
	out = out[:len(out)-1]
	for _, set := range pinSets(p, index, pol) {
		known := rule{load(expr.PayloadBaseNetworkHeader, set.layout.dst, set.layout.size),
			&expr.Lookup{SourceRegister: 1, SetName: set.name, SetID: set.id}}
		out = append(out,
			// An address stays reachable for who talks to it, however short its
			// name's time to live was.
			when(version(set.layout), tracked(expr.CtStateBitESTABLISHED), known, rule{&expr.Dynset{
				SrcRegKey: 1, SetName: set.name, SetID: set.id, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: pinLonger,
			}}, accept),
			when(version(set.layout), known, accept),
		)
	}
	return append(out, rest)
}

// decisionRules computes the rules that carry out d; passing is what to do for
// destinations that pass.
func decisionRules(p plan, d decision, passing rule) []rule {
	end := func(v verdict) rule {
		if v == pass {
			return passing
		}
		return proceed(chainRefuse)
	}
	var out []rule
	for _, s := range d.steps {
		if s.to.Addr().Is6() && !p.v6 {
			continue
		}
		out = append(out, when(version(layoutOf(s.to.Addr())), to(s.to), end(s.verdict)))
	}
	return append(out, end(d.fallback))
}

// notLocal fits packets that are forwarded, not sent by the host itself.
func notLocal() rule {
	return rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}}
}

// ingressRules computes what happens to frames from a slot, before the host's
// IP stack: only IP from the inner address goes on, under the outer one.
func ingressRules(p plan, index int) []rule {
	var out []rule
	for _, f := range p.translations(index) {
		l := layoutOf(f.inner)
		only := when(etherType(l), from(host(f.inner)))
		out = append(out, when(only, to(host(f.gateway)), rewrite(l.dst, f.outerGateway)))
		out = append(out, when(only, rewrite(l.src, f.outer), accept))
	}
	return append(out, drop)
}

// egressRules computes what happens to frames on their way into a slot.
func egressRules(p plan, index int) []rule {
	var out []rule
	for _, f := range p.translations(index) {
		l := layoutOf(f.inner)
		only := when(etherType(l), to(host(f.outer)))
		out = append(out,
			when(only, from(host(f.outerGateway)), rewrite(l.src, f.gateway)),
			when(only, protocolNot(l.icmp), rewrite(l.dst, f.inner), accept),
		)
		for _, t := range l.icmpErrors {
			out = append(out,
				when(only, quoted(l, t, l.dst, f.outerGateway), rewriteQuoted(l, l.dst, f.gateway)),
				when(only, quoted(l, t, l.src, f.outer), rewriteQuoted(l, l.src, f.inner)),
			)
		}
		out = append(out, when(only, rewrite(l.dst, f.inner), accept))
	}
	return append(out, drop)
}

// translation is the pairs of addresses of one slot and IP version.
type translation struct{ inner, outer, gateway, outerGateway netip.Addr }

func (p plan) translations(index int) []translation {
	out := []translation{{InnerAddr4.Addr(), p.outer4Of(index), Gateway4, p.gateway4()}}
	if p.v6 {
		out = append(out, translation{InnerAddr6.Addr(), p.outer6Of(index), Gateway6, p.gateway6()})
	}
	return out
}

// rulesVersion changes whenever ingressRules, egressRules or the making of
// slots change.
const rulesVersion = 1

// mark identifies what a slot was made of. Slots with another mark are not
// handed out; chains of another mark are replaced.
func (p plan) mark(mtu int) string {
	h := fnv.New32a()
	fmt.Fprintln(h, rulesVersion, p.outer4, p.outer6, p.v6, InnerAddr4, InnerAddr6, Gateway4, Gateway6, innerMAC, gatewayMAC, mtu)
	return fmt.Sprintf("%s-%08x", p.prefix, h.Sum32())
}

func deviceKey(name string) []byte {
	key := make([]byte, 16)
	copy(key, name)
	return key
}
