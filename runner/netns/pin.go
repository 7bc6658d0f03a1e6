package netns

import (
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"

	"daytona/internal/domains"
	"daytona/internal/fault"
)

// How long an address that a name resolved to can be reached. Clients are told
// a time to live of at most maxTTL, and have the rest to connect.
const (
	minPin    = time.Minute
	maxTTL    = 5 * time.Minute
	pinSlack  = time.Minute
	pinLonger = maxTTL + pinSlack // from each packet of a connection on
)

// pinned is what is known of an address beside what the kernel knows.
type pinned struct {
	until time.Time       // it stays at least so long
	names map[string]bool // that resolved to it
}

// pinTime is how long an answer's addresses are pinned.
func pinTime(ttl time.Duration) time.Duration { return min(max(ttl, minPin), maxTTL) + pinSlack }

// errStale says that the policy has changed since the name was asked for.
var errStale = fault.New(fault.Conflict, "the network policy has changed meanwhile")

// pin makes addresses of a name reachable from a slot for a while. current is
// asked while nobody changes rules; when it says no, nothing is done. When pin
// returns without an error the kernel knows the addresses.
func (f *firewall) pin(index int, pol Policy, name string, addrs []netip.Addr, how time.Duration, current func() bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !current() {
		return errStale
	}
	now := time.Now()
	known := f.pinned[index]
	if known == nil {
		known = make(map[netip.Addr]*pinned)
		f.pinned[index] = known
	}
	var fresh []netip.Addr
	for _, a := range addrs {
		if p := known[a]; p != nil && p.until.Sub(now) >= how {
			p.names[name] = true
			continue
		}
		if a.Is6() && !f.plan.v6 || slices.Contains(fresh, a) {
			continue
		}
		fresh = append(fresh, a)
	}
	if len(fresh) == 0 {
		return nil
	}
	if len(known)+len(fresh) > maxPins {
		for a, p := range known {
			if p.until.Before(now) {
				delete(known, a)
			}
		}
		if len(known)+len(fresh) > maxPins {
			return fault.New(fault.TooMany, "the sandbox's names have more than %d addresses", maxPins)
		}
	}
	// An element that is there keeps its time when it is added again, so it is
	// removed in between; one whose time is up at that very moment makes the
	// transaction fail.
	err := f.renewPins(index, pol, fresh, how)
	if err != nil {
		err = f.renewPins(index, pol, fresh, how)
	}
	if err != nil {
		return err
	}
	for _, a := range fresh {
		if known[a] == nil {
			known[a] = &pinned{names: make(map[string]bool)}
		}
		known[a].names[name], known[a].until = true, now.Add(how)
	}
	return nil
}

func (f *firewall) renewPins(index int, pol Policy, addrs []netip.Addr, how time.Duration) error {
	for _, set := range f.pinSets(index, pol) {
		var elements []nftables.SetElement
		for _, a := range addrs {
			if len(a.AsSlice()) == int(set.KeyType.Bytes) {
				elements = append(elements, nftables.SetElement{Key: a.AsSlice(), Timeout: how})
			}
		}
		if len(elements) == 0 {
			continue
		}
		for _, change := range []func(*nftables.Set, []nftables.SetElement) error{
			f.conn.SetAddElements, f.conn.SetDeleteElements, f.conn.SetAddElements,
		} {
			if err := change(set, elements); err != nil {
				return f.abandon(err)
			}
		}
	}
	return f.commit("pin addresses")
}

// pinSets describes the sets of a slot for the kernel.
func (f *firewall) pinSets(index int, pol Policy) []*nftables.Set {
	var out []*nftables.Set
	for _, s := range pinSets(f.plan, index, pol) {
		set := &nftables.Set{
			Table: f.inet(), ID: s.id, Name: s.name, KeyType: nftables.TypeIPAddr,
			HasTimeout: true, Dynamic: true, Size: maxPins,
		}
		if s.layout.nfproto == layout6.nfproto {
			set.KeyType = nftables.TypeIP6Addr
		}
		out = append(out, set)
	}
	return out
}

// addPinSets makes a slot's sets, if they are not there. What is in them stays.
func (f *firewall) addPinSets(index int, pol Policy) error {
	for _, s := range f.pinSets(index, pol) {
		if err := f.conn.AddSet(s, nil); err != nil {
			return err
		}
	}
	return nil
}

// keepPins puts into the new sets of a slot the addresses of names that its
// policy still has.
func (f *firewall) keepPins(index int, pol Policy) error {
	known := f.pinned[index]
	now := time.Now()
	for a, p := range known {
		for name := range p.names {
			if !domains.List(pol.Domains).Allows(name) {
				delete(p.names, name)
			}
		}
		if len(p.names) == 0 {
			delete(known, a)
		}
	}
	for _, set := range f.pinSets(index, pol) {
		var elements []nftables.SetElement
		for a, p := range known {
			if len(a.AsSlice()) == int(set.KeyType.Bytes) {
				elements = append(elements, nftables.SetElement{Key: a.AsSlice(), Timeout: max(p.until.Sub(now), minPin)})
			}
		}
		if len(elements) == 0 {
			continue
		}
		if err := f.conn.SetAddElements(set, elements); err != nil {
			return err
		}
	}
	return nil
}

// dropPinSets removes a slot's sets, to which no rule refers any more.
func (f *firewall) dropPinSets(index int, pol Policy) {
	for _, s := range f.pinSets(index, pol) {
		f.conn.DelSet(s)
	}
}

// isPinned says whether an address is known to be one of a slot's names.
func (f *firewall) isPinned(index int, a netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pinned[index][a] != nil
}
