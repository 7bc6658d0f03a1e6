package netns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"daytona/internal/fault"
)

// Slot is a network for one sandbox.
type Slot struct {
	Index  int
	NetNS  string     // path of the network namespace
	Device string     // the host's end of the veth pair
	Addr   netip.Addr // at which the host dials the sandbox
	Addr6  netip.Addr // the same for IPv6; invalid where the host has none
}

// Pool makes, lends and removes slots. Its methods may be called from any
// goroutine, and repeated.
type Pool struct {
	cfg     Config
	plan    plan
	mtu     int
	mark    string
	log     *slog.Logger
	records *records
	claim   *os.File // holds the prefix on this host
	fw      *firewall
	dns     *forwarder
	hosts   hostAddrs
	ids     keyedMutex // calls for one id, one after the other

	mu      sync.Mutex
	held    map[string]lease // by id
	ready   []int            // complete, held by nobody, oldest first
	used    map[int]bool     // every index that may exist in the kernel
	doomed  []doomed         // to be removed
	working map[int]bool     // indexes that are being removed
	next    int              // index at which to look for a free one
	epochs  uint64           // given out
	changed chan struct{}    // closed and replaced whenever the above changes
	closed  bool

	stop   context.CancelFunc
	workWG sync.WaitGroup
}

// lease is who holds a slot.
type lease struct {
	index   int
	policy  Policy
	epoch   uint64 // another one for each policy of each lease
	inDoubt bool   // the policy is recorded, but may not be in force
	cut     bool   // the slot is cut off until it is
}

// doomed is a slot that is to be removed, with the policy its rules have.
type doomed struct {
	index   int
	policy  Policy
	unruled bool // its rules are gone already
}

// Acquire returns the slot of id, with the policy in force. A sandbox that has
// a slot keeps it; its policy becomes pol. With a slot ready it costs one small
// file, and one nftables transaction when the policy restricts anything. Without
// one it makes one, or waits for one that is being removed. It fails with
// fault.Unavailable when every slot is held, fault.Invalid for a bad policy.
func (p *Pool) Acquire(ctx context.Context, id string, pol Policy) (Slot, error) {
	if id == "" {
		return Slot{}, fault.New(fault.Invalid, "network: a sandbox id is required")
	}
	pol, err := normalize(pol)
	if err != nil {
		return Slot{}, err
	}
	defer p.ids.lock(id)()
	if l, ok := p.lease(id); ok {
		return p.plan.slot(l.index), p.changePolicy(id, l, pol)
	}
	index, err := p.take(ctx)
	if err != nil {
		return Slot{}, err
	}
	if err := p.records.put(record{Index: index, ID: id, Policy: pol}); err != nil {
		p.giveBack(index)
		return Slot{}, fault.Wrap(err, fault.Unavailable, "the host cannot record the sandbox's network")
	}
	// Known as held first, so that whoever states all rules anew states it right.
	p.update(func() {
		p.epochs++
		p.held[id] = lease{index: index, policy: pol, epoch: p.epochs}
	})
	if !samePolicy(pol, Policy{}) {
		if err := p.fw.setPolicy(index, Policy{}, pol); err != nil {
			// Nobody has been in this slot, but its rules are in doubt.
			p.update(func() { delete(p.held, id) })
			p.doom(index, pol)
			return Slot{}, fault.Wrap(err, fault.Unavailable, "the host cannot set the sandbox's network policy")
		}
	}
	return p.plan.slot(index), nil
}

// SetPolicy changes what a running sandbox may reach, for open connections too.
// An unknown id is fault.NotFound.
func (p *Pool) SetPolicy(ctx context.Context, id string, pol Policy) error {
	pol, err := normalize(pol)
	if err != nil {
		return err
	}
	defer p.ids.lock(id)()
	l, ok := p.lease(id)
	if !ok {
		return fault.New(fault.NotFound, "sandbox %s has no network", id)
	}
	return p.changePolicy(id, l, pol)
}

// Reset puts back addresses and routes inside the slot of id, which gVisor
// takes off the interface for itself. It is called before a sandbox is started
// again in the slot it had, never while one runs: the kernel would answer in
// its stead.
func (p *Pool) Reset(ctx context.Context, id string) error {
	defer p.ids.lock(id)()
	l, ok := p.lease(id)
	if !ok {
		return fault.New(fault.NotFound, "sandbox %s has no network", id)
	}
	if err := p.plan.resetInner(l.index); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the host cannot restore the sandbox's network")
	}
	return nil
}

// Release gives the slot of id back. It is removed in the background, with
// everything that a sandbox may have left in it, and replaced by a new one. An
// id without a slot is no error.
func (p *Pool) Release(ctx context.Context, id string) error {
	defer p.ids.lock(id)()
	l, ok := p.lease(id)
	if !ok {
		return nil
	}
	if err := p.records.put(record{Index: l.index, ID: id, Policy: l.policy, Releasing: true}); err != nil {
		// On a full disk no record can be written, but one can be removed.
		// Its mark says that the slot is complete, so that goes first.
		if markErr := p.plan.markSlot(l.index, ""); markErr != nil && !isLinkNotFound(markErr) {
			return fault.Wrap(err, fault.Unavailable, "the host cannot record that the network was released")
		}
		if err := p.records.remove(l.index); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the host cannot record that the network was released")
		}
	}
	p.update(func() { delete(p.held, id) })
	p.doom(l.index, l.policy)
	return nil
}

// Slot returns the slot that id holds.
func (p *Pool) Slot(id string) (Slot, bool) {
	l, ok := p.lease(id)
	if !ok {
		return Slot{}, false
	}
	return p.plan.slot(l.index), true
}

// DialContext connects to a TCP port inside a slot. The sandbox sees its
// gateway as the peer.
func (p *Pool) DialContext(ctx context.Context, slot Slot, port int) (net.Conn, error) {
	if port < 1 || port > 65535 {
		return nil, fault.New(fault.Invalid, "port %d is not between 1 and 65535", port)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort(slot.Addr.String(), strconv.Itoa(port)))
}

// ResolvConf is the content for a sandbox's /etc/resolv.conf.
func (p *Pool) ResolvConf() string {
	return fmt.Sprintf("nameserver %s\n", Gateway4)
}

// Close stops what runs in the background, the DNS forwarder included. Slots
// stay as they are.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.workWG.Wait()
	p.dns.close()
	_ = p.fw.close()
	return errors.Join(p.records.close(), p.claim.Close())
}

func (p *Pool) lease(id string) (lease, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.held[id]
	return l, ok
}

// update changes the pool's state and wakes whoever waits for a change.
func (p *Pool) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// keyedMutex is a mutex per key.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[string]*keyLock
}

type keyLock struct {
	sync.Mutex
	users int
}

// lock locks the key and returns what unlocks it.
func (k *keyedMutex) lock(key string) func() {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = make(map[string]*keyLock)
	}
	l := k.locks[key]
	if l == nil {
		l = &keyLock{}
		k.locks[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, key)
		}
	}
}
