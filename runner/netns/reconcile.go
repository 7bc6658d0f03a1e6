package netns

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"daytona/internal/fault"
)

// Reconcile releases every slot whose id is not in keep, removes what belongs to
// no slot (namespaces, devices, rules), states all rules anew, and returns when
// all of that is done.
func (p *Pool) Reconcile(ctx context.Context, keep []string) error {
	p.mu.Lock()
	var release []string
	for id := range p.held {
		if !slices.Contains(keep, id) {
			release = append(release, id)
		}
	}
	p.mu.Unlock()
	var errs []error
	for _, id := range release {
		errs = append(errs, p.Release(ctx, id))
	}
	errs = append(errs, p.doomOrphans())
	if err := p.stateRules(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, p.settle(ctx))
	return errors.Join(errs...)
}

// doomOrphans leaves to the remover what has a slot's name and is none.
func (p *Pool) doomOrphans() error {
	devices, err := p.plan.devices()
	if err != nil {
		return err
	}
	names, err := p.plan.namespaces()
	if err != nil {
		return err
	}
	p.update(func() {
		orphan := func(i int) {
			if !p.used[i] {
				p.used[i] = true
				p.doomed = append(p.doomed, doomed{index: i})
			}
		}
		for i := range devices {
			orphan(i)
		}
		for _, i := range names {
			orphan(i)
		}
	})
	return nil
}

// settle waits until everything doomed is gone.
func (p *Pool) settle(ctx context.Context) error {
	for {
		p.mu.Lock()
		done, closed, changed := len(p.doomed) == 0 && len(p.working) == 0, p.closed, p.changed
		p.mu.Unlock()
		if done {
			return nil
		}
		if closed {
			return fault.New(fault.Unavailable, "the network pool is closed")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for networks to be removed: %w", ctx.Err())
		}
	}
}

// Destroy removes everything of a prefix, held or not: devices, namespaces,
// rules, addresses. No Pool of that prefix may be open. The records in the state
// directory stay; Open finds that their slots are gone.
func Destroy(ctx context.Context, prefix string) error {
	if !prefixPattern.MatchString(prefix) {
		return fault.New(fault.Invalid, "network prefix %q: must be 1 to 6 letters a-z", prefix)
	}
	p := plan{prefix: prefix}
	var errs []error
	devices, err := p.devices()
	errs = append(errs, err)
	names, err := p.namespaces()
	errs = append(errs, err)
	for i := range devices {
		names = append(names, i)
	}
	slices.Sort(names)
	for _, i := range slices.Compact(names) {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, p.removeSlot(i))
	}
	conn, err := openNftables()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer func() { _ = conn.CloseLasting() }() // every change was answered
	gateways, err := gatewaysOf(conn, prefix)
	errs = append(errs, err)
	for _, a := range gateways {
		errs = append(errs, removeGatewayAddress(a))
	}
	errs = append(errs, removeTables(conn, prefix))
	return errors.Join(errs...)
}
