package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner/netns"
	"daytona/runner/rootfs"
)

// Create makes the sandbox of spec and starts it, or gives one from the warm
// pool the identity of spec.
func (r *Runner) Create(ctx context.Context, spec runnerapi.Spec) (runnerapi.Sandbox, error) {
	spec = r.cfg.complete(spec)
	if err := checkSpec(spec); err != nil {
		return runnerapi.Sandbox{}, err
	}
	if _, err := r.driver(spec.Isolation); err != nil {
		return runnerapi.Sandbox{}, err
	}
	defer r.attend()()
	check := func(sb *sandbox) (bool, error) {
		rec := &sb.rec
		switch {
		case rec.Phase == "":
			if r.store.buried(spec.ID) {
				return false, fault.New(fault.Gone, "sandbox %s was deleted", spec.ID)
			}
			return true, nil
		case rec.Warm != nil:
			return true, nil
		case rec.Phase == phaseDeleting:
			return false, fault.New(fault.Gone, "sandbox %s is being deleted", spec.ID)
		case rec.Build || rec.Spec.OrgID != spec.OrgID || rec.Spec.Snapshot != spec.Snapshot:
			return false, fault.New(fault.Conflict, "sandbox %s exists and is another one", spec.ID)
		default:
			return rec.Phase == phaseFailed, nil // try again, else it is there
		}
	}
	err := r.operate(ctx, spec.ID, opCreate, check, func(ctx context.Context, sb *sandbox) error {
		return r.create(ctx, sb, spec)
	})
	if err != nil {
		return runnerapi.Sandbox{}, err
	}
	// The call may have joined another one's: an id is one owner's.
	if rec, ok := r.known(spec.ID); ok && rec.Spec.OrgID != spec.OrgID {
		return runnerapi.Sandbox{}, fault.New(fault.Conflict, "sandbox %s exists and is another one", spec.ID)
	}
	return r.Inspect(ctx, spec.ID)
}

// known returns the record of an id.
func (r *Runner) known(id string) (record, bool) {
	r.mu.Lock()
	sb := r.sandboxes[id]
	r.mu.Unlock()
	if sb == nil {
		return record{}, false
	}
	return sb.record(), true
}

// create owns the operation. It claims a waiting sandbox, or boots a new one.
func (r *Runner) create(ctx context.Context, sb *sandbox, spec runnerapi.Spec) error {
	if waiting := sb.record(); waiting.Warm != nil {
		if fits(spec, waiting) {
			err := r.claim(ctx, sb, spec)
			r.metrics.creates.WithLabelValues("claim", outcome(err)).Inc()
			r.wakeRefill()
			if err == nil || context.Cause(ctx) != nil {
				return err
			}
			r.log.Warn("a warm sandbox could not be claimed; making a new one", "sandbox", sb.id, "error", err)
		}
		// It does not fit or did not work: whoever asked gets a new one.
		if err := r.clear(ctx, sb); err != nil {
			return err
		}
	}
	err := r.makeNew(ctx, sb, record{Spec: spec, Driver: spec.Isolation})
	r.metrics.creates.WithLabelValues("cold", outcome(err)).Inc()
	return err
}

// makeNew writes the first record of a sandbox and boots it.
func (r *Runner) makeNew(ctx context.Context, sb *sandbox, rec record) error {
	img, err := r.image(ctx, rec.Spec.Snapshot)
	if err != nil {
		return err
	}
	if r.needsUserNS(rec.Driver) {
		if rec.UserNS, err = r.userns.take(); err != nil {
			return err
		}
	}
	rec.Phase = phasePreparing
	rec.Token = newToken()
	rec.Image = img.Digest
	rec.CreatedAt = time.Now()
	seq := sb.record().Seq
	if err := r.update(sb, false, func(cur *record) { *cur = rec; cur.Seq = seq }); err != nil {
		// Nothing was done yet, so nothing is left: as if it had never been asked for.
		r.userns.give(rec.UserNS)
		sb.mu.Lock()
		sb.rec = record{}
		sb.mu.Unlock()
		return errors.Join(err, r.store.remove(sb.id))
	}
	return r.boot(ctx, sb, img, true)
}

