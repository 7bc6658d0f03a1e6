package netns

import (
	"net/netip"
	"slices"
	"strings"

	"daytona/internal/domains"
	"daytona/internal/fault"
)

// verdict is what happens to a packet that leaves a sandbox.
type verdict int

const (
	refuse verdict = iota // answered with a reset or ICMP prohibited
	pass                  // goes on: to the next list, or out
)

// step decides for destinations in a range. The first step that fits counts.
type step struct {
	to      netip.Prefix
	verdict verdict
}

// decision is a list of steps and what happens when none fits.
type decision struct {
	steps    []step
	fallback verdict
}

// of returns the verdict on a destination. The kernel evaluates the same list.
func (d decision) of(to netip.Addr) verdict {
	for _, s := range d.steps {
		if s.to.Contains(to) {
			return s.verdict
		}
	}
	return d.fallback
}

// always refused, whatever the operator allows: what is never outside the host.
var never = prefixes(
	"0.0.0.0/8",          // this network
	"127.0.0.0/8",        // loopback
	"169.254.0.0/16",     // link-local, metadata services
	"100.100.100.200/32", // metadata service
	"192.0.0.192/32",     // metadata service
	"168.63.129.16/32",   // host agent of a cloud, a public address
	"224.0.0.0/4",        // multicast
	"255.255.255.255/32", // broadcast
	"::/128", "::1/128",
	"::ffff:0:0/96",     // IPv4-mapped
	"fe80::/10",         // link-local
	"fec0::/10",         // site-local
	"ff00::/8",          // multicast
	"fd00:ec2::/32",     // metadata service
	"fd20:ce::254/128",  // metadata service
	"fd00:c1::a9fe/112", // metadata service
)

// special-purpose ranges: not globally reachable (RFC 6890 and its registries).
// The documentation ranges are left out: no internal service lives there, and
// test networks use them as their outside world.
var special4 = prefixes(
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", // private
	"100.64.0.0/10",  // carrier-grade NAT
	"192.0.0.0/24",   // protocol assignments
	"192.88.99.0/24", // 6to4 relays
	"198.18.0.0/15",  // benchmarks
	"240.0.0.0/4",    // reserved
)

var special6 = prefixes(
	"fc00::/7",       // unique local
	"::/96",          // IPv4-compatible
	"64:ff9b:1::/48", // local translation
	"100::/64",       // discard
	"2001::/23",      // protocol assignments, Teredo
	"2002::/16",      // 6to4, embeds IPv4 addresses
	"5f00::/16",      // segment routing
)

// nat64 is the well-known prefix under which a translator reaches IPv4
// addresses, private ones included.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// baseDecision is what holds for every sandbox, before its policy: pass means
// that the policy decides.
func baseDecision(p plan, allowPrivate []netip.Prefix) decision {
	var d decision
	add := func(v verdict, ranges ...netip.Prefix) {
		for _, r := range ranges {
			d.steps = append(d.steps, step{r.Masked(), v})
		}
	}
	add(refuse, never...)
	add(refuse, mapped(never)...)
	// Other sandboxes, under whichever address. A slot's own addresses are
	// never forwarded to, even if the operator opens a range around them.
	add(refuse, p.outer4, p.outer6, InnerAddr4, InnerAddr6)
	add(pass, allowPrivate...)
	add(refuse, special4...)
	add(refuse, special6...)
	add(refuse, mapped(special4)...)
	d.fallback = pass
	return d
}

// restricts says whether a policy closes anything that is open to others.
func restricts(pol Policy) bool {
	return pol.BlockAll || len(pol.AllowList) > 0 || len(pol.Domains) > 0
}

// pins says whether the addresses that names resolve to are reachable beside
// those that the policy lists.
func pins(pol Policy) bool { return !pol.BlockAll && len(pol.Domains) > 0 }

// policyDecision is what a valid policy says about destinations, without the
// addresses of its domains, which come and go.
func policyDecision(pol Policy) decision {
	switch {
	case pol.BlockAll:
		return decision{fallback: refuse}
	case !restricts(pol):
		return decision{fallback: pass}
	}
	d := decision{fallback: refuse}
	for _, s := range pol.AllowList {
		if r, err := parseRange(s); err == nil {
			d.steps = append(d.steps, step{r, pass})
		}
	}
	return d
}

// resolves says whether a sandbox may have a name looked up. The question alone
// tells the name's owner something, so a policy that closes anything lets only
// the names on its own list out; one that lists every IPv4 address has nothing
// to hide.
func resolves(pol Policy, name string) bool {
	switch {
	case pol.BlockAll:
		return false
	case !restricts(pol), slices.Contains(pol.AllowList, "0.0.0.0/0"):
		return true
	}
	return domains.List(pol.Domains).Allows(name)
}

// maxAllowList bounds the rules that one sandbox may cost.
const maxAllowList = 64

// normalize returns pol with its ranges in canonical form, sorted, or
// fault.Invalid. Equal policies have equal normal forms.
func normalize(pol Policy) (Policy, error) {
	if pol.BlockAll {
		return Policy{BlockAll: true}, nil
	}
	if len(pol.AllowList) > maxAllowList {
		return pol, fault.New(fault.Invalid, "network allow list: %d ranges, at most %d are possible", len(pol.AllowList), maxAllowList)
	}
	var out Policy
	for _, s := range pol.AllowList {
		r, err := parseRange(s)
		if err != nil {
			return pol, fault.New(fault.Invalid, "network allow list: %q is not a range such as 203.0.113.0/24", s)
		}
		out.AllowList = append(out.AllowList, r.String())
	}
	slices.Sort(out.AllowList)
	out.AllowList = slices.Compact(out.AllowList)
	if len(pol.Domains) > maxAllowList {
		return pol, fault.New(fault.Invalid, "domain allow list: %d names, at most %d are possible", len(pol.Domains), maxAllowList)
	}
	for _, s := range pol.Domains {
		name, err := domains.Parse(s)
		if err != nil {
			return pol, fault.New(fault.Invalid, "domain allow list: %s", err)
		}
		out.Domains = append(out.Domains, name)
	}
	slices.Sort(out.Domains)
	out.Domains = slices.Compact(out.Domains)
	return out, nil
}

// narrows reports whether something that old let through may be refused by new.
func narrows(old, new Policy) bool {
	if new.BlockAll {
		return !old.BlockAll
	}
	if !restricts(new) || old.BlockAll {
		return false
	}
	if !restricts(old) {
		return true
	}
	return loses(old.AllowList, new.AllowList) || loses(old.Domains, new.Domains)
}

// loses reports whether old has an entry that new has not.
func loses(old, new []string) bool {
	return slices.ContainsFunc(old, func(s string) bool { return !slices.Contains(new, s) })
}

func samePolicy(a, b Policy) bool {
	return a.BlockAll == b.BlockAll && slices.Equal(a.AllowList, b.AllowList) && slices.Equal(a.Domains, b.Domains)
}

// parseRange reads a CIDR or a single address.
func parseRange(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return host(a), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, err
	}
	if p.Addr().Is4In6() {
		return p, fault.New(fault.Invalid, "IPv4-mapped range")
	}
	return p.Masked(), nil
}

// mapped returns IPv4 ranges as a NAT64 translator would be asked for them.
func mapped(ranges []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range ranges {
		if !r.Addr().Is4() {
			continue
		}
		b, a := nat64.Addr().As16(), r.Addr().As4()
		copy(b[12:], a[:])
		out = append(out, netip.PrefixFrom(netip.AddrFrom16(b), 96+r.Bits()))
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s).Masked()
	}
	return out
}
