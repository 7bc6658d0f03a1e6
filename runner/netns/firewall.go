package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// firewall writes the rules of a pool: an inet table that filters and
// masquerades, and a netdev table that translates, both named after the prefix.
// Each method is one transaction: the kernel takes all of it or nothing.
type firewall struct {
	plan         plan
	mark         string
	allowPrivate []netip.Prefix

	mu      sync.Mutex // one transaction at a time
	conn    *nftables.Conn
	dnsPort uint16
	pinned  map[int]map[netip.Addr]*pinned // by slot
}

func newFirewall(p plan, mark string, allowPrivate []netip.Prefix) (*firewall, error) {
	conn, err := openNftables()
	if err != nil {
		return nil, err
	}
	return &firewall{plan: p, mark: mark, allowPrivate: allowPrivate, conn: conn, dnsPort: 53, pinned: make(map[int]map[netip.Addr]*pinned)}, nil
}

func openNftables() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		// A transaction goes through the socket in one piece, and as many
		// answers come back; a thousand slots need some megabytes.
		return errors.Join(c.SetWriteBuffer(16<<20), c.SetReadBuffer(16<<20))
	}))
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return conn, nil
}

func (f *firewall) close() error { return f.conn.CloseLasting() }

func (f *firewall) inet() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: f.plan.prefix}
}

func (f *firewall) netdev() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyNetdev, Name: f.plan.prefix}
}

// Names of a slot's netdev chains carry the mark: a chain is never changed,
// only replaced by one of another name.
func (f *firewall) ingressChain(index int) string { return fmt.Sprintf("in%d.%s", index, f.mark) }
func (f *firewall) egressChain(index int) string  { return fmt.Sprintf("out%d.%s", index, f.mark) }

func (f *firewall) set(l *lookup) *nftables.Set {
	s := &nftables.Set{Table: f.inet(), ID: l.id, Name: l.name, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian, Size: 65536}
	if l.verdicts {
		s.IsMap, s.DataType = true, nftables.TypeVerdict
	}
	return s
}