func (r *Runner) needsUserNS(driver string) bool {
	for _, name := range r.cfg.UserNS {
		if name == driver {
			return true
		}
	}
	return false
}

// image finds a snapshot.
func (r *Runner) image(ctx context.Context, name string) (rootfs.Image, error) {
	img, err := r.cfg.Roots.Image(ctx, name)
	if fault.Is(err, fault.NotFound) {
		if snap, ok := r.builds.get(name); ok {
			if snap.State == runnerapi.SnapshotFailed {
				return img, fault.New(fault.Unavailable, "snapshot %s could not be made yet: %s", name, snap.Reason)
			}
			return img, fault.New(fault.Unavailable, "snapshot %s is still being made: %s", name, snap.Progress)
		}
		if snap, ok := r.images.Find(name); ok {
			if snap.State == runnerapi.SnapshotFailed {
				return img, fault.New(fault.Unavailable, "snapshot %s could not be made: %s", name, snap.Reason)
			}
			return img, fault.New(fault.Unavailable, "snapshot %s is still being made", name)
		}
		return img, fault.New(fault.NotFound, "snapshot %s not found", name)
	}
	return img, err
}

// boot takes a sandbox from preparing to running: root, network, container,
// toolbox. fresh says that its root is to be made. When it fails, what it made
// is undone.
func (r *Runner) boot(ctx context.Context, sb *sandbox, img rootfs.Image, fresh bool) (err error) {
	rec := sb.record()
	d, err := r.driver(rec.Driver)
	if err != nil {
		return err
	}
	sw := r.newStopwatch(rec.Driver)
	defer func() {
		if err != nil {
			err = r.bootFailed(ctx, sb, fresh, err)
		}
		sw.log(ctx, "sandbox booted", sb.id, err)
	}()
	if err := sw.phase(ctx, "queue", func(ctx context.Context) error { return r.boots.Acquire(ctx, 1) }); err != nil {
		return context.Cause(ctx)
	}
	defer r.boots.Release(1)

	root, slot, err := r.groundwork(ctx, sw, rec, fresh)
	if err != nil {
		return err
	}
	bundle, user, err := r.makeBundle(ctx, &rec, img, root, slot)
	if err != nil {
		return err
	}
	prepared := func(rec *record) {
		rec.Bundle, rec.User, rec.BootID, rec.Toolbox, rec.End = bundle, user, r.bootID, r.toolbox.hash, nil
		rec.Kept = true
		if fresh {
			rec.Settings = &img.Config
		}
	}
	if err := r.update(sb, false, prepared); err != nil {
		return err
	}
	// The disk is slow, so it is waited for only at the end. Whoever is told
	// that the sandbox exists will find it after a power cut.
	durable := make(chan error, 1)
	if rec = sb.record(); rec.Warm != nil {
		durable <- nil // after a power cut nobody would miss it
	} else {
		go func() {
			durable <- sw.phase(ctx, "record", func(context.Context) error { return r.store.save(&rec, true) })
		}()
	}
	err = r.bootContainer(ctx, sw, sb, d, bundle)
	return errors.Join(err, <-durable)
}

// groundwork makes root and network side by side.
func (r *Runner) groundwork(ctx context.Context, sw *stopwatch, rec record, fresh bool) (root string, slot netns.Slot, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return sw.phase(gctx, "root", func(ctx context.Context) (err error) {
			if fresh {
				err = r.cfg.Roots.Create(ctx, rootfs.RootSpec{
					ID: rec.Spec.ID, Image: rec.Spec.Snapshot, DiskBytes: rec.Spec.DiskMiB << 20, UserNS: rec.UserNS,
				})
				if err != nil {
					return err
				}
			}
			root, err = r.cfg.Roots.Mount(ctx, rec.Spec.ID)
			return err
		})
	})
	g.Go(func() error {
		return sw.phase(gctx, "network", func(ctx context.Context) (err error) {
			slot, err = r.cfg.Network.Acquire(ctx, rec.Spec.ID, rec.Spec.Network)
			return err
		})
	})
	err = g.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return root, slot, err
}

