package snapshot

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/internal/fault"
)

// Fleet is what a Service needs of the runners.
type Fleet interface {
	Members() []fleet.Member
}

// Config is what a Service needs.
type Config struct {
	Store Store
	Fleet Fleet
	Log   *slog.Logger
	// Default is the name of the snapshot that a request without one gets.
	// Defaults to "daytona-slim".
	Default string
	// Every is the time between two looks at the runners while a snapshot is
	// on its way. Defaults to 1 second; 10 times that when all are settled.
	Every time.Duration
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Service looks snapshots up and keeps their rows in step with the runners.
type Service struct {
	c    Config
	wake chan struct{}

	mu   sync.Mutex
	used map[string]time.Time // last uses stored, by id
}

// New returns a Service.
func New(c Config) *Service {
	c.Default = cmp.Or(c.Default, "daytona-slim")
	c.Every = cmp.Or(c.Every, time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Service{c: c, wake: make(chan struct{}, 1), used: map[string]time.Time{}}
}

// Default is the name of the default snapshot.
func (s *Service) Default() string { return s.c.Default }

// Get returns a snapshot of the organization or a general one, by id or name.
func (s *Service) Get(ctx context.Context, orgID, idOrName string) (Snapshot, error) {
	sn, err := s.c.Store.FindSnapshot(ctx, orgID, idOrName)
	if fault.Is(err, fault.NotFound) {
		return Snapshot{}, fault.New(fault.NotFound, "Snapshot with ID or name %s not found", idOrName)
	}
	return sn, err
}

// Resolve returns the snapshot that a create request means; "" is the default
// one. It is NotFound or Invalid, saying what to do, when it cannot be used.
func (s *Service) Resolve(ctx context.Context, orgID, idOrName string) (Snapshot, error) {
	sn, err := s.Get(ctx, orgID, cmp.Or(idOrName, s.c.Default))
	if err != nil {
		return Snapshot{}, err
	}
	return sn, sn.Usable()
}

// usedEvery is how far apart two stored uses of a snapshot are: a create must not
// pay for one more write each time.
const usedEvery = time.Minute

// Used records that a sandbox was made of a snapshot. It is a hint, up to a
// minute old; failures are logged.
func (s *Service) Used(ctx context.Context, id string) {
	now := s.c.Now()
	s.mu.Lock()
	recent := now.Sub(s.used[id]) < usedEvery
	if !recent {
		s.used[id] = now
	}
	s.mu.Unlock()
	if recent {
		return
	}
	if err := s.c.Store.TouchSnapshot(ctx, id, now); err != nil {
		s.c.Log.Warn("last use of snapshot not stored", "snapshot_id", id, "error", err)
	}
}

// List returns a page of the snapshots that an organization sees.
func (s *Service) List(ctx context.Context, orgID string, f Filter) (Page, error) {
	return s.c.Store.ListSnapshots(ctx, orgID, f)
}

// Bootstrap makes sure that the default snapshot has a row.
func (s *Service) Bootstrap(ctx context.Context) error {
	_, err := s.c.Store.EnsureSnapshot(ctx, s.fresh(s.c.Default, s.c.Now()))
	return err
}

func (s *Service) fresh(name string, now time.Time) Snapshot {
	now = now.UTC().Truncate(time.Millisecond)
	return Snapshot{
		ID: uuid.NewString(), General: true, Name: name, ImageName: name, Image: name, State: Building,
		CPU: 1, MemoryGiB: 1, DiskGiB: 3, CreatedAt: now, UpdatedAt: now,
	}
}

// Wake makes Run look at the runners at once.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run keeps the rows in step with the runners until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.Bootstrap(ctx); err != nil {
		return err
	}
	for {
		wait := s.c.Every
		settled, err := s.Sync(ctx, s.c.Now())
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was asked to end: what broke off does not matter
		case err != nil:
			s.c.Log.Warn("snapshots not compared with the runners", "error", err)
		}
		if settled || err != nil {
			wait *= 10
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-time.After(wait):
		}
	}
}

// Sync compares once. settled says that no snapshot is on its way.
func (s *Service) Sync(ctx context.Context, now time.Time) (settled bool, err error) {
	held := map[string]runnerapi.Snapshot{}
	var errs []error
	for _, m := range s.c.Fleet.Members() {
		list, err := m.Runner.Snapshots(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, sn := range list {
			if have, ok := held[sn.Name]; !ok || better(sn.State, have.State) {
				held[sn.Name] = sn
			}
		}
	}
	rows, err := s.c.Store.GeneralSnapshots(ctx)
	if err != nil {
		return false, errors.Join(append(errs, err)...)
	}
	for name := range held {
		if !slices.ContainsFunc(rows, func(r Snapshot) bool { return r.Name == name }) {
			row, err := s.c.Store.EnsureSnapshot(ctx, s.fresh(name, now))
			if err != nil {
				errs = append(errs, err)
				continue
			}
			rows = append(rows, row)
		}
	}
	settled = true
	for _, row := range rows {
		next, changed := row, false
		if sn, ok := held[row.Name]; ok {
			next, changed = merge(row, sn)
		}
		if changed {
			next.UpdatedAt = now.UTC().Truncate(time.Millisecond)
			if err := s.c.Store.MoveSnapshot(ctx, next, row.State); err != nil && !fault.Is(err, fault.Conflict) {
				errs = append(errs, err)
			}
			if next.State != row.State {
				s.c.Log.Info("snapshot changed", "snapshot", row.Name, "from", row.State, "to", next.State, "reason", text(next.ErrorReason))
			}
		}
		if next.State == Building || next.State == Pulling || next.State == Pending {
			settled = false
		}
	}
	return settled, errors.Join(errs...)
}

// better: a snapshot is as far as the runner that is farthest with it.
func better(a, b runnerapi.SnapshotState) bool {
	rank := map[runnerapi.SnapshotState]int{runnerapi.SnapshotReady: 2, runnerapi.SnapshotBuilding: 1}
	return rank[a] > rank[b]
}

// merge says what a row becomes by what a runner reports. Rows that a person
// switched off stay as they are.
func merge(row Snapshot, seen runnerapi.Snapshot) (next Snapshot, changed bool) {
	next = row
	if row.State == Inactive || row.State == Removing {
		return next, false
	}
	next.ErrorReason, next.Progress = nil, ""
	switch seen.State {
	case runnerapi.SnapshotReady:
		next.State = Active
		size := seen.SizeBytes
		next.SizeBytes = &size
		next.Entrypoint = append([]string{}, seen.Entrypoint...)
		next.Isolation = fleet.Stronger(row.Isolation, seen.Isolation)
	case runnerapi.SnapshotFailed:
		reason := cmp.Or(strings.TrimSpace(seen.Reason), "The runner gave no reason")
		next.State, next.ErrorReason = Failed, &reason
	default:
		next.State, next.Progress = Building, seen.Progress
	}
	same := next.State == row.State && next.Progress == row.Progress && next.Isolation == row.Isolation &&
		deref(next.ErrorReason) == deref(row.ErrorReason) && deref(next.SizeBytes) == deref(row.SizeBytes) &&
		slices.Equal(next.Entrypoint, row.Entrypoint)
	return next, !same
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
