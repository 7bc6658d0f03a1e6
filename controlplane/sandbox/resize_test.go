package sandbox_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/image"
	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

func TestResizeRules(t *testing.T) {
	started := sandbox.Sandbox{CPU: 2, MemoryGiB: 4, DiskGiB: 10, State: sandbox.Started, Desired: sandbox.Started}
	stopped := started
	stopped.State, stopped.Desired = sandbox.Stopped, sandbox.Stopped
	for name, c := range map[string]struct {
		sb   sandbox.Sandbox
		r    sandbox.ResizeRequest
		want org.Resources // zero: refused
	}{
		"nothing":               {started, sandbox.ResizeRequest{}, org.Resources{}},
		"the same":              {started, sandbox.ResizeRequest{CPU: ptr(2), Disk: ptr(10)}, org.Resources{}},
		"zero":                  {stopped, sandbox.ResizeRequest{CPU: ptr(0)}, org.Resources{}},
		"negative":              {stopped, sandbox.ResizeRequest{Memory: ptr(-1)}, org.Resources{}},
		"started, more":         {started, sandbox.ResizeRequest{CPU: ptr(3), Memory: ptr(5)}, org.Resources{CPU: 3, MemoryGiB: 5, DiskGiB: 10}},
		"started, fewer CPUs":   {started, sandbox.ResizeRequest{CPU: ptr(1), Memory: ptr(5)}, org.Resources{}},
		"started, less memory":  {started, sandbox.ResizeRequest{Memory: ptr(3)}, org.Resources{}},
		"started, disk":         {started, sandbox.ResizeRequest{Disk: ptr(11)}, org.Resources{}},
		"started, its own disk": {started, sandbox.ResizeRequest{CPU: ptr(3), Disk: ptr(10)}, org.Resources{CPU: 3, MemoryGiB: 4, DiskGiB: 10}},
		"stopped, less":         {stopped, sandbox.ResizeRequest{CPU: ptr(1), Memory: ptr(1)}, org.Resources{CPU: 1, MemoryGiB: 1, DiskGiB: 10}},
		"stopped, disk":         {stopped, sandbox.ResizeRequest{Disk: ptr(11)}, org.Resources{CPU: 2, MemoryGiB: 4, DiskGiB: 11}},
		"stopped, smaller disk": {stopped, sandbox.ResizeRequest{Disk: ptr(9)}, org.Resources{}},
	} {
		got, err := c.r.Apply(c.sb)
		if c.want == (org.Resources{}) {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %+v %v", name, got, err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: %+v %v, want %+v", name, got, err, c.want)
		}
	}
}

func (w *world) has(id string, want org.Resources) {
	w.t.Helper()
	sb := w.get(id)
	spec, _ := w.runner.Spec(id)
	if sb.Resources() != want || sb.Resize != nil || spec.CPU != float64(want.CPU) || spec.MemoryMiB != int64(want.MemoryGiB)*1024 || spec.DiskMiB != int64(want.DiskGiB)*1024 {
		w.t.Errorf("row %+v (%+v), runner %+v, want %+v", sb.Resources(), sb.Resize, spec, want)
	}
}

func TestResize(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.create(sandbox.CreateRequest{})
	was := sb.Resources()
	got, err := w.m.Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(2), Memory: ptr(3)})
	w.must(err)
	if got.State != sandbox.Started || got.Shown() != sandbox.Started {
		t.Errorf("it is %s", got.Shown())
	}
	w.has(sb.ID, org.Resources{CPU: 2, MemoryGiB: 3, DiskGiB: was.DiskGiB})
	_, err = w.m.Stop(w.ctx, w.org, sb.ID, false)
	w.must(err)
	_, err = w.m.Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(1), Memory: ptr(1), Disk: ptr(7)})
	w.must(err)
	w.has(sb.ID, org.Resources{CPU: 1, MemoryGiB: 1, DiskGiB: 7})
	_, err = w.m.Resize(w.ctx, "another", sb.ID, sandbox.ResizeRequest{CPU: ptr(2)})
	w.wantKind(err, fault.NotFound)
	_, err = w.m.Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(5)}) // more than one sandbox may have
	w.wantKind(err, fault.Invalid)
	_, err = w.m.Delete(w.ctx, w.org, sb.ID)
	w.must(err)
	_, err = w.m.Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(2)})
	w.wantKind(err, fault.Invalid)
}

