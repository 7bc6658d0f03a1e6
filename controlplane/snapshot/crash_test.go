package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/image"
	"daytona/controlplane/snapshot"
	"daytona/controlplane/storage"
	"daytona/internal/fault"
)

var errDead = errors.New("the process is dead")

// dying dies after a number of calls: the next one, and all later ones, do
// nothing and fail, as for a process that was killed there.
type dying struct {
	*storage.DB
	calls int // left
}

func (d *dying) err() error {
	if d.calls--; d.calls < 0 {
		return errDead
	}
	return nil
}

func (d *dying) FindSnapshot(ctx context.Context, orgID, id string) (snapshot.Snapshot, error) {
	if err := d.err(); err != nil {
		return snapshot.Snapshot{}, err
	}
	return d.DB.FindSnapshot(ctx, orgID, id)
}

func (d *dying) CreateSnapshot(ctx context.Context, s snapshot.Snapshot, i image.Image, a snapshot.Admit, settle func(snapshot.Snapshot, image.Image) snapshot.Snapshot) (snapshot.Snapshot, error) {
	if err := d.err(); err != nil {
		return s, err
	}
	return d.DB.CreateSnapshot(ctx, s, i, a, settle)
}

func (d *dying) ActivateSnapshot(ctx context.Context, s snapshot.Snapshot, i image.Image, a snapshot.Admit, settle func(snapshot.Snapshot, image.Image) snapshot.Snapshot) (snapshot.Snapshot, error) {
	if err := d.err(); err != nil {
		return s, err
	}
	return d.DB.ActivateSnapshot(ctx, s, i, a, settle)
}

func (d *dying) DeleteSnapshot(ctx context.Context, id string) error {
	if err := d.err(); err != nil {
		return err
	}
	return d.DB.DeleteSnapshot(ctx, id)
}

func (d *dying) MoveSnapshot(ctx context.Context, s snapshot.Snapshot, from snapshot.State) error {
	if err := d.err(); err != nil {
		return err
	}
	return d.DB.MoveSnapshot(ctx, s, from)
}

func (d *dying) SnapshotsIn(ctx context.Context, states ...snapshot.State) ([]snapshot.Snapshot, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.DB.SnapshotsIn(ctx, states...)
}

func (d *dying) Image(ctx context.Context, name string) (image.Image, error) {
	if err := d.err(); err != nil {
		return image.Image{}, err
	}
	return d.DB.Image(ctx, name)
}

func (d *dying) Images(ctx context.Context) ([]image.Image, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.DB.Images(ctx)
}

func (d *dying) MoveImage(ctx context.Context, i image.Image) (image.Image, error) {
	if err := d.err(); err != nil {
		return i, err
	}
	return d.DB.MoveImage(ctx, i)
}

func (d *dying) UnusedImages(ctx context.Context, since time.Time) ([]image.Image, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.DB.UnusedImages(ctx, since)
}

func (d *dying) DeleteImage(ctx context.Context, i image.Image, since time.Time) error {
	if err := d.err(); err != nil {
		return err
	}
	return d.DB.DeleteImage(ctx, i, since)
}

// process is a server over the world's database and runner, which works until
// everything is settled or its store has died.
func (w *world) process(store interface {
	snapshot.Store
	image.Store
}) *snapshot.Service {
	w.Helper()
	f := fleet.New()
	w.must(f.Add(w.ctx, "us", w.runner))
	log := slog.New(slog.DiscardHandler)
	return snapshot.New(snapshot.Config{
		Store: store, Fleet: f, Log: log, Regions: fleet.NewRegions(w.db, "us", "us"),
		Images: image.New(image.Config{Store: store, Fleet: f, Log: log}),
	})
}

// settle lets a service and the runner work until nothing changes.
func (w *world) settle(s *snapshot.Service) error {
	w.Helper()
	for range 10 {
		settled, err := s.Sync(w.ctx, time.Now())
		if err != nil {
			return err
		}
		list, err := w.runner.Snapshots(w.ctx)
		w.must(err)
		for _, sn := range list {
			if sn.State == runnerapi.SnapshotPending {
				made := ready
				made.Name, made.Digest = sn.Name, "sha256:a"
				w.runner.SetImage(made)
				settled = false
			}
		}
		if settled {
			return nil
		}
	}
	w.Error("it does not come to rest")
	return nil
}

