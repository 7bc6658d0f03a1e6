package runner

import (
	"context"
	"errors"
	"io"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner/rootfs"
)

// Export writes the files of a sandbox.
func (r *Runner) Export(ctx context.Context, id string, w io.Writer) (base string, err error) {
	err = r.operate(ctx, id, opExport, hasFiles, func(ctx context.Context, sb *sandbox) error {
		if base, err = r.cfg.Roots.Base(ctx, id); err != nil {
			return err
		}
		return becauseOf(ctx, r.cfg.Roots.Export(ctx, id, w))
	})
	return base, err
}

// hasFiles refuses what has no root, or one that is on its way.
func hasFiles(sb *sandbox) (bool, error) {
	switch rec := &sb.rec; {
	case rec.Phase == "" || rec.hidden():
		return false, errUnknown(sb.id)
	case rec.Phase == phaseRunning || rec.Phase == phaseStopped:
		return true, nil
	default:
		return false, fault.New(fault.Conflict, "the files of sandbox %s cannot be read while it is %s", sb.id, rec.Phase)
	}
}

// becauseOf is the reason for which an operation was cancelled, if it was.
func becauseOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// Import makes a stopped sandbox with files.
func (r *Runner) Import(ctx context.Context, spec runnerapi.Spec, base string, files io.Reader) (runnerapi.Sandbox, error) {
	return r.makeStopped(ctx, spec, func(ctx context.Context, root rootfs.RootSpec) error {
		return r.cfg.Roots.Import(ctx, root, base, files)
	})
}

// Fork makes a stopped sandbox with the files of another one.
func (r *Runner) Fork(ctx context.Context, from string, spec runnerapi.Spec) (runnerapi.Sandbox, error) {
	check := func(sb *sandbox) (bool, error) {
		needed, err := hasFiles(sb)
		switch {
		case err != nil:
			return needed, err
		case sb.rec.Spec.OrgID != spec.OrgID:
			return false, errUnknown(from)
		case sb.rec.Phase != phaseStopped:
			return false, fault.New(fault.Conflict, "sandbox %s is not stopped", from)
		}
		return true, nil
	}
	return r.makeStopped(ctx, spec, func(ctx context.Context, root rootfs.RootSpec) error {
		return r.operate(ctx, from, opExport, check, func(ctx context.Context, _ *sandbox) error {
			return becauseOf(ctx, r.cfg.Roots.Fork(ctx, from, root))
		})
	})
}

// makeStopped makes a sandbox of spec that has a root, which makeRoot makes, and
// nothing else yet. One whose making was interrupted is made anew.
func (r *Runner) makeStopped(ctx context.Context, spec runnerapi.Spec, makeRoot func(context.Context, rootfs.RootSpec) error) (runnerapi.Sandbox, error) {
	spec = r.cfg.complete(spec)
	if err := checkSpec(spec); err != nil {
		return runnerapi.Sandbox{}, err
	}
	if _, err := r.driver(spec.Isolation); err != nil {
		return runnerapi.Sandbox{}, err
	}
	check := func(sb *sandbox) (bool, error) {
		switch rec := &sb.rec; {
		case rec.Phase == "" || rec.Phase == phaseFailed || rec.Phase == phasePreparing && !rec.Born && !rec.hidden():
			return true, nil
		case rec.hidden() || rec.Spec.OrgID != spec.OrgID || rec.Spec.Snapshot != spec.Snapshot:
			return false, fault.New(fault.Conflict, "sandbox %s exists and is another one", spec.ID)
		case rec.Phase == phaseDeleting:
			return false, fault.New(fault.Conflict, "sandbox %s is being deleted", spec.ID)
		default:
			return false, nil
		}
	}
	err := r.operate(ctx, spec.ID, opImport, check, func(ctx context.Context, sb *sandbox) error {
		if err := r.layDown(ctx, sb, spec, makeRoot); err != nil {
			return errors.Join(becauseOf(ctx, err), r.takeUp(ctx, sb))
		}
		return nil
	})
	if err != nil {
		return runnerapi.Sandbox{}, err
	}
	return r.Inspect(ctx, spec.ID)
}

func (r *Runner) layDown(ctx context.Context, sb *sandbox, spec runnerapi.Spec, makeRoot func(context.Context, rootfs.RootSpec) error) error {
	img, err := r.image(ctx, spec.Snapshot)
	if err != nil {
		return err
	}
	rec := record{
		Seq: sb.record().Seq, Spec: spec, Driver: spec.Isolation, Phase: phasePreparing, Token: newToken(), Image: img.Digest, CreatedAt: time.Now(),
	}
	if r.needsUserNS(rec.Driver) {
		if rec.UserNS, err = r.userns.take(); err != nil {
			return err
		}
	}
	if err := r.store.exhume(sb.id); err != nil {
		return err
	}
	if err := r.update(sb, false, func(cur *record) { *cur = rec }); err != nil {
		return err
	}
	root := rootfs.RootSpec{ID: sb.id, Image: spec.Snapshot, DiskBytes: spec.DiskMiB << 20, UserNS: rec.UserNS}
	if err := makeRoot(ctx, root); err != nil {
		return err
	}
	return r.update(sb, true, func(rec *record) {
		rec.Phase, rec.Born, rec.Kept, rec.Settings = phaseStopped, true, true, &img.Config
		rec.End = &runnerapi.End{Cause: runnerapi.CauseUser, ExitCode: -1, At: time.Now(), Evidence: "its files were brought here"}
	})
}

// takeUp removes what layDown left, as if nothing had been asked for.
func (r *Runner) takeUp(ctx context.Context, sb *sandbox) error {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	if err := r.clear(ctx, sb); err != nil {
		return err // recovery, or a deletion, tries again
	}
	sb.mu.Lock()
	sb.rec = record{}
	sb.mu.Unlock()
	return r.store.remove(sb.id)
}
