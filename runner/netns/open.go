package netns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"daytona/internal/fault"
)

// Open makes the pool of cfg.Prefix: rules, DNS forwarder, ready slots. Slots
// that an earlier process lent stay as they are, under their ids, with their
// policies in force all the while. A second process on the same state directory
// gets fault.Unavailable.
func Open(ctx context.Context, cfg Config) (*Pool, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	up, err := newUpstreams(cfg.Upstreams, "/etc/resolv.conf")
	if err != nil {
		return nil, fault.New(fault.Invalid, "network: %s", err)
	}
	recs, err := openRecords(cfg.StateDir)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the network state directory cannot be opened")
	}
	lock, err := claim(cfg.Prefix)
	if err != nil {
		return nil, errors.Join(err, recs.close())
	}
	p := &Pool{
		claim: lock,
		cfg:   cfg, log: cfg.Log, records: recs, mtu: uplinkMTU(),
		plan: plan{prefix: cfg.Prefix, outer4: cfg.Outer4, outer6: cfg.Outer6, v6: hasIPv6()},
		held: make(map[string]lease), used: make(map[int]bool), working: make(map[int]bool), changed: make(chan struct{}),
	}
	p.mark = p.plan.mark(p.mtu)
	if err := p.start(ctx, up); err != nil {
		if p.dns != nil {
			p.dns.close()
		}
		if p.fw != nil {
			_ = p.fw.close()
		}
		return nil, errors.Join(fmt.Errorf("network pool %s: %w", cfg.Prefix, err), recs.close(), lock.Close())
	}
	return p, nil
}

func (p *Pool) start(ctx context.Context, up *upstreams) error {
	if err := p.checkRanges(); err != nil {
		return err
	}
	if err := shareNamespaceDir(); err != nil {
		return err
	}
	if err := enableForwarding(p.plan.v6, p.isSlot, p.log); err != nil {
		return fmt.Errorf("enable forwarding: %w", err)
	}
	if err := p.adopt(); err != nil {
		return err
	}
	var err error
	if p.fw, err = newFirewall(p.plan, p.mark, p.cfg.AllowPrivate); err != nil {
		return err
	}
	gateways, err := p.placeGateways()
	if err != nil {
		return err
	}
	if p.dns, err = startForwarder(gateways, up, p, p.log); err != nil {
		return err
	}
	p.fw.dnsPort = p.dns.port
	if err := p.renew(); err != nil {
		return err
	}
	if err := p.stateRules(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.workWG.Go(func() { p.refill(background) })
	p.workWG.Go(func() { p.sweep(background) })
	p.workWG.Go(func() { p.mend(background) })
	return nil
}

func (p *Pool) isSlot(device string) bool {
	_, ok := p.plan.index(device)
	return ok
}

// adopt finds out what earlier processes left.
func (p *Pool) adopt() error {
	recs, err := p.records.load()
	if err != nil {
		return err
	}
	devices, err := p.plan.devices()
	if err != nil {
		return err
	}
	names, err := p.plan.namespaces()
	if err != nil {
		return err
	}
	for _, i := range names {
		p.used[i] = true
	}
	for i := range devices {
		p.used[i] = true
	}
	for i := range recs {
		p.used[i] = true // until the record is removed
	}
	indexes := make([]int, 0, len(p.used))
	for i := range p.used {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	for _, i := range indexes {
		rec, recorded := recs[i]
		mark, hasDevice := devices[i]
		whole := hasDevice && mark != "" && isNamespace(p.plan.name(i))
		_, twice := p.held[rec.ID]
		switch {
		case recorded && !rec.Releasing && whole && !twice:
			pol, err := normalize(rec.Policy)
			if err != nil {
				pol = Policy{BlockAll: true} // unreadable: the safe side
			}
			p.epochs++
			p.held[rec.ID] = lease{index: i, policy: pol, epoch: p.epochs}
		case !recorded && whole && mark == p.mark && i <= p.cfg.Max && len(p.ready) < p.cfg.Ready:
			// More than Ready there can be: killed between a slot's taking
			// and the record of it, with its replacement made already.
			p.ready = append(p.ready, i)
		default:
			p.doomed = append(p.doomed, doomed{index: i, policy: rec.Policy})
		}
	}
	return nil
}

// renew brings the host's side of held slots that were made for another
// configuration up to this one. Inside nothing changes.
func (p *Pool) renew() error {
	devices, err := p.plan.devices()
	if err != nil {
		return err
	}
	for _, l := range p.held {
		if devices[l.index] == p.mark && !p.plan.isDown(l.index) {
			continue
		}
		if err := p.plan.configureOuter(l.index); err != nil {
			return fmt.Errorf("slot %s: renew: %w", p.plan.name(l.index), err)
		}
		if err := p.plan.markSlot(l.index, p.mark); err != nil {
			return err
		}
	}
	return nil
}

// placeGateways adds the pool's own addresses to the host, and removes those
// of an earlier configuration.
func (p *Pool) placeGateways() ([]netip.Addr, error) {
	wanted := p.plan.gateways()
	noted, err := gatewaysOf(p.fw.conn, p.plan.prefix)
	if err != nil {
		return nil, err
	}
	for _, a := range noted {
		if !slices.Contains(wanted, a) {
			if err := removeGatewayAddress(a); err != nil {
				return nil, err
			}
		}
	}
	if err := p.fw.noteGateways(); err != nil {
		return nil, err
	}
	for _, a := range wanted {
		if err := addGatewayAddress(a); err != nil {
			return nil, err
		}
	}
	return wanted, nil
}
