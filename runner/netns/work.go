package netns

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"daytona/internal/fault"
)

// take returns a complete slot that nobody holds: a ready one, else a new one.
func (p *Pool) take(ctx context.Context) (int, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return 0, fault.New(fault.Unavailable, "the network pool is closed")
		}
		if len(p.ready) > 0 {
			index := p.ready[0]
			p.ready = p.ready[1:]
			p.wakeLocked()
			p.mu.Unlock()
			return index, nil
		}
		if index, ok := p.reserveLocked(); ok {
			p.mu.Unlock()
			if err := p.build(index); err != nil {
				return 0, fault.Wrap(err, fault.Unavailable, "the host cannot make a network for the sandbox")
			}
			return index, nil
		}
		// Every index is taken. Wait if one is about to come free.
		coming := len(p.used) > len(p.held)
		changed := p.changed
		p.mu.Unlock()
		if !coming {
			return 0, fault.New(fault.Unavailable, "all %d sandbox networks of this host are in use", p.cfg.Max)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, fault.Wrap(ctx.Err(), fault.Unavailable, "no sandbox network came free in time")
		}
	}
}

// reserveLocked claims an unused index, the one that has been unused longest by
// and large: nothing on its way to the last holder shall reach the next.
func (p *Pool) reserveLocked() (int, bool) {
	if len(p.used) >= p.cfg.Max {
		return 0, false
	}
	for range p.cfg.Max {
		p.next = p.next%p.cfg.Max + 1
		if !p.used[p.next] {
			p.used[p.next] = true
			return p.next, true
		}
	}
	return 0, false
}

// build makes the slot of a reserved index, up to its mark.
func (p *Pool) build(index int) error {
	err := p.plan.makeSlot(index, p.mtu)
	if err == nil {
		if err = p.fw.add(index, Policy{}); err == nil {
			err = p.plan.markSlot(index, p.mark)
		}
	}
	if err != nil {
		p.doom(index, Policy{})
	}
	return err
}

// giveBack makes a slot that nobody used ready again.
func (p *Pool) giveBack(index int) {
	p.update(func() { p.ready = append(p.ready, index) })
}

// doom leaves a slot to the remover.
func (p *Pool) doom(index int, pol Policy) {
	p.update(func() { p.doomed = append(p.doomed, doomed{index: index, policy: pol}) })
}

func (p *Pool) wakeLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// retryAfter is the pause after a failure; nothing else wakes up by time.
const retryAfter = time.Second

// refill keeps slots ready until ctx ends.
func (p *Pool) refill(ctx context.Context) {
	for ctx.Err() == nil {
		p.mu.Lock()
		changed := p.changed
		index, ok := 0, false
		if len(p.ready) < p.cfg.Ready {
			index, ok = p.reserveLocked()
		}
		p.mu.Unlock()
		if !ok {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if err := p.build(index); err != nil {
			p.log.Error("sandbox network could not be made", "slot", index, "error", err)
			pause(ctx)
			continue
		}
		p.giveBack(index)
	}
}

// sweepBatch is how many slots are removed at a time. The kernel takes as long
// for many devices as for one.
const sweepBatch = 64

// sweep removes doomed slots until ctx ends.
func (p *Pool) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		p.mu.Lock()
		changed := p.changed
		n := min(len(p.doomed), sweepBatch)
		batch := slices.Clone(p.doomed[:n])
		p.doomed = p.doomed[n:]
		for _, d := range batch {
			p.working[d.index] = true
		}
		p.mu.Unlock()
		if n == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		failed := p.demolish(batch)
		p.update(func() {
			for _, d := range batch {
				delete(p.working, d.index)
				if !slices.ContainsFunc(failed, func(f doomed) bool { return f.index == d.index }) {
					delete(p.used, d.index)
				}
			}
			p.doomed = append(p.doomed, failed...)
		})
		if len(failed) > 0 {
			pause(ctx)
		}
	}
}

// demolish removes slots and returns those that are not gone. They are cut off
// first, and filtered until they are. The record goes last: as long as it is
// there, Open knows that the rest must go.
func (p *Pool) demolish(batch []doomed) (failed []doomed) {
	// each drops from the batch what step fails for.
	each := func(what string, step func(d doomed) error) {
		batch = slices.DeleteFunc(batch, func(d doomed) bool {
			err := step(d)
			if err != nil {
				p.log.Error("sandbox network could not be removed", "slot", d.index, "step", what, "error", err)
				failed = append(failed, d)
			}
			return err != nil
		})
	}
	batch = slices.Clone(batch)
	each("cut off", func(d doomed) error { return p.plan.cutOff(d.index) })
	each("rules", func(d doomed) error {
		if d.unruled {
			return nil
		}
		err := p.fw.remove(d.index, d.policy)
		if err != nil {
			// Half made, or changed behind our back: state the whole instead.
			p.log.Info("stating all network rules anew", "reason", err)
			err = p.stateRules()
		}
		return err
	})
	indexes := make([]int, len(batch))
	var addrs []netip.Addr
	for i, d := range batch {
		indexes[i] = d.index
		s := p.plan.slot(d.index)
		addrs = append(addrs, s.Addr, s.Addr6)
	}
	if err := p.plan.removeDevices(indexes); err != nil {
		p.log.Info("removing devices one by one", "reason", err)
	}
	each("device", func(d doomed) error { return p.plan.removeSlot(d.index) })
	if err := forgetConnections(addrs...); err != nil {
		p.log.Warn("tracked connections could not be removed", "error", err)
	}
	each("record", func(d doomed) error { return p.records.remove(d.index) })
	return failed
}

// stateRules states all rules anew, whatever is there. Doomed slots have none.
func (p *Pool) stateRules() error {
	var without []int
	err := p.fw.sync(func() (slots map[int]Policy, err error) {
		slots, without, err = p.expected()
		return slots, err
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, d := range p.doomed {
		if slices.Contains(without, d.index) {
			p.doomed[i].unruled = true
		}
	}
	return nil
}

// expected returns the slots that shall have rules, with their policies, and
// doomed ones that shall have none. It is called while no rules change: a slot
// gets its rules after its device.
func (p *Pool) expected() (slots map[int]Policy, without []int, err error) {
	present, err := p.plan.devices()
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	slots = make(map[int]Policy)
	for i := range p.used {
		if _, ok := present[i]; ok {
			slots[i] = Policy{}
		}
	}
	for _, l := range p.held {
		if _, ok := present[l.index]; ok {
			slots[l.index] = l.policy
		}
	}
	for _, d := range p.doomed {
		delete(slots, d.index)
		without = append(without, d.index)
	}
	for i := range p.working {
		delete(slots, i)
	}
	return slots, without, nil
}

func pause(ctx context.Context) {
	t := time.NewTimer(retryAfter)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
