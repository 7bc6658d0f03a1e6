// Package fleet knows the runners: which there are, in which region, and which
// of them gets a new sandbox.
//
// A runner is added by who connects to it: the embedded one at start, a remote
// one when it reports. What runners this process can reach is not stored;
// regions are.
package fleet

import (
	"context"
	"slices"
	"sync"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// Member is a runner that this process can reach.
type Member struct {
	ID     string
	Region string // id
	Info   runnerapi.Info
	Runner runnerapi.Runner
}

// Want is what a sandbox needs of a runner.
type Want struct {
	Region    string // id; "" is any
	Isolation string // as the request asks; "" is none
	AtLeast   string // isolation that the image asks for; "" is none
	CPU       int
	MemoryGiB int
	DiskGiB   int
	Prefer    string // id of the runner to take if it fits; "" is none
	Avoid     string // id of the runner to take only if no other fits; "" is none
}

// Fleet is the set of runners. Its methods may be called at the same time.
type Fleet struct {
	mu      sync.RWMutex
	members []Member
}

// New returns an empty Fleet.
func New() *Fleet { return &Fleet{} }

// Add takes a runner into the fleet, under the id that it reports. A runner
// that was added before under this id is replaced.
func (f *Fleet) Add(ctx context.Context, region string, r runnerapi.Runner) error {
	info, err := r.Info(ctx)
	if err != nil {
		return err
	}
	if info.ID == "" {
		return fault.New(fault.Invalid, "A runner must report an id")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = slices.DeleteFunc(f.members, func(m Member) bool { return m.ID == info.ID })
	f.members = append(f.members, Member{ID: info.ID, Region: region, Info: info, Runner: r})
	return nil
}

// Members returns the runners that can be reached, in the order they came.
func (f *Fleet) Members() []Member {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Clone(f.members)
}

// Member returns one runner, or Unavailable when this process cannot reach it.
func (f *Fleet) Member(id string) (Member, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, m := range f.members {
		if m.ID == id {
			return m, nil
		}
	}
	return Member{}, fault.New(fault.Unavailable, "Runner %s cannot be reached at the moment. Try again later", id)
}

// Place picks the runner for a new sandbox: of those in the region that offer
// the isolation and are large enough, the one with the fewest sandboxes per
// CPU. It is Invalid when there is none.
func (f *Fleet) Place(ctx context.Context, w Want) (Member, error) {
	var fit []Member
	for _, m := range f.Members() {
		if fits(m, w) {
			fit = append(fit, m)
		}
	}
	if i := slices.IndexFunc(fit, func(m Member) bool { return m.ID == w.Prefer }); i >= 0 {
		return fit[i], nil
	}
	if len(fit) > 1 {
		fit = slices.DeleteFunc(fit, func(m Member) bool { return m.ID == w.Avoid })
	}
	switch len(fit) {
	case 0:
		if err := f.isolates(w); err != nil {
			return Member{}, err
		}
		return Member{}, fault.New(fault.Invalid,
			"No available runners: none in region %q offers %d CPU, %d GiB of memory and %d GiB of disk", w.Region, w.CPU, w.MemoryGiB, w.DiskGiB)
	case 1:
		return fit[0], nil
	}
	best, load := -1, 0.0
	for i, m := range fit {
		info, err := m.Runner.Info(ctx)
		if err != nil {
			continue
		}
		l := float64(info.Sandboxes) / float64(max(info.CPU, 1))
		if best < 0 || l < load {
			best, load = i, l
		}
	}
	if best < 0 {
		return Member{}, fault.New(fault.Unavailable, "No runner answers at the moment. Try again later")
	}
	return fit[best], nil
}

// fits compares with the runner's size, not with what is free: CPU and memory
// are shared, and idle sandboxes use little of either.
func fits(m Member, w Want) bool {
	return (w.Region == "" || m.Region == w.Region) &&
		isolates(m, w) == nil &&
		(m.Info.DiskMiB == 0 || int64(w.DiskGiB)*1024 <= m.Info.DiskMiB)
}

// RegionType says who may use a region.
type RegionType string

// The region types.
const (
	Shared    RegionType = "shared"
	Dedicated RegionType = "dedicated"
	Custom    RegionType = "custom"
)

// Region is a place where runners are. Requests name it by id as target.
type Region struct {
	ID                   string
	Name                 string
	OrgID                string // "" for a shared one
	Type                 RegionType
	CreatedAt, UpdatedAt time.Time
}

// Store keeps regions.
type Store interface {
	// EnsureRegion stores a region or renames the one with its id.
	EnsureRegion(ctx context.Context, r Region) error
	// Regions lists the shared regions, and those of an organization unless
	// orgID is "".
	Regions(ctx context.Context, orgID string) ([]Region, error)
}

// Regions knows the regions.
type Regions struct {
	store Store
	first Region
}

// NewRegions returns Regions whose default region has an id and a name.
func NewRegions(store Store, id, name string) *Regions {
	return &Regions{store: store, first: Region{ID: id, Name: name, Type: Shared}}
}

// Bootstrap stores the default region.
func (s *Regions) Bootstrap(ctx context.Context, now time.Time) error {
	r := s.first
	r.CreatedAt, r.UpdatedAt = now, now
	return s.store.EnsureRegion(ctx, r)
}

// Default is the id of the default region.
func (s *Regions) Default() string { return s.first.ID }

// List returns the regions that an organization can use; with orgID "" the
// shared ones.
func (s *Regions) List(ctx context.Context, orgID string) ([]Region, error) {
	return s.store.Regions(ctx, orgID)
}

// IDs lists their ids.
func (s *Regions) IDs(ctx context.Context, orgID string) ([]string, error) {
	all, err := s.store.Regions(ctx, orgID)
	ids := make([]string, len(all))
	for i, r := range all {
		ids[i] = r.ID
	}
	return ids, err
}

// Resolve turns a target that a request names, by id or name, into a region's
// id; "" is the default. An unknown target is Invalid.
func (s *Regions) Resolve(ctx context.Context, orgID, target string) (string, error) {
	if target == "" || target == s.first.ID {
		return s.first.ID, nil
	}
	rs, err := s.store.Regions(ctx, orgID)
	if err != nil {
		return "", err
	}
	for _, r := range rs {
		if r.ID == target || r.Name == target {
			return r.ID, nil
		}
	}
	return "", fault.New(fault.Invalid, "target: region %q does not exist; GET /regions lists those there are", target)
}

// isolates says why no runner in the region isolates as w wants, or nil.
func (f *Fleet) isolates(w Want) error {
	var err error
	for _, m := range f.Members() {
		if w.Region != "" && m.Region != w.Region {
			continue
		}
		if err = isolates(m, w); err == nil {
			return nil
		}
	}
	return err
}

func isolates(m Member, w Want) error {
	_, err := Isolate(m.Info.Isolations, w.Isolation, w.AtLeast)
	return err
}
