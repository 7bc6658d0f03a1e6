package runner

import (
	"context"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// Resize changes what a sandbox may use. What has an effect comes before the
// record of it: a runner that is killed between the two is told again, and does
// the same once more.
func (r *Runner) Resize(ctx context.Context, id string, size runnerapi.Size) (runnerapi.Sandbox, error) {
	check := func(sb *sandbox) (bool, error) {
		rec := &sb.rec
		switch {
		case rec.Phase == "" || rec.hidden():
			return false, errUnknown(id)
		case rec.Phase != phaseRunning && rec.Phase != phaseStopped:
			return false, fault.New(fault.Conflict, "the size of sandbox %s cannot be changed while it is %s", id, rec.Phase)
		}
		to := resized(rec.Spec, size)
		if err := checkSpec(to); err != nil {
			return false, err
		}
		switch {
		case to.DiskMiB < rec.Spec.DiskMiB:
			return false, fault.New(fault.Invalid, "a disk cannot become smaller: it has %d MiB", rec.Spec.DiskMiB)
		case to.DiskMiB > rec.Spec.DiskMiB && rec.Phase == phaseRunning:
			return false, fault.New(fault.Conflict, "the disk of sandbox %s cannot be changed while it runs", id)
		}
		return sizeOf(to) != sizeOf(rec.Spec), nil
	}
	for mine := false; !mine; { // operate joins another call's change, which may be to another size
		needed := false
		err := r.operate(ctx, id, opResize, func(sb *sandbox) (bool, error) {
			var err error
			needed, err = check(sb)
			return needed, err
		}, func(ctx context.Context, sb *sandbox) error {
			mine = true
			return r.resize(ctx, sb, size)
		})
		if err != nil {
			return runnerapi.Sandbox{}, err
		}
		if !needed {
			break
		}
	}
	return r.Inspect(ctx, id)
}

// resize owns the operation.
func (r *Runner) resize(ctx context.Context, sb *sandbox, size runnerapi.Size) error {
	rec := sb.record()
	to := resized(rec.Spec, size)
	if to.DiskMiB != rec.Spec.DiskMiB {
		if err := r.cfg.Roots.Resize(ctx, sb.id, to.DiskMiB<<20); err != nil {
			return err
		}
	}
	bundle := rec.Bundle
	bundle.Limits.CPU, bundle.Limits.MemoryBytes = to.CPU, to.MemoryMiB<<20
	if rec.Phase == phaseRunning {
		d, ok := r.drivers[rec.Driver].(Resizer)
		if !ok {
			return fault.New(fault.Invalid, "isolation %s cannot change the size of a sandbox that runs. Stop it first", rec.Driver)
		}
		if err := d.SetLimits(ctx, bundle); err != nil {
			return err
		}
	}
	return r.update(sb, true, func(rec *record) { rec.Spec, rec.Bundle = to, bundle })
}

// resized is a spec with another size.
func resized(spec runnerapi.Spec, size runnerapi.Size) runnerapi.Spec {
	spec.CPU = or(size.CPU, spec.CPU)
	spec.MemoryMiB = or(size.MemoryMiB, spec.MemoryMiB)
	spec.DiskMiB = or(size.DiskMiB, spec.DiskMiB)
	return spec
}

func sizeOf(spec runnerapi.Spec) runnerapi.Size {
	return runnerapi.Size{CPU: spec.CPU, MemoryMiB: spec.MemoryMiB, DiskMiB: spec.DiskMiB}
}
