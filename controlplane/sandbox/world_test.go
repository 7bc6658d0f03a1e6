package sandbox_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/controlplane/auth"
	"daytona/controlplane/fleet"
	"daytona/controlplane/fleet/fleettest"
	"daytona/controlplane/image"
	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/snapshot"
	"daytona/controlplane/storage"
	"daytona/internal/chunkstore"
	"daytona/internal/fault"
	"daytona/internal/objectstore/buckettest"
)

// world is a control plane on a real database with a runner that does as told.
type world struct {
	t      testing.TB
	ctx    context.Context
	db     *storage.DB
	path   string // of its file
	runner *fleettest.Runner
	fleet  *fleet.Fleet
	images *snapshot.Service
	made   *image.Service
	m      *sandbox.Manager
	org    string
	bucket *bucket
	offset atomic.Int64 // nanoseconds by which the clock is ahead
}

const slim = "daytona-slim"

func newWorld(t testing.TB) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "daytona.db")
	db, err := storage.Open(t.Context(), path, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, ctx: t.Context(), db: db, path: path, runner: fleettest.New("r1", slim), fleet: fleet.New(), bucket: &bucket{Bucket: buckettest.NewMemory()}}
	w.must(w.fleet.Add(w.ctx, "us", w.runner))
	_, err = auth.New(auth.Config{Store: db, Log: log}).Bootstrap(w.ctx, func() (string, error) { return auth.NewValue(), nil })
	w.must(err)
	o, err := db.PersonalOrganization(w.ctx, auth.AdminID)
	w.must(err)
	w.org = o.ID
	w.made = image.New(image.Config{Store: db, Fleet: w.fleet, Log: log, Now: w.now})
	w.images = snapshot.New(snapshot.Config{Store: db, Fleet: w.fleet, Images: w.made, Log: log, Now: w.now})
	w.must(w.images.Bootstrap(w.ctx))
	w.syncImages()
	w.m = w.manager(db)
	return w
}

// manager makes another Manager: another server, or the same after a restart.
func (w *world) manager(store sandbox.Store) *sandbox.Manager {
	m := sandbox.NewManager(sandbox.Config{
		Store: store, Runners: w.fleet, Snapshots: w.images, Images: w.made, Regions: fleet.NewRegions(w.db, "us", "us"),
		Archives: &chunkstore.Store{Bucket: w.bucket, Limit: time.Second, Pause: time.Millisecond, Attempts: 1},
		Metrics:  prometheus.NewRegistry(), AnswerWithin: 10 * time.Second, Resync: 20 * time.Millisecond, Now: w.now,
	})
	w.t.Cleanup(m.Close)
	return m
}

// impatient makes a Manager whose calls answer with what is under way.
func (w *world) impatient() *sandbox.Manager {
	m := sandbox.NewManager(sandbox.Config{
		Store: w.db, Runners: w.fleet, Snapshots: w.images, Images: w.made, Regions: fleet.NewRegions(w.db, "us", "us"),
		Metrics: prometheus.NewRegistry(), AnswerWithin: time.Millisecond, Now: w.now,
	})
	w.t.Cleanup(m.Close)
	return m
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

// pass moves the clock on.
func (w *world) pass(d time.Duration) { w.offset.Add(int64(d)) }

// syncImages brings the rows of snapshots in step with the runner.
func (w *world) syncImages() {
	w.t.Helper()
	_, err := w.images.Sync(w.ctx, time.Now())
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantKind(err error, kind fault.Kind) {
	w.t.Helper()
	if !fault.Is(err, kind) {
		w.t.Errorf("got error %v, want the kind %s", err, kind)
	}
}

func (w *world) create(r sandbox.CreateRequest) sandbox.Sandbox {
	w.t.Helper()
	sb, err := w.m.Create(w.ctx, w.org, "u", r, "")
	w.must(err)
	return sb
}

func (w *world) get(id string) sandbox.Sandbox {
	w.t.Helper()
	sb, err := w.m.Get(w.ctx, w.org, id)
	w.must(err)
	return sb
}

func (w *world) resync(m *sandbox.Manager) sandbox.Resynced {
	w.t.Helper()
	r, err := m.RunOnce(w.ctx, w.now())
	w.must(err)
	return r
}

// wait returns the sandbox once it is in a state. A Manager must be running.
func (w *world) wait(id string, state sandbox.State) sandbox.Sandbox {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		sb := w.get(id)
		if sb.State == state {
			return sb
		}
		if time.Now().After(deadline) {
			why := "no reason"
			if sb.ErrorReason != nil {
				why = *sb.ErrorReason
			}
			w.t.Fatalf("sandbox stays %s (%s), want %s", sb.State, why, state)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// run runs a Manager until the test ends.
func (w *world) run(m *sandbox.Manager) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.t.Error("Run: ", err)
		}
	})
}

func ptr[T any](v T) *T { return &v }

func (w *world) setQuota(orgID string, q org.Quota) error {
	_, err := w.db.ChangeOrganization(w.ctx, orgID, time.Now(), func(o *org.Organization) { o.Quota = q })
	return err
}
