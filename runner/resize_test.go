package runner_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
)

func TestResize(t *testing.T) {
	w := newWorld(t, nil)
	s := spec(func(s *runnerapi.Spec) { s.CPU, s.MemoryMiB, s.DiskMiB = 1, 1024, 3072 })
	w.create(s)
	resize := func(size runnerapi.Size) error {
		t.Helper()
		_, err := w.Resize(t.Context(), s.ID, size)
		return err
	}
	for range 2 {
		if err := resize(runnerapi.Size{CPU: 2, MemoryMiB: 2048, DiskMiB: 3072}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := w.driver.Limits(s.ID), (runner.Limits{CPU: 2, MemoryBytes: 2 << 30}); got != want {
		t.Errorf("limits %+v, want %+v", got, want)
	}
	if err := resize(runnerapi.Size{DiskMiB: 4096}); !fault.Is(err, fault.Conflict) {
		t.Errorf("the disk of a running one: %v", err)
	}
	if _, err := w.Stop(t.Context(), s.ID, true); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]runnerapi.Size{"smaller disk": {DiskMiB: 1024}, "no memory": {MemoryMiB: 1}} {
		if err := resize(size); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.roots.Fail("Resize", fault.New(fault.Unavailable, "the runner's disk is full"))
	if err := resize(runnerapi.Size{CPU: 4, DiskMiB: 4096}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without room: %v", err)
	}
	w.roots.Fail("Resize", nil)
	if err := resize(runnerapi.Size{CPU: 0.5, DiskMiB: 4096}); err != nil {
		t.Fatal(err)
	}
	// It starts with that, after a restart of the runner too.
	w.close()
	w = reopen(t, w.dir, nil)
	if _, err := w.Start(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	var has struct{ CPUCount, MemTotal, DiskTotal int64 }
	if err := json.Unmarshal(w.request(http.MethodGet, s.ID, "/system/metrics", "").Body.Bytes(), &has); err != nil {
		t.Fatal(err)
	}
	if has.CPUCount != 1 || has.MemTotal != 2<<30 || has.DiskTotal != 4<<30 {
		t.Errorf("it has %+v", has)
	}
	if _, err := w.Resize(t.Context(), "nobody", runnerapi.Size{CPU: 1}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown one: %v", err)
	}
	w.agrees()
}

// TestResizeKilled ends the runner between the effect and the record: the next
// one is told again.
func TestResizeKilled(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	w.driver.Fail("SetLimits", errors.New("killed here"))
	if _, err := w.Resize(t.Context(), s.ID, runnerapi.Size{CPU: 2}); err == nil {
		t.Fatal("it says that limits hold which do not")
	}
	w.close()
	next := reopen(t, w.dir, nil)
	if _, err := next.Resize(t.Context(), s.ID, runnerapi.Size{CPU: 2}); err != nil {
		t.Fatal(err)
	}
	if got := next.driver.Limits(s.ID); got.CPU != 2 {
		t.Errorf("limits %+v", got)
	}
}

func captureSpec(name, id string) runnerapi.ImageSpec {
	return runnerapi.ImageSpec{Name: name, OrgID: "org", Sandbox: id}
}

func TestImageOfASandbox(t *testing.T) {
	w := newWorld(t, nil)
	s := w.written("kept")
	other := captureSpec("theirs", s.ID)
	other.OrgID = "another"
	if err := w.EnsureImage(t.Context(), other); !fault.Is(err, fault.Invalid) {
		t.Errorf("of another organization's sandbox: %v", err)
	}
	if err := w.EnsureImage(t.Context(), captureSpec("mine", s.ID)); err != nil {
		t.Fatal(err)
	}
	w.awaitImage("mine", runnerapi.SnapshotReady)
	if sb, err := w.Inspect(t.Context(), s.ID); err != nil || sb.State != runnerapi.StateStopped {
		t.Errorf("afterwards it is %s: %v", sb.State, err)
	}
	w.create(spec(func(s *runnerapi.Spec) { s.Snapshot = "mine" }))
	// Of a running one too, and what else is asked of it goes first.
	if _, err := w.Start(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	entered, release := w.roots.Block("Capture")
	if err := w.EnsureImage(t.Context(), captureSpec("again", s.ID)); err != nil {
		t.Fatal(err)
	}
	<-entered
	stopped := make(chan error, 1)
	go func() { _, err := w.Stop(t.Context(), s.ID, true); stopped <- err }()
	release()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	w.awaitImage("again", runnerapi.SnapshotReady)
}

// TestImageOfASandboxAfterTheRunnerDied: the work goes on, and leaves nothing
// unfinished.
func TestImageOfASandboxAfterTheRunnerDied(t *testing.T) {
	w := newWorld(t, nil)
	s := w.written("kept")
	entered, release := w.roots.Block("Capture")
	if err := w.EnsureImage(t.Context(), captureSpec("mine", s.ID)); err != nil {
		t.Fatal(err)
	}
	<-entered
	w.close()
	release()
	next := reopen(t, w.dir, nil)
	next.awaitImage("mine", runnerapi.SnapshotReady)
	// One whose sandbox is gone says so.
	if err := next.Delete(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if err := next.EnsureImage(t.Context(), captureSpec("late", s.ID)); !fault.Is(err, fault.Invalid) {
		t.Errorf("of a sandbox that is gone: %v", err)
	}
	next.agrees()
}