// TestResizeHoldsTheQuota has many sandboxes grow at once, on two servers, while
// the runner takes its time: what is being resized counts as what it will have.
func TestResizeHoldsTheQuota(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for range 6 {
		ids = append(ids, w.create(sandbox.CreateRequest{}).ID)
	}
	w.must(w.setQuota(w.org, org.Quota{TotalCPU: 8, TotalMemoryGiB: 100, TotalDiskGiB: 100, MaxCPU: 4, MaxMemoryGiB: 8, MaxDiskGiB: 10, Snapshots: 1}))
	held := make(chan struct{})
	w.runner.On("Resize", func(context.Context, string) error { <-held; return nil })
	servers := []*sandbox.Manager{w.m, w.manager(w.db)}
	var wg sync.WaitGroup
	var mu sync.Mutex
	grown, refused := 0, 0
	for i, id := range ids {
		wg.Go(func() {
			_, err := servers[i%2].Resize(w.ctx, w.org, id, sandbox.ResizeRequest{CPU: ptr(2)})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				grown++
			case fault.Is(err, fault.Invalid):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	for deadline := time.Now().Add(20 * time.Second); w.runner.Calls("Resize") < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the runner was not told")
		}
	}
	_, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{}, "") // all eight are taken
	w.wantKind(err, fault.Invalid)
	close(held)
	wg.Wait()
	if grown != 2 || refused != 4 {
		t.Errorf("%d grew and %d were refused, want 2 and 4", grown, refused)
	}
	used, err := w.db.OrganizationUsage(w.ctx, w.org)
	w.must(err)
	if n := used["us"].CPU; n != 8 {
		t.Errorf("%d vCPUs are in use, want 8", n)
	}
}

// TestWhileItIsResized: others have to wait, but whoever uses the sandbox sees
// nothing of it, and it can be deleted.
func TestWhileItIsResized(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	quick := w.impatient()
	sb := w.create(sandbox.CreateRequest{})
	held := make(chan struct{})
	w.runner.On("Resize", func(ctx context.Context, _ string) error {
		select {
		case <-held:
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	got, err := quick.Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(2)})
	if err != nil || got.Shown() != sandbox.Resizing || got.Met() != sandbox.Started || got.CPU != 2 {
		t.Errorf("%s (%s) with %d vCPUs: %v", got.Shown(), got.Met(), got.CPU, err)
	}
	for what, call := range map[string]func() error{
		"stop": func() error { _, err := quick.Stop(w.ctx, w.org, sb.ID, false); return err },
		"resize": func() error {
			_, err := quick.Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(3)})
			return err
		},
		"snapshot": func() error { _, err := quick.Snapshot(w.ctx, w.org, sb.ID, "x"); return err },
	} {
		if err := call(); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	page, err := w.m.List(w.ctx, w.org, sandbox.Filter{States: []sandbox.State{sandbox.Resizing}})
	if err != nil || len(page.Items) != 1 {
		t.Errorf("%d are listed as resizing: %v", len(page.Items), err)
	}
	_, err = w.m.Delete(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Destroyed)
	close(held)
}

