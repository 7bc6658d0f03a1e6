package netns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"daytona/internal/fault"
)

// changePolicy records a policy, then applies it. Killed in between, Open does
// the rest. When the rules cannot be changed and the new policy is narrower, the
// slot is cut off, from the host too, until they can: rather no network than one
// that is no longer allowed.
func (p *Pool) changePolicy(id string, l lease, pol Policy) error {
	if samePolicy(l.policy, pol) && !l.inDoubt {
		return nil
	}
	if err := p.records.put(record{Index: l.index, ID: id, Policy: pol}); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the host cannot record the sandbox's network policy")
	}
	next := lease{index: l.index, policy: pol, inDoubt: true, cut: l.cut}
	p.update(func() {
		p.epochs++
		next.epoch = p.epochs
		p.held[id] = next
	})
	narrower := l.inDoubt || narrows(l.policy, pol)
	if err := p.enforce(l, pol, narrower); err != nil {
		if narrower && !next.cut {
			p.log.Error("a sandbox's network policy cannot be set; it is cut off from the network until it can", "sandbox", id, "slot", l.index, "error", err)
			next.cut = true
			if err := p.plan.cutOff(l.index); err != nil {
				p.log.Error("and it cannot be cut off", "sandbox", id, "slot", l.index, "error", err)
			}
		}
		p.update(func() { p.held[id] = next })
		return fault.Wrap(err, fault.Unavailable, "the host cannot set the sandbox's network policy")
	}
	if next.cut {
		if err := p.plan.configureOuter(l.index); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the host cannot connect the sandbox again")
		}
	}
	next.inDoubt, next.cut = false, false
	p.update(func() { p.held[id] = next })
	return nil
}

// enforce makes a policy hold, for open connections too.
func (p *Pool) enforce(l lease, pol Policy, narrower bool) error {
	err := errInDoubt
	if !l.inDoubt {
		err = p.fw.setPolicy(l.index, l.policy, pol)
	}
	if err != nil {
		p.log.Info("stating all network rules anew", "reason", err)
		if err := p.stateRules(); err != nil {
			return err
		}
	}
	if !narrower {
		return nil
	}
	// What others still send on connections that it may not have any more ends too.
	s := p.plan.slot(l.index)
	base, own := baseDecision(p.plan, p.cfg.AllowPrivate), policyDecision(pol)
	return forget(opened{by: endpoints{s.Addr: true, s.Addr6: true}, allowed: func(to netip.Addr) bool {
		return base.of(to) == pass && (own.of(to) == pass || pins(pol) && p.fw.isPinned(l.index, to))
	}})
}

// mendEvery is how often it is tried again to enforce policies that could not be.
const mendEvery = time.Second

// mend enforces policies that could not be when they were set, until ctx ends,
// and puts rules back that somebody else on the host has removed.
func (p *Pool) mend(ctx context.Context) {
	tick := time.NewTicker(mendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !p.fw.whole() {
			p.log.Error("somebody has removed network rules of the sandboxes; stating all of them anew")
			if err := p.stateRules(); err != nil {
				p.log.Error("network rules cannot be stated", "error", err)
			}
		}
		for id, l := range p.doubtful() {
			if err := p.again(id); err == nil {
				p.log.Info("a sandbox's network policy is in force at last", "sandbox", id, "slot", l.index)
			}
		}
	}
}

func (p *Pool) doubtful() map[string]lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]lease)
	for id, l := range p.held {
		if l.inDoubt {
			out[id] = l
		}
	}
	return out
}

// again enforces the policy that a slot is to have.
func (p *Pool) again(id string) error {
	defer p.ids.lock(id)()
	l, ok := p.lease(id)
	if !ok || !l.inDoubt {
		return nil
	}
	return p.changePolicy(id, l, l.policy)
}

// guest implements guests.
func (p *Pool) guest(addr netip.Addr) (guest, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.held {
		if p.plan.outer4Of(l.index) == addr || addr.Is6() && p.plan.outer6Of(l.index) == addr {
			return guest{index: l.index, policy: l.policy, epoch: l.epoch}, !l.inDoubt
		}
	}
	return guest{}, false
}

// pin implements guests.
func (p *Pool) pin(g guest, name string, addrs []netip.Addr, how time.Duration) error {
	return p.fw.pin(g.index, g.policy, name, addrs, how, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, l := range p.held {
			if l.epoch == g.epoch {
				return true
			}
		}
		return false
	})
}

// reachable implements guests: what no policy opens, and the host itself, no
// name leads to.
func (p *Pool) reachable(a netip.Addr) bool {
	return baseDecision(p.plan, p.cfg.AllowPrivate).of(a) == pass && !p.hosts.has(a)
}

// isDown says whether a slot was cut off.
func (p plan) isDown(index int) bool {
	link, err := netlink.LinkByName(p.name(index))
	return err == nil && link.Attrs().Flags&net.FlagUp == 0
}

// errInDoubt says that it is not known which policy a slot's rules are of.
var errInDoubt = errors.New("a policy could not be set before")