// TestCrash kills the server at every call of the store, so also between the store
// and the runner. What was answered holds after the restart, and whatever was
// under way comes to an end: the runner holds the images that usable snapshots
// are made of, and no other.
func TestCrash(t *testing.T) {
	for _, a := range []struct {
		name string
		from snapshot.State // of the snapshot "old"; "" is none
		do   func(w *world, s *snapshot.Service) error
		to   snapshot.State // when it was answered; "" is gone
	}{
		{"create", "", func(w *world, s *snapshot.Service) error {
			_, err := s.Create(w.ctx, w.by, snapshot.CreateRequest{Name: "old", ImageName: ptr("debian:12.11")})
			return err
		}, snapshot.Active},
		{"delete", snapshot.Active, func(w *world, s *snapshot.Service) error { return s.Delete(w.ctx, w.by, "old") }, ""},
		{"delete while it is pulled", snapshot.Pending, func(w *world, s *snapshot.Service) error { return s.Delete(w.ctx, w.by, "old") }, ""},
		{"deactivate", snapshot.Active, func(w *world, s *snapshot.Service) error { return s.Deactivate(w.ctx, w.by, "old") }, snapshot.Inactive},
		{"activate", snapshot.Inactive, func(w *world, s *snapshot.Service) error {
			_, err := s.Activate(w.ctx, w.by, "old")
			return err
		}, snapshot.Active},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			through := false
			for calls := 0; !through; calls++ {
				if calls > 100 {
					t.Fatal("never through")
				}
				w := newWorld(t)
				if a.from != "" {
					w.pull("old")
				}
				if a.from == snapshot.Pending {
					w.sync()
				} else {
					w.must(w.settle(w.s))
				}
				if a.from == snapshot.Inactive {
					w.must(w.s.Deactivate(w.ctx, w.by, "old"))
					w.must(w.settle(w.s))
				}
				victim := w.process(&dying{w.db, calls})
				answered := a.do(w, victim) == nil
				through = answered && w.settle(victim) == nil

				next := w.process(w.db)
				w.must(w.settle(next))
				w.holdsWhatIsUsable(fmt.Sprintf("dead at call %d", calls))
				old, err := next.Get(w.ctx, w.by.OrgID, "old")
				switch {
				case answered && a.to == "":
					w.wants(err, fault.NotFound, "old")
				case answered && old.State != a.to:
					t.Errorf("dead at call %d: answered, and it is %q (%v)", calls, old.State, err)
				case answered && a.to == snapshot.Active && old.Digest != "sha256:a":
					t.Errorf("dead at call %d: its digest is %q", calls, old.Digest)
				}
				if !answered { // the client tries again
					if err := a.do(w, next); err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Invalid) {
						t.Errorf("dead at call %d: repeat: %v", calls, err)
					}
					w.must(w.settle(next))
					w.holdsWhatIsUsable(fmt.Sprintf("dead at call %d, after the repeat", calls))
				}
			}
		})
	}
}

// holdsWhatIsUsable compares rows with the runner.
func (w *world) holdsWhatIsUsable(when string) {
	w.Helper()
	page, err := w.db.ListSnapshots(w.ctx, w.by.OrgID, snapshot.Filter{})
	w.must(err)
	rows, err := w.db.Images(w.ctx)
	w.must(err)
	held, err := w.runner.Snapshots(w.ctx)
	w.must(err)
	var want, has, known []string
	for _, s := range page.Items {
		switch s.State {
		case snapshot.Active:
			want = append(want, s.Image)
		case snapshot.Inactive:
		default:
			w.Errorf("%s: %s stays %s", when, s.Name, s.State)
		}
	}
	for _, i := range rows {
		known = append(known, i.Name)
	}
	for _, s := range held {
		has = append(has, s.Name)
	}
	known = append(known, "daytona-slim") // the runner's own
	for _, list := range [][]string{want, has, known} {
		slices.Sort(list)
	}
	if !slices.Equal(want, has) || !slices.Equal(want, known) {
		w.Errorf("%s: usable are %v, the runner holds %v, there are rows of %v", when, want, has, known)
	}
}
