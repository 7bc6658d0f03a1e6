package sandbox_test

import (
	"testing"
	"time"

	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

// TestSuspension: nothing more can be taken from the moment of a suspension on,
// what runs is stopped with its cause, files stay, and everything can be read
// and deleted.
func TestSuspension(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	runs := w.create(sandbox.CreateRequest{})
	brief := w.create(sandbox.CreateRequest{AutoDeleteInterval: ptr(0)})
	stopped := w.create(sandbox.CreateRequest{})
	_, err := w.m.Stop(w.ctx, w.org, stopped.ID, false)
	w.must(err)
	w.wait(stopped.ID, sandbox.Stopped)
	stoppedBefore := w.get(stopped.ID).EndCause

	w.must(w.db.SetSuspension(w.ctx, w.org, &org.Suspension{At: time.Now(), Reason: "unpaid"}, nil, time.Now()))
	_, err = w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{}, "")
	w.wantKind(err, fault.Forbidden)
	_, err = w.m.Start(w.ctx, w.org, stopped.ID)
	w.wantKind(err, fault.Forbidden)

	n, err := w.m.StopAll(w.ctx, w.org, "organization suspended: unpaid")
	w.must(err)
	if n != 2 {
		t.Errorf("%d stopped, want 2", n)
	}
	if sb := w.wait(runs.ID, sandbox.Stopped); sb.EndCause != sandbox.EndQuota || sb.EndEvidence != "organization suspended: unpaid" {
		t.Errorf("ended by %s: %s", sb.EndCause, sb.EndEvidence)
	}
	w.wait(brief.ID, sandbox.Destroyed)
	if got := w.get(stopped.ID).EndCause; got != stoppedBefore {
		t.Errorf("what was stopped before ended by %s, want %s", got, stoppedBefore)
	}
	if n, err := w.m.StopAll(w.ctx, w.org, "again"); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	_, err = w.m.Delete(w.ctx, w.org, stopped.ID)
	w.must(err)

	w.must(w.db.SetSuspension(w.ctx, w.org, nil, nil, time.Now()))
	_, err = w.m.Start(w.ctx, w.org, runs.ID)
	w.must(err)
	if sb := w.wait(runs.ID, sandbox.Started); sb.EndCause != "" {
		t.Errorf("runs again, and yet ended by %s", sb.EndCause)
	}
}

// TestSmallerMaximumLetsOldOnesStart: a sandbox may be started again although
// one as large could no longer be made.
func TestSmallerMaximumLetsOldOnesStart(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.create(sandbox.CreateRequest{})
	_, err := w.m.Stop(w.ctx, w.org, sb.ID, false)
	w.must(err)
	w.wait(sb.ID, sandbox.Stopped)
	q := org.DefaultQuota()
	q.MaxCPU, q.MaxMemoryGiB, q.MaxDiskGiB = 0, 0, 0
	w.must(w.setQuota(w.org, q))
	_, err = w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{}, "")
	w.wantKind(err, fault.Invalid)
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Started)
}