// sync makes the rules exactly those of the slots that expected returns,
// whatever is there. expected is asked while no other transaction goes on.
// Chains and rules that are right already stay in force all the while: within
// the transaction rules are replaced, base chains are not.
func (f *firewall) sync(expected func() (map[int]Policy, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	slots, err := expected()
	if err != nil {
		return err
	}
	existing, err := f.conn.ListChains()
	if err != nil {
		return fmt.Errorf("list nftables chains: %w", err)
	}
	sets, err := f.conn.GetSets(f.inet())
	if err != nil && !isNotExist(err) {
		return fmt.Errorf("list nftables sets: %w", err)
	}
	kept := make(map[string]bool) // sets of pinned addresses, by name
	f.conn.AddTable(f.inet())
	f.conn.AddTable(f.netdev())
	if err := f.addGateways(); err != nil {
		return f.abandon(err)
	}
	for _, l := range deviceSets {
		if err := f.conn.AddSet(f.set(l), nil); err != nil {
			return f.abandon(err)
		}
		f.conn.FlushSet(f.set(l))
	}
	shared := sharedRules(f.plan, f.allowPrivate, f.dnsPort)
	wanted := make(map[string]bool)
	for _, c := range shared { // all before the first rule that jumps to one
		f.conn.AddChain(f.sharedChain(c.chain))
		wanted[c.chain] = true
	}
	for _, c := range shared {
		f.fill(c)
	}
	had := make(map[string]bool)
	for _, c := range existing {
		if c.Table.Name == f.plan.prefix && c.Table.Family == nftables.TableFamilyNetdev {
			had[c.Name] = true
		}
	}
	for index, pol := range slots {
		wanted[countChain(index)], wanted[policyChain(index)] = true, true
		wanted[f.ingressChain(index)], wanted[f.egressChain(index)] = true, true
		if err := f.addFilter(index, pol); err != nil {
			return f.abandon(err)
		}
		for _, s := range pinSets(f.plan, index, pol) {
			kept[s.name] = true
		}
		if !had[f.ingressChain(index)] { // the two come in one transaction
			f.addTranslation(index)
		}
	}
	for _, c := range existing {
		ours := c.Table.Name == f.plan.prefix &&
			(c.Table.Family == nftables.TableFamilyINet || c.Table.Family == nftables.TableFamilyNetdev)
		if ours && !wanted[c.Name] {
			f.conn.FlushChain(c)
			f.conn.DelChain(c)
		}
	}
	for _, s := range sets { // last: no rule refers to them any more
		if strings.HasPrefix(s.Name, pinPrefix) && !kept[s.Name] {
			f.conn.DelSet(&nftables.Set{Table: f.inet(), Name: s.Name})
		}
	}
	return f.commit("synchronize")
}

// add makes the rules of a new slot.
func (f *firewall) add(index int, pol Policy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.addFilter(index, pol); err != nil {
		return f.abandon(err)
	}
	f.addTranslation(index)
	return f.commit("add slot")
}

// setPolicy replaces the policy of a slot.
func (f *firewall) setPolicy(index int, old, pol Policy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	otherNames := !pins(old) || !pins(pol) || !slices.Equal(old.Domains, pol.Domains)
	if err := f.addPinSets(index, pol); err != nil {
		return f.abandon(err)
	}
	if otherNames {
		if err := f.keepPins(index, pol); err != nil {
			return f.abandon(err)
		}
	}
	for _, c := range slotRules(f.plan, index, pol) {
		if c.chain == policyChain(index) { // the connection limit goes on counting
			f.fill(c)
		}
	}
	if otherNames {
		f.dropPinSets(index, old)
	}
	dev := []nftables.SetElement{{Key: deviceKey(f.plan.name(index))}}
	var err error
	switch {
	case pol.BlockAll && !old.BlockAll:
		err = f.conn.SetDeleteElements(f.set(setDNS), dev)
	case !pol.BlockAll && old.BlockAll:
		err = f.conn.SetAddElements(f.set(setDNS), dev)
	}
	if err != nil {
		return f.abandon(err)
	}
	return f.commit("set policy")
}

// remove takes the rules of a slot away.
func (f *firewall) remove(index int, pol Policy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range deviceSets {
		if l == setDNS && pol.BlockAll {
			continue
		}
		if err := f.conn.SetDeleteElements(f.set(l), f.element(l, index)); err != nil {
			return f.abandon(err)
		}
	}
	for _, name := range []string{countChain(index), policyChain(index)} {
		c := &nftables.Chain{Name: name, Table: f.inet()}
		f.conn.FlushChain(c)
		f.conn.DelChain(c)
	}
	f.dropPinSets(index, pol)
	delete(f.pinned, index)
	for _, name := range []string{f.ingressChain(index), f.egressChain(index)} {
		c := &nftables.Chain{Name: name, Table: f.netdev()}
		f.conn.FlushChain(c)
		f.conn.DelChain(c)
	}
	return f.commit("remove slot")
}

func (f *firewall) addFilter(index int, pol Policy) error {
	if err := f.addPinSets(index, pol); err != nil {
		return err
	}
	for _, c := range slotRules(f.plan, index, pol) {
		f.conn.AddChain(&nftables.Chain{Name: c.chain, Table: f.inet()})
		f.fill(c)
	}
	for _, l := range deviceSets {
		if l == setDNS && pol.BlockAll {
			continue
		}
		if err := f.conn.SetAddElements(f.set(l), f.element(l, index)); err != nil {
			return err
		}
	}
	return nil
}

// element is what set l holds for a slot.
func (f *firewall) element(l *lookup, index int) []nftables.SetElement {
	e := nftables.SetElement{Key: deviceKey(f.plan.name(index))}
	switch l {
	case mapCount:
		e.VerdictData = &expr.Verdict{Kind: expr.VerdictJump, Chain: countChain(index)}
	case mapPolicy:
		e.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: policyChain(index)}
	}
	return []nftables.SetElement{e}
}

func (f *firewall) addTranslation(index int) {
	for _, c := range []struct {
		name  string
		hook  *nftables.ChainHook
		rules []rule
	}{
		{f.ingressChain(index), nftables.ChainHookIngress, ingressRules(f.plan, index)},
		{f.egressChain(index), nftables.ChainHookEgress, egressRules(f.plan, index)},
	} {
		chain := f.conn.AddChain(&nftables.Chain{
			Name: c.name, Table: f.netdev(), Type: nftables.ChainTypeFilter,
			Hooknum: c.hook, Priority: nftables.ChainPriorityFilter, Device: f.plan.name(index),
		})
		for _, r := range c.rules {
			f.conn.AddRule(&nftables.Rule{Table: f.netdev(), Chain: chain, Exprs: r})
		}
	}
}