// TestResizeThatFails gives back what it took, and says why.
func TestResizeThatFails(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.create(sandbox.CreateRequest{})
	was := sb.Resources()
	w.runner.On("Resize", func(context.Context, string) error {
		return fault.New(fault.Unprocessable, "this host has no such thing")
	})
	_, err := w.m.Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(2)})
	w.wantKind(err, fault.Unavailable)
	got := w.get(sb.ID)
	if got.Resources() != was || got.Shown() != sandbox.Started || got.ErrorReason == nil {
		t.Errorf("after a failure: %+v %s %v", got.Resources(), got.Shown(), got.ErrorReason)
	}
	// One that only does not answer is tried again, until its time is up.
	w.runner.On("Resize", func(context.Context, string) error { return fault.New(fault.Unavailable, "no route to host") })
	_, err = w.impatient().Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(2)})
	w.must(err)
	w.pass(sandbox.ResizeLimit)
	for deadline := time.Now().Add(20 * time.Second); w.get(sb.ID).Resize != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is tried for ever")
		}
		w.pass(time.Second)
	}
	w.runner.On("Resize", nil)
	_, err = w.m.Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(2)})
	w.must(err)
	if got := w.get(sb.ID); got.ErrorReason != nil {
		t.Errorf("the old reason is still there: %s", *got.ErrorReason)
	}
}

// TestCrashInResize kills the process at every call of the store.
func TestCrashInResize(t *testing.T) {
	for calls, acknowledged := 0, false; !acknowledged; calls++ {
		w := newWorld(t)
		sb := w.create(sandbox.CreateRequest{})
		was := sb.Resources()
		dying := &dyingStore{Store: w.db, calls: calls}
		_, err := w.manager(dying).Resize(w.ctx, w.org, sb.ID, sandbox.ResizeRequest{CPU: ptr(2)})
		acknowledged = err == nil
		w.run(w.manager(w.db))
		for deadline := time.Now().Add(20 * time.Second); w.get(sb.ID).Resize != nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("after %d calls: it stays %s", calls, w.get(sb.ID).Shown())
			}
		}
		switch got := w.get(sb.ID).Resources(); {
		case got.CPU == 2:
			w.has(sb.ID, got)
		case acknowledged || got != was:
			t.Errorf("after %d calls: %+v, acknowledged %v", calls, got, acknowledged)
		}
		if calls > 30 {
			t.Fatal("it never comes to an end")
		}
	}
}

// captureReady has the runner take what it was told, and reports how it went.
func (w *world) captureReady(id string, state runnerapi.SnapshotState, why string) image.Image {
	w.t.Helper()
	sb := w.get(id)
	sn, err := w.images.Get(w.ctx, w.org, sb.Snapshotting)
	w.must(err)
	w.syncImages()
	spec, ok := w.runner.ImageSpec(sn.Image)
	if !ok || spec.Sandbox != id || spec.OrgID != w.org {
		w.t.Errorf("the runner was told %+v", spec)
	}
	w.runner.SetImage(runnerapi.Snapshot{Name: sn.Image, State: state, SizeBytes: 5, Reason: why, Entrypoint: []string{"sleep", "infinity"}})
	w.syncImages()
	img, err := w.made.Get(w.ctx, sn.Image)
	w.must(err)
	return img
}

func (w *world) settled(id string) sandbox.Sandbox {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if sb := w.get(id); sb.Snapshotting == "" {
			return sb
		}
		if time.Now().After(deadline) {
			w.t.Fatal("it stays snapshotting")
		}
		w.pass(time.Second)
	}
}

