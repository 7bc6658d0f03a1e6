package snapshot_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/fleet/fleettest"
	"daytona/controlplane/image"
	"daytona/controlplane/snapshot"
	"daytona/controlplane/storage"
	"daytona/internal/fault"
)

func newService(t *testing.T) (*snapshot.Service, *fleettest.Runner) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "d.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	f, r := fleet.New(), fleettest.New("r1")
	if err := f.Add(t.Context(), "us", r); err != nil {
		t.Fatal(err)
	}
	images := image.New(image.Config{Store: db, Fleet: f, Log: log})
	return snapshot.New(snapshot.Config{Store: db, Fleet: f, Images: images, Log: log, Every: time.Millisecond}), r
}

// TestTheDefaultSnapshot follows it from the first start, before any runner knows
// it, to a failure, another try, and being ready.
func TestTheDefaultSnapshot(t *testing.T) {
	s, r := newService(t)
	ctx := t.Context()
	for range 2 { // a second start changes nothing
		if err := s.Bootstrap(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		runner  *runnerapi.Snapshot
		state   snapshot.State
		settled bool
		reason  string
		usable  bool
	}{
		{nil, snapshot.Building, false, "", true},
		{&runnerapi.Snapshot{State: runnerapi.SnapshotBuilding, Progress: "unpacking"}, snapshot.Building, false, "", true},
		{&runnerapi.Snapshot{State: runnerapi.SnapshotFailed, Reason: "no mirror answers"}, snapshot.Failed, true, "no mirror answers", false},
		{&runnerapi.Snapshot{State: runnerapi.SnapshotBuilding}, snapshot.Building, false, "", true},
		{&runnerapi.Snapshot{State: runnerapi.SnapshotReady, SizeBytes: 1.5e9, Entrypoint: []string{"sleep"}}, snapshot.Active, true, "", true},
	} {
		if step.runner != nil {
			step.runner.Name = s.Default()
			r.SetSnapshot(*step.runner)
		}
		settled, err := s.Sync(ctx, time.Now())
		if err != nil || settled != step.settled {
			t.Errorf("%s: settled %v, %v", step.state, settled, err)
		}
		got, err := s.Get(ctx, "any organization", "daytona-slim")
		if err != nil {
			t.Fatal(err)
		}
		if got.State != step.state || (got.ErrorReason != nil) != (step.reason != "") || !got.General {
			t.Errorf("snapshot %+v, want state %s", got, step.state)
		}
		_, err = s.Resolve(ctx, "any organization", "")
		if step.usable && err != nil || !step.usable && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), step.reason)) {
			t.Errorf("%s: resolve: %v", step.state, err)
		}
	}
	got, err := s.Get(ctx, "o", "daytona-slim")
	if err != nil || *got.SizeGB() != 1.5 || got.Entrypoint[0] != "sleep" || got.CPU != 1 || got.MemoryGiB != 1 || got.DiskGiB != 3 {
		t.Errorf("active snapshot %+v, %v", got, err)
	}
	_, err = s.Get(ctx, "o", "nope")
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "nope") {
		t.Errorf("unknown: %v", err)
	}
}

func TestOtherSnapshotsOfARunnerGetRows(t *testing.T) {
	s, r := newService(t)
	r.SetSnapshot(runnerapi.Snapshot{Name: "daytona-full", State: runnerapi.SnapshotReady})
	if _, err := s.Sync(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	p, err := s.List(t.Context(), "o", snapshot.Filter{})
	if err != nil || p.Total != 1 || p.Items[0].Name != "daytona-full" || p.Items[0].State != snapshot.Active {
		t.Errorf("list %+v, %v", p, err)
	}
}

func TestASilentRunnerChangesNothing(t *testing.T) {
	s, r := newService(t)
	r.SetSnapshot(runnerapi.Snapshot{Name: s.Default(), State: runnerapi.SnapshotReady})
	if _, err := s.Sync(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	r.On("Snapshots", func(context.Context, string) error { return errors.New("gone") })
	if _, err := s.Sync(t.Context(), time.Now()); err == nil {
		t.Error("the failure was swallowed")
	}
	if got, err := s.Get(t.Context(), "o", s.Default()); err != nil || got.State != snapshot.Active {
		t.Errorf("snapshot %+v, %v", got, err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	s, _ := newService(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