// fill replaces what is in an inet chain.
func (f *firewall) fill(c chainRules) {
	chain := &nftables.Chain{Name: c.chain, Table: f.inet()}
	f.conn.FlushChain(chain)
	for _, r := range c.rules {
		f.conn.AddRule(&nftables.Rule{Table: f.inet(), Chain: chain, Exprs: r})
	}
}

// sharedChain describes a shared chain, with its hook if it has one.
func (f *firewall) sharedChain(name string) *nftables.Chain {
	c := &nftables.Chain{Name: name, Table: f.inet()}
	base := func(t nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		c.Type, c.Hooknum, c.Priority = t, hook, prio
		return c
	}
	switch name {
	case chainPrerouting:
		return base(nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	case chainInput:
		return base(nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	case chainForward:
		return base(nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	case chainPostrouting:
		return base(nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	}
	return c
}

// whole says whether the rules that every packet of a slot passes are there. It
// is true when that cannot be found out.
func (f *firewall) whole() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	tables, err := f.conn.ListTables()
	if err != nil {
		_ = f.abandon(err)
		return true
	}
	n := 0
	for _, t := range tables {
		if t.Name == f.plan.prefix && (t.Family == nftables.TableFamilyINet || t.Family == nftables.TableFamilyNetdev) {
			n++
		}
	}
	if n < 2 {
		return false
	}
	for _, name := range []string{chainForward, chainInput, chainOutbound, chainToHost, chainBase} {
		rules, err := f.conn.GetRules(f.inet(), &nftables.Chain{Name: name, Table: f.inet()})
		if isNotExist(err) || err == nil && len(rules) == 0 {
			return false
		}
	}
	return true
}

// commit sends the transaction. A connection that failed once may hold stale
// answers, so it is replaced.
func (f *firewall) commit(what string) error {
	err := f.conn.Flush()
	if err == nil {
		return nil
	}
	return f.abandon(fmt.Errorf("nftables: %s: %w", what, err))
}

// abandon drops a transaction that was begun, and the connection with it.
func (f *firewall) abandon(err error) error {
	conn, openErr := openNftables()
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	_ = f.conn.CloseLasting()
	f.conn = conn
	return err
}

// gatewaysOf returns the outer gateway addresses that tables of the prefix
// speak of, whichever process made them.
func gatewaysOf(conn *nftables.Conn, prefix string) ([]netip.Addr, error) {
	set := gatewaySets(&nftables.Table{Family: nftables.TableFamilyINet, Name: prefix})
	var out []netip.Addr
	for _, s := range set {
		elements, err := conn.GetSetElements(s)
		if isNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("nftables: read gateways: %w", err)
		}
		for _, e := range elements {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				out = append(out, a)
			}
		}
	}
	return out, nil
}

// gatewaySets are sets that no rule uses: a note in the kernel of the addresses
// that the pool added to the host.
func gatewaySets(t *nftables.Table) []*nftables.Set {
	return []*nftables.Set{
		{Table: t, ID: 5, Name: "gateway4", KeyType: nftables.TypeIPAddr},
		{Table: t, ID: 6, Name: "gateway6", KeyType: nftables.TypeIP6Addr},
	}
}

// noteGateways writes down the addresses, before they are added to the host.
func (f *firewall) noteGateways() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn.AddTable(f.inet())
	if err := f.addGateways(); err != nil {
		return f.abandon(err)
	}
	return f.commit("note gateways")
}

func (f *firewall) addGateways() error {
	for i, s := range gatewaySets(f.inet()) {
		if err := f.conn.AddSet(s, nil); err != nil {
			return err
		}
		f.conn.FlushSet(s)
		for _, a := range f.plan.gateways() {
			if a.Is6() != (i == 1) {
				continue
			}
			if err := f.conn.SetAddElements(s, []nftables.SetElement{{Key: a.AsSlice()}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeTables removes both tables of a prefix, if they are there.
func removeTables(conn *nftables.Conn, prefix string) error {
	tables, err := conn.ListTables()
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == prefix && (t.Family == nftables.TableFamilyINet || t.Family == nftables.TableFamilyNetdev) {
			conn.DelTable(t)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables: remove tables: %w", err)
	}
	return nil
}

func isNotExist(err error) bool {
	return err != nil && (errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOENT) || strings.Contains(err.Error(), "no such file"))
}
