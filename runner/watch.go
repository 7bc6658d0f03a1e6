package runner

import (
	"context"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// watch waits for the end of one container.
type watch struct {
	ended  chan struct{}
	end    runnerapi.End // valid once ended is closed
	cancel context.CancelFunc
}

// over says whether the container is known to have ended. No watch watches one
// that is on its way.
func (w *watch) over() bool {
	if w == nil {
		return true
	}
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// startWatch waits in the background for the container to end. When it did,
// the sandbox is cleaned up, unless another operation has taken the watch off.
func (r *Runner) startWatch(sb *sandbox, d Driver) *watch {
	ctx, cancel := context.WithCancel(r.ctx)
	w := &watch{ended: make(chan struct{}), cancel: cancel}
	go func() {
		defer cancel()
		end, ok := r.await(ctx, d, sb.id)
		if !ok {
			return
		}
		w.end = end
		close(w.ended)
		r.containerEnded(sb, w)
	}()
	return w
}

// await blocks until the container has ended. ok is false when ctx ended first.
func (r *Runner) await(ctx context.Context, d Driver, id string) (end runnerapi.End, ok bool) {
	pause := 50 * time.Millisecond
	for {
		end, err := d.Wait(ctx, id)
		switch {
		case err == nil:
			return normalEnd(end), true
		case ctx.Err() != nil:
			return end, false
		case fault.Is(err, fault.NotFound):
			return runnerapi.End{
				Cause: runnerapi.CauseExit, ExitCode: -1, At: time.Now(),
				Evidence: "the container disappeared",
			}, true
		}
		r.log.Warn("cannot wait for a container", "sandbox", id, "error", err)
		select {
		case <-ctx.Done():
			return end, false
		case <-time.After(pause):
		}
		pause = min(2*pause, 10*time.Second)
	}
}

// normalEnd fills what a driver left open.
func normalEnd(end runnerapi.End) runnerapi.End {
	end.Cause = or(end.Cause, runnerapi.CauseExit)
	if end.At.IsZero() {
		end.At = time.Now()
	}
	return end
}

// containerEnded cleans up after a container that ended by itself.
func (r *Runner) containerEnded(sb *sandbox, w *watch) {
	check := func(sb *sandbox) (bool, error) { return sb.watch == w && sb.rec.Phase == phaseRunning, nil }
	err := r.operate(r.ctx, sb.id, opEnded, check, func(ctx context.Context, sb *sandbox) error {
		rec := sb.record()
		end := r.judge(ctx, sb.id, w.end)
		if rec.hidden() { // nobody has anything in it
			return r.destroy(ctx, sb, false)
		}
		r.log.Info("a sandbox ended by itself", "sandbox", sb.id, "cause", end.Cause, "exit", end.ExitCode, "evidence", end.Evidence)
		err := r.settle(ctx, sb, end)
		r.publish(runnerapi.Event{Sandbox: sb.snapshotView()})
		return err
	})
	if err != nil && !fault.Is(err, fault.NotFound) && r.ctx.Err() == nil {
		r.log.Error("cleaning up after a sandbox that ended failed", "sandbox", sb.id, "error", err)
	}
	r.wakeRefill()
}

func (sb *sandbox) snapshotView() runnerapi.Sandbox {
	rec := sb.record()
	return rec.view()
}

// fullShare is how full a disk must be to have been the reason of an end.
const fullShare = 0.99

// judge gives an end its one cause: what the driver saw, unless the sandbox's
// disk is full and the driver saw nothing but an exit with an error.
func (r *Runner) judge(ctx context.Context, id string, end runnerapi.End) runnerapi.End {
	if end.Cause != runnerapi.CauseExit || end.ExitCode == 0 {
		return end
	}
	usage, err := r.cfg.Roots.Usage(ctx, id)
	if err != nil {
		return end
	}
	return judgeDisk(end, usage.UsedBytes, usage.TotalBytes)
}

func judgeDisk(end runnerapi.End, used, total int64) runnerapi.End {
	if total > 0 && float64(used) >= fullShare*float64(total) {
		end.Cause = runnerapi.CauseDiskFull
		end.Evidence = joinEvidence(end.Evidence, "the sandbox's disk is full")
	}
	return end
}

func joinEvidence(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
