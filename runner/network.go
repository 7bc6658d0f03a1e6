package runner

import (
	"context"
	"errors"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// SetNetwork changes what a sandbox may reach. The record comes first: a runner
// that is killed before the rules are changed changes them when it starts again.
func (r *Runner) SetNetwork(ctx context.Context, id string, policy runnerapi.NetworkPolicy) error {
	if err := checkNetwork(policy); err != nil {
		return err
	}
	check := func(sb *sandbox) (bool, error) {
		switch rec := &sb.rec; {
		case rec.Phase == "" || rec.hidden():
			return false, errUnknown(id)
		case rec.Phase == phaseRunning || rec.Phase == phaseStopped:
			return true, nil
		case rec.Phase == phaseFailed:
			return false, fault.New(fault.Conflict, "sandbox %s could not be made, so it has no network", id)
		default:
			return false, fault.New(fault.Conflict, "the network of sandbox %s cannot be changed while it is %s", id, rec.Phase)
		}
	}
	var mine bool // operate joins another call's change, which may be to another policy
	for {
		err := r.operate(ctx, id, opNetwork, check, func(ctx context.Context, sb *sandbox) error {
			mine = true
			return r.setNetwork(ctx, sb, policy)
		})
		if err != nil || mine {
			return err
		}
	}
}

// setNetwork owns the operation.
func (r *Runner) setNetwork(ctx context.Context, sb *sandbox, policy runnerapi.NetworkPolicy) error {
	before := sb.record().Spec.Network
	if err := r.update(sb, true, func(rec *record) { rec.Spec.Network = policy }); err != nil {
		back := r.update(sb, false, func(rec *record) { rec.Spec.Network = before })
		return errors.Join(err, back)
	}
	if sb.record().Phase != phaseRunning {
		return nil
	}
	return r.cfg.Network.SetPolicy(ctx, sb.id, policy)
}
