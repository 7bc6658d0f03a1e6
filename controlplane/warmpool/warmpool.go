// Package warmpool keeps what organizations ask for of booted sandboxes that wait
// for them: of which snapshot, where, and how many.
//
// The runners hold the sandboxes and fill the pools; this package tells them what
// there shall be, again and again.
package warmpool

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"daytona/controlplane/fleet"
	"daytona/controlplane/org"
	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

// Pool is what an organization asks for.
type Pool struct {
	ID         string // UUID
	OrgID      string
	SnapshotID string
	Target     string // id of the region
	Size       int    // how many shall wait
	// Of each one, as the snapshot says.
	CPU, MemoryGiB, DiskGiB int
	CreatedAt, UpdatedAt    time.Time
}

// Store keeps pools. Unknown rows are fault.NotFound.
type Store interface {
	// CreateWarmPool stores p if admit agrees, given what the organization may use
	// in the region and the pools that it has there. One of the same snapshot and
	// region is fault.Conflict.
	CreateWarmPool(ctx context.Context, p Pool, admit Admit) error
	// ResizeWarmPool changes the size in the same way and returns the pool.
	ResizeWarmPool(ctx context.Context, orgID, id string, size int, now time.Time, admit Admit) (Pool, error)
	// DeleteWarmPool removes a pool of an organization.
	DeleteWarmPool(ctx context.Context, orgID, id string) error
	// WarmPools lists those of an organization, or for "" all, the oldest first.
	WarmPools(ctx context.Context, orgID string) ([]Pool, error)
	Organization(ctx context.Context, id string) (org.Organization, error)
	FindSnapshot(ctx context.Context, orgID, idOrName string) (snapshot.Snapshot, error)
}

// Admit says whether an organization may have these pools in one region.
type Admit func(q org.Quota, pools []Pool) error

// Snapshots is what a Service needs of the snapshots.
type Snapshots interface {
	Resolve(ctx context.Context, orgID, idOrName string) (snapshot.Snapshot, error)
}

// Regions is what a Service needs of the regions.
type Regions interface {
	Resolve(ctx context.Context, orgID, target string) (string, error)
}

// Config is what a Service needs.
type Config struct {
	Store     Store
	Snapshots Snapshots
	Regions   Regions
	Runners   *fleet.Fleet
	Log       *slog.Logger
	// Every is the time between two tellings of the runners. Defaults to 5 seconds.
	Every time.Duration
	Now   func() time.Time // defaults to time.Now
}

// Service keeps pools.
type Service struct {
	Config
	telling sync.Mutex // what runners are told last is what was stored last
}

// New returns a Service.
func New(c Config) *Service {
	if c.Every == 0 {
		c.Every = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Service{Config: c}
}

// View is a pool and how it is.
type View struct {
	Pool
	Snapshot string // its name
	Ready    int    // how many wait
	Reason   string // why no more do, "" when nothing is the matter
}

// Create makes a pool. target "" is the organization's default region.
func (s *Service) Create(ctx context.Context, orgID, snapshotRef, target string, size int) (View, error) {
	if err := checkSize(size); err != nil {
		return View{}, err
	}
	if snapshotRef == "" {
		return View{}, fault.New(fault.Invalid, "snapshot: the id or name of a snapshot is required")
	}
	sn, err := s.Snapshots.Resolve(ctx, orgID, snapshotRef)
	if err != nil {
		return View{}, err
	}
	region, err := s.Regions.Resolve(ctx, orgID, target)
	if err != nil {
		return View{}, err
	}
	now := s.Now().UTC().Truncate(time.Millisecond)
	p := Pool{
		ID: uuid.NewString(), OrgID: orgID, SnapshotID: sn.ID, Target: region, Size: size,
		CPU: sn.CPU, MemoryGiB: sn.MemoryGiB, DiskGiB: sn.DiskGiB, CreatedAt: now, UpdatedAt: now,
	}
	if err := s.Store.CreateWarmPool(ctx, p, admit); err != nil {
		return View{}, err
	}
	return s.view(ctx, p)
}

// List returns the pools of an organization, the oldest first.
func (s *Service) List(ctx context.Context, orgID string) ([]View, error) {
	views, err := s.tell(ctx)
	if err != nil {
		return nil, err
	}
	mine := []View{}
	for _, v := range views {
		if v.OrgID == orgID {
			mine = append(mine, v)
		}
	}
	return mine, nil
}

// Resize says how many shall wait; 0 drains the pool.
func (s *Service) Resize(ctx context.Context, orgID, id string, size int) (View, error) {
	if err := checkSize(size); err != nil {
		return View{}, err
	}
	p, err := s.Store.ResizeWarmPool(ctx, orgID, id, size, s.Now().UTC().Truncate(time.Millisecond), admit)
	if err != nil {
		return View{}, unknown(err, id)
	}
	return s.view(ctx, p)
}

// Delete removes a pool, and what waits in it.
func (s *Service) Delete(ctx context.Context, orgID, id string) error {
	if err := s.Store.DeleteWarmPool(ctx, orgID, id); err != nil {
		return unknown(err, id)
	}
	if _, err := s.tell(context.WithoutCancel(ctx)); err != nil {
		s.Log.Warn("runners are told of the pools later", "error", err)
	}
	return nil
}

func unknown(err error, id string) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "Warm pool with ID %.64s not found", id)
	}
	return err
}

// view tells the runners of a pool that was changed, and how it is now.
func (s *Service) view(ctx context.Context, p Pool) (View, error) {
	views, err := s.tell(context.WithoutCancel(ctx))
	if err != nil {
		return View{}, err
	}
	for _, v := range views {
		if v.ID == p.ID {
			return v, nil
		}
	}
	return View{}, fault.New(fault.NotFound, "Warm pool with ID %s was deleted meanwhile", p.ID)
}
