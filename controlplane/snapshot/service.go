package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/image"
	"daytona/internal/fault"
)

// Fleet is what a Service needs of the runners.
type Fleet interface {
	Members() []fleet.Member
}

// Images is what a Service needs of the images.
type Images interface {
	Check(ctx context.Context, i image.Image) error
	Sync(ctx context.Context) (v image.View, settled bool, err error)
	Get(ctx context.Context, name string) (image.Image, error)
	Log(ctx context.Context, name, runner string, follow bool, w io.Writer) error
	Follow(ctx context.Context)
	Wake()
	Woken() <-chan struct{}
}

// Regions is what a Service needs of the regions.
type Regions interface {
	Resolve(ctx context.Context, orgID, target string) (string, error)
}

// Config is what a Service needs.
type Config struct {
	Store  Store
	Fleet  Fleet
	Images Images
	// Regions checks the region of a request; nil takes any.
	Regions Regions
	Log     *slog.Logger
	// Default is the name of the snapshot that a request without one gets.
	// Defaults to "daytona-slim".
	Default string
	// Every is the time between two looks at the runners while a snapshot is
	// on its way, if none of them reports a change before. Defaults to 3
	// seconds; 10 times that when all are settled.
	Every time.Duration
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Service looks snapshots up and keeps their rows in step with the runners.
type Service struct {
	c Config

	mu   sync.Mutex
	used map[string]time.Time // last uses stored, by id
}

// New returns a Service.
func New(c Config) *Service {
	c.Default = cmp.Or(c.Default, "daytona-slim")
	c.Every = cmp.Or(c.Every, 3*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Service{c: c, used: map[string]time.Time{}}
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

// Wake makes Run look at the runners soon.
func (s *Service) Wake() { s.c.Images.Wake() }

// lull is how long Run waits after a comparison in any case: runners report
// progress often.
const lull = 20 * time.Millisecond

// Run keeps the rows in step with the runners until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.Bootstrap(ctx); err != nil {
		return err
	}
	var idle time.Time // when unused snapshots were last looked for
	for {
		s.c.Images.Follow(ctx)
		wait := s.c.Every
		settled, err := s.Sync(ctx, s.c.Now())
		if now := s.c.Now(); err == nil && now.Sub(idle) >= time.Hour {
			idle = now
			err = s.deactivateUnused(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was asked to end: what broke off does not matter
		case err != nil:
			s.c.Log.Warn("snapshots not compared with the runners", "error", err)
		}
		if settled {
			wait *= 10
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lull):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.c.Images.Woken():
		case <-time.After(wait):
		}
	}
}

func (s *Service) deactivateUnused(ctx context.Context) error {
	n, err := s.c.Store.DeactivateUnused(ctx, s.now())
	if n > 0 {
		s.c.Log.Info("unused snapshots deactivated", "snapshots", n)
	}
	return err
}

// Sync compares once. settled says that no snapshot is on its way.
func (s *Service) Sync(ctx context.Context, now time.Time) (settled bool, err error) {
	view, settled, err := s.c.Images.Sync(ctx)
	done, err2 := s.syncMade(ctx, now)
	rest, err3 := s.syncOperators(ctx, view, now)
	return settled && done && rest, errors.Join(err, err2, err3)
}

// syncMade brings snapshots in step with the images that are made for them.
func (s *Service) syncMade(ctx context.Context, now time.Time) (settled bool, err error) {
	rows, err := s.c.Store.SnapshotsIn(ctx, Pending, Building, Pulling)
	errs := []error{err}
	settled = true
	for _, row := range rows {
		if s.byRunner(row) {
			continue
		}
		i, err := s.c.Images.Get(ctx, row.Image)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		next := Settle(row, i)
		if next.State == Active && row.OrgID != "" {
			o, err := s.c.Store.Organization(ctx, row.OrgID)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if most := o.Quota.MaxSnapshotSizeGB; *next.SizeBytes > int64(most)*1e9 {
				reason := fmt.Sprintf("The image is %.2f GB large; at most %d GB are allowed", *next.SizeGB(), most)
				next.State, next.ErrorReason = Failed, &reason
			}
		}
		errs = append(errs, s.store(ctx, row, next, now))
		settled = settled && next.State != Pending && next.State != Building && next.State != Pulling
	}
	return settled, errors.Join(errs...)
}

// syncOperators does the same with the snapshots that runners make for their
// operators.
func (s *Service) syncOperators(ctx context.Context, view image.View, now time.Time) (settled bool, err error) {
	rows, err := s.c.Store.GeneralSnapshots(ctx)
	if err != nil {
		return false, err
	}
	var errs []error
	for name := range view.Names() {
		if !image.Ours(name) && !slices.ContainsFunc(rows, func(r Snapshot) bool { return r.Image == name }) {
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
		if !s.byRunner(row) {
			continue
		}
		next := row
		if sn, _, ok := view.Best(row.Image); ok {
			next, _ = merge(row, sn)
		}
		errs = append(errs, s.store(ctx, row, next, now))
		settled = settled && next.State != Building && next.State != Pulling && next.State != Pending
	}
	return settled, errors.Join(errs...)
}

// store stores what became of a row, if anything did.
func (s *Service) store(ctx context.Context, row, next Snapshot, now time.Time) error {
	if same(row, next) {
		return nil
	}
	next.UpdatedAt = now.UTC().Truncate(time.Millisecond)
	if next.State != row.State {
		s.c.Log.Info("snapshot changed", "snapshot", row.Name, "org_id", row.OrgID, "from", row.State, "to", next.State, "reason", text(next.ErrorReason))
	}
	if err := s.c.Store.MoveSnapshot(ctx, next, row.State); !fault.Is(err, fault.Conflict) {
		return err
	}
	return nil
}

func same(a, b Snapshot) bool {
	return a.State == b.State && a.Progress == b.Progress && a.Isolation == b.Isolation && a.Digest == b.Digest &&
		deref(a.ErrorReason) == deref(b.ErrorReason) && deref(a.SizeBytes) == deref(b.SizeBytes) &&
		slices.Equal(a.Entrypoint, b.Entrypoint)
}

func (s *Service) now() time.Time { return s.c.Now().UTC().Truncate(time.Millisecond) }

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
		if seen.State == runnerapi.SnapshotPulling {
			next.State = Pulling
		}
	}
	return next, !same(row, next)
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