func TestSnapshotOfASandbox(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	quick := w.impatient()
	sb := w.create(sandbox.CreateRequest{})
	_, err := w.m.Snapshot(w.ctx, "another", sb.ID, "mine")
	w.wantKind(err, fault.NotFound)
	_, err = w.m.Snapshot(w.ctx, w.org, sb.ID, "not a name!")
	w.wantKind(err, fault.Invalid)
	got, err := quick.Snapshot(w.ctx, w.org, sb.ID, "mine")
	w.must(err)
	if got.Shown() != sandbox.Snapshotting || got.Met() != sandbox.Started {
		t.Errorf("it is %s (%s)", got.Shown(), got.Met())
	}
	_, err = quick.Snapshot(w.ctx, w.org, sb.ID, "another")
	w.wantKind(err, fault.Conflict)
	_, err = quick.Stop(w.ctx, w.org, sb.ID, false)
	w.wantKind(err, fault.Conflict)
	w.captureReady(sb.ID, runnerapi.SnapshotReady, "")
	if sb := w.settled(sb.ID); sb.Shown() != sandbox.Started {
		t.Errorf("afterwards it is %s", sb.Shown())
	}
	sn, err := w.images.Get(w.ctx, w.org, "mine")
	w.must(err)
	if sn.State != snapshot.Active || sn.SourceSandbox != sb.ID || sn.Resources() != sb.Resources() {
		t.Errorf("snapshot %+v", sn)
	}
	of := w.create(sandbox.CreateRequest{Snapshot: ptr("mine")})
	if of.Image != sn.Image || of.State != sandbox.Started {
		t.Errorf("a sandbox of it: %s %s", of.Image, of.State)
	}
	_, err = quick.Snapshot(w.ctx, w.org, sb.ID, "mine") // taken
	w.wantKind(err, fault.Conflict)
	if got := w.get(sb.ID); got.Shown() != sandbox.Started {
		t.Errorf("after a refusal it is %s", got.Shown())
	}
	// What no runner has any more cannot be made again.
	w.runner.DropImage(sn.Image)
	gone, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{Snapshot: ptr("mine")}, "")
	w.must(err)
	if gone = w.wait(gone.ID, sandbox.Error); gone.ErrorReason == nil {
		t.Error("no reason is given")
	} else {
		t.Log(*gone.ErrorReason)
	}
}

func TestSnapshotThatFails(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.stopped([]byte("files"))
	_, err := w.impatient().Snapshot(w.ctx, w.org, sb.ID, "mine")
	w.must(err)
	w.captureReady(sb.ID, runnerapi.SnapshotFailed, "the disk is full")
	if sb := w.settled(sb.ID); sb.Shown() != sandbox.Stopped {
		t.Errorf("afterwards it is %s", sb.Shown())
	}
	sn, err := w.images.Get(w.ctx, w.org, "mine")
	w.must(err)
	if sn.State != snapshot.Failed || sn.ErrorReason == nil || *sn.ErrorReason != "the disk is full" {
		t.Errorf("snapshot %+v", sn)
	}
	// Deleted before it is made: nobody waits for it.
	_, err = w.impatient().Snapshot(w.ctx, w.org, sb.ID, "other")
	w.must(err)
	w.must(w.images.Delete(w.ctx, snapshot.By{OrgID: w.org}, "other"))
	w.settled(sb.ID)
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
}

// TestCrashInSnapshot kills the process at every call of the store. The sandbox
// must come to rest, and what was acknowledged must come to be.
func TestCrashInSnapshot(t *testing.T) {
	for calls, acknowledged := 0, false; !acknowledged; calls++ {
		w := newWorld(t)
		sb := w.create(sandbox.CreateRequest{})
		m := w.manager(&dyingStore{Store: w.db, calls: calls})
		done := make(chan error, 1)
		go func() { _, err := m.Snapshot(w.ctx, w.org, sb.ID, "mine"); done <- err }()
		m.Close() // calls that wait for the outcome end with the process
		acknowledged = <-done == nil
		w.run(w.manager(w.db))
		sn, err := w.images.Get(w.ctx, w.org, "mine")
		if acknowledged && err != nil {
			t.Errorf("after %d calls: %v", calls, err)
		}
		if err == nil {
			w.syncImages()
			w.runner.SetImage(runnerapi.Snapshot{Name: sn.Image, State: runnerapi.SnapshotReady})
			w.syncImages()
			if sn, err = w.images.Get(w.ctx, w.org, "mine"); err != nil || sn.State != snapshot.Active {
				t.Errorf("after %d calls the snapshot is %s: %v", calls, sn.State, err)
			}
		}
		if sb := w.settled(sb.ID); sb.Shown() != sandbox.Started {
			t.Errorf("after %d calls it is %s", calls, sb.Shown())
		}
		if calls > 30 {
			t.Fatal("it never comes to an end")
		}
	}
}