// bootContainer makes and starts the container and waits for its toolbox.
func (r *Runner) bootContainer(ctx context.Context, sw *stopwatch, sb *sandbox, d Driver, bundle Bundle) error {
	if l, ok := d.(Launcher); ok {
		if err := sw.phase(ctx, "run", func(ctx context.Context) error { return l.Run(ctx, bundle) }); err != nil {
			return err
		}
		return r.attach(ctx, sw, sb, d)
	}
	if err := sw.phase(ctx, "create", func(ctx context.Context) error { return d.Create(ctx, bundle) }); err != nil {
		return err
	}
	if err := sw.phase(ctx, "start", func(ctx context.Context) error { return d.Start(ctx, bundle) }); err != nil {
		return err
	}
	return r.attach(ctx, sw, sb, d)
}

// attach connects to a container that was started: watch, toolbox, identity. It
// ends in phase running.
func (r *Runner) attach(ctx context.Context, sw *stopwatch, sb *sandbox, d Driver) error {
	rec := sb.record()
	w, l := r.startWatch(sb, d), newLink(d, rec.Bundle, rec.Token)
	sb.mu.Lock()
	sb.watch, sb.link = w, l
	sb.mu.Unlock()
	err := sw.phase(ctx, "ready", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.ReadyTimeout, errNotReady)
		defer cancel()
		return l.waitReady(ctx, w)
	})
	if err != nil {
		return err
	}
	if rec.Warm == nil {
		err := sw.phase(ctx, "init", func(ctx context.Context) error { return l.init(ctx, identityOf(rec.Spec, rec.User)) })
		if err != nil {
			return err
		}
	}
	return r.update(sb, false, func(rec *record) {
		if rec.StartedAt.IsZero() { // else a claim is being finished
			rec.StartedAt = time.Now()
		}
		rec.Phase, rec.Born, rec.End = phaseRunning, true, nil
	})
}

var errNotReady = errors.New("its toolbox did not answer in time")

// bootFailed undoes a boot and returns what to tell the caller.
func (r *Runner) bootFailed(ctx context.Context, sb *sandbox, fresh bool, why error) error {
	if cause := context.Cause(ctx); cause != nil {
		why = cause
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	rec := sb.record()
	end := runnerapi.End{Cause: runnerapi.CauseStartFailed, ExitCode: -1, At: time.Now(), Evidence: why.Error()}
	if tail := logTail(rec.Bundle.Dir); tail != "" {
		end.Evidence = joinEvidence(end.Evidence, "log: "+tail)
	}
	var undo error
	switch {
	case rec.hidden():
		undo = r.destroy(ctx, sb, false)
	case fresh:
		if undo = r.clear(ctx, sb); undo == nil {
			undo = r.update(sb, false, func(rec *record) {
				*rec = record{Seq: rec.Seq, Spec: rec.Spec, Driver: rec.Driver, CreatedAt: rec.CreatedAt, Phase: phaseFailed, End: &end}
			})
		}
	default:
		undo = r.settle(ctx, sb, end)
	}
	if undo != nil {
		r.log.Error("a sandbox that did not start could not be undone", "sandbox", sb.id, "error", undo)
	}
	if kind := fault.KindOf(why); kind != fault.Internal {
		return why
	}
	return fault.Wrap(why, fault.Unprocessable, "the sandbox could not be started").WithCode("START_FAILED")
}

// afterwards gives time to clean up, whatever became of ctx.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
}

// logTail returns the last lines that a container wrote.
func logTail(dir string) string {
	const limit = 2 << 10
	names, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	var tails []string
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if st, err := f.Stat(); err == nil && st.Size() > limit {
			_, _ = f.Seek(-limit, io.SeekEnd) // the beginning is better than nothing
		}
		data, _ := io.ReadAll(io.LimitReader(f, limit))
		f.Close()
		if text := strings.TrimSpace(strings.ToValidUTF8(string(data), "?")); text != "" {
			tails = append(tails, fmt.Sprintf("%s: %s", filepath.Base(name), text))
		}
	}
	return strings.Join(tails, "; ")
}
