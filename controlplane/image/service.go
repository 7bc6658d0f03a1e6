package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/internal/fault"
)

// Fleet is what a Service needs of the runners.
type Fleet interface {
	Members() []fleet.Member
	Member(id string) (fleet.Member, error)
}

// Contexts says where runners fetch what clients have uploaded for builds.
type Contexts interface {
	// ContextURL is an address from which a runner can fetch an organization's
	// context, a tar archive, for an hour at least. It is NotFound when nothing
	// was uploaded under that hash.
	ContextURL(ctx context.Context, orgID, hash string) (string, error)
}

// Registries says with which credentials images are pulled.
type Registries interface {
	Auths(ctx context.Context, orgID string) ([]runnerapi.RegistryAuth, error)
}

// Limits on phases; they count from when a phase began. A runner has its own,
// which are shorter: these are for one that says nothing any more.
const (
	waitLimit = 12 * time.Hour
	makeLimit = 2 * time.Hour
	// keepUnused is how long an image stays after the last sandbox was asked
	// for with its definition.
	keepUnused = 24 * time.Hour
	// silence is how long a runner may be silent before another one makes
	// what it was to make.
	silence = time.Minute
	// callLimit bounds one call of a runner.
	callLimit = 30 * time.Second
)

// Config is what a Service needs.
type Config struct {
	Store Store
	Fleet Fleet
	Log   *slog.Logger
	// Contexts and Registries may be nil: then there are none.
	Contexts   Contexts
	Registries Registries
	// Budget is how many bytes the images on one runner may take; 0 is no
	// limit. What nobody needs goes before its time when they take more.
	Budget int64
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Service has the runners hold images.
type Service struct {
	c Config

	wake    chan struct{}
	watched sync.Map // ids of runners whose events are followed

	mu      sync.Mutex
	silent  map[string]time.Time // since when, by runner id
	changed chan struct{}        // closed after the next comparison
}

// New returns a Service.
func New(c Config) *Service {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Service{c: c, wake: make(chan struct{}, 1), silent: map[string]time.Time{}, changed: make(chan struct{})}
}

// Wake asks for a comparison soon.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Woken has a token when a comparison is due before its time: somebody called
// Wake, or a runner reports a change.
func (s *Service) Woken() <-chan struct{} { return s.wake }

// Follow follows the events of the runners that it does not follow yet, until
// ctx ends.
func (s *Service) Follow(ctx context.Context) {
	for _, m := range s.c.Fleet.Members() {
		if _, already := s.watched.LoadOrStore(m.ID, true); already {
			continue
		}
		events := m.Runner.Watch(ctx)
		go func() {
			defer s.watched.Delete(m.ID)
			for e := range events {
				if e.Snapshot != "" {
					s.Wake()
				}
			}
		}()
	}
}

// Get returns an image by name.
func (s *Service) Get(ctx context.Context, name string) (Image, error) {
	return s.c.Store.Image(ctx, name)
}

// Check says whether i can be made: whether its contexts were uploaded. The
// error is Invalid.
func (s *Service) Check(ctx context.Context, i Image) error {
	for _, hash := range i.Contexts {
		if _, err := s.contextURL(ctx, i.OrgID, hash); err != nil {
			return err
		}
	}
	return nil
}

// Use declares the image of a sandbox that was asked for with its definition at
// a time; the image is then used at that time or later, whatever the clock says
// by now. A new one is made on runner, if that can be.
func (s *Service) Use(ctx context.Context, i Image, runner string, at time.Time) (Image, error) {
	now := s.now()
	if at.Before(now) {
		at = now
	}
	i.UsedAt, i.CreatedAt, i.StateSince, i.RunnerID = &at, now, now, runner
	return s.c.Store.DeclareImage(ctx, i)
}

// Ensure tells a runner to hold an image that is known. It returns at once.
func (s *Service) Ensure(ctx context.Context, m fleet.Member, name string) error {
	i, err := s.c.Store.Image(ctx, name)
	if err != nil {
		return err
	}
	if i.Sandbox != "" && i.State == Ready {
		return fault.New(fault.Invalid, "it was made of the files of sandbox %s, and was on runner %s alone, so it cannot be made again", i.Sandbox, i.RunnerID)
	}
	return s.ensure(ctx, m, i)
}

func (s *Service) ensure(ctx context.Context, m fleet.Member, i Image) error {
	spec, err := s.spec(ctx, i)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return m.Runner.EnsureImage(ctx, spec)
}

// spec is what a runner is told. Addresses and credentials are fresh.
func (s *Service) spec(ctx context.Context, i Image) (runnerapi.ImageSpec, error) {
	spec := runnerapi.ImageSpec{Name: i.Name, OrgID: i.OrgID, Entrypoint: i.Entrypoint}
	if s.c.Registries != nil {
		var err error
		if spec.Auths, err = s.c.Registries.Auths(ctx, i.OrgID); err != nil {
			return spec, err
		}
	}
	if i.Sandbox != "" {
		spec.Sandbox, spec.Auths = i.Sandbox, nil
		return spec, nil
	}
	if !i.Built() {
		spec.Pull = &runnerapi.Pull{Ref: i.Pinned()}
		return spec, nil
	}
	spec.Build = &runnerapi.Build{Dockerfile: i.Dockerfile}
	for _, hash := range i.Contexts {
		url, err := s.contextURL(ctx, i.OrgID, hash)
		if err != nil {
			return spec, err
		}
		spec.Build.Contexts = append(spec.Build.Contexts, runnerapi.BuildContext{URL: url})
	}
	return spec, nil
}

func (s *Service) contextURL(ctx context.Context, orgID, hash string) (string, error) {
	if s.c.Contexts == nil {
		return "", fault.New(fault.Invalid, "contextHashes: this server has no object storage, so nothing can have been uploaded. Build without local files")
	}
	url, err := s.c.Contexts.ContextURL(ctx, orgID, hash)
	if fault.Is(err, fault.NotFound) {
		return "", fault.New(fault.Invalid, "contextHashes: nothing was uploaded under %s. Upload it again (GET /object-storage/push-access), then repeat the request", hash)
	}
	return url, err
}

// Report stores what its runner says of an image, as the next Sync would. It is a
// Conflict when i is no longer what is stored.
func (s *Service) Report(ctx context.Context, i Image, seen runnerapi.Snapshot) error {
	_, err := s.observe(ctx, i, seen)
	return err
}

// View is what the runners report at one moment.
type View struct {
	held map[string]map[string]runnerapi.Snapshot // by runner, then by name
}

// On returns what a runner reports of an image.
func (v View) On(runner, name string) (sn runnerapi.Snapshot, there, answered bool) {
	list, answered := v.held[runner]
	sn, there = list[name]
	return sn, there, answered
}

// Best returns the report of the runner that is farthest with an image.
func (v View) Best(name string) (sn runnerapi.Snapshot, runner string, ok bool) {
	for id, list := range v.held {
		have, there := list[name]
		if !there || ok && (rank(have.State) < rank(sn.State) || rank(have.State) == rank(sn.State) && id > runner) {
			continue
		}
		sn, runner, ok = have, id, true
	}
	return sn, runner, ok
}

// Names lists the images that any runner reports.
func (v View) Names() map[string]bool {
	out := map[string]bool{}
	for _, list := range v.held {
		for name := range list {
			out[name] = true
		}
	}
	return out
}

func rank(s runnerapi.SnapshotState) int {
	switch s {
	case runnerapi.SnapshotReady:
		return 3
	case runnerapi.SnapshotBuilding, runnerapi.SnapshotPulling:
		return 2
	case runnerapi.SnapshotPending:
		return 1
	}
	return 0
}

// look asks all runners at once. One that does not answer in time is missing.
func (s *Service) look(ctx context.Context, members []fleet.Member) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	v := View{held: map[string]map[string]runnerapi.Snapshot{}}
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for _, m := range members {
		all.Go(func() {
			list, err := m.Runner.Snapshots(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("runner %s: %w", m.ID, err))
				return
			}
			v.held[m.ID] = map[string]runnerapi.Snapshot{}
			for _, sn := range list {
				v.held[m.ID][sn.Name] = sn
			}
		})
	}
	all.Wait()
	return v, errors.Join(errs...)
}

// Sync compares rows and runners once, tells runners what is missing, and
// removes what nobody needs. settled says that no image is on its way.
func (s *Service) Sync(ctx context.Context) (v View, settled bool, err error) {
	members := s.c.Fleet.Members()
	// Rows first: what a runner reports is then never older than what it was told.
	rows, err := s.c.Store.Images(ctx)
	if err != nil {
		return v, false, err
	}
	v, err = s.look(ctx, members)
	errs := []error{err}
	s.listen(members, v)
	load := map[string]int{}
	for _, i := range rows {
		if !i.State.Settled() {
			load[i.RunnerID]++
		}
	}
	settled = true
	known := map[string]bool{}
	for _, i := range rows {
		known[i.Name] = true
		if i.State.Settled() {
			continue
		}
		next, err := s.step(ctx, i, members, v, load)
		switch {
		case fault.Is(err, fault.Conflict): // somebody else moved it
		case err != nil:
			errs = append(errs, fmt.Errorf("image %s: %w", i.Name, err))
		}
		settled = settled && err == nil && next.State.Settled()
	}
	errs = append(errs, s.collect(ctx, known), s.fit(ctx, v, known))
	s.sweep(ctx, members, v, known)
	s.tell()
	return v, settled, errors.Join(errs...)
}

// listen notes since when runners have been silent.
func (s *Service) listen(members []fleet.Member, v View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range members {
		if _, ok := v.held[m.ID]; ok {
			delete(s.silent, m.ID)
		} else if s.silent[m.ID].IsZero() {
			s.silent[m.ID] = s.now()
		}
	}
}

// lost reports whether a runner should not be waited for.
func (s *Service) lost(id string) bool {
	if _, err := s.c.Fleet.Member(id); err != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.silent[id]
	return !since.IsZero() && s.now().Sub(since) >= silence
}

// step takes an image one step on.
func (s *Service) step(ctx context.Context, i Image, members []fleet.Member, v View, load map[string]int) (Image, error) {
	if why := overdue(i, s.now()); why != "" {
		if m, err := s.c.Fleet.Member(i.RunnerID); err == nil {
			s.remove(ctx, m, i.Name)
		}
		return s.fail(ctx, i, why)
	}
	seen, there, answered := v.On(i.RunnerID, i.Name)
	if i.State != Wanted && there && !seen.Interrupted {
		return s.observe(ctx, i, seen)
	}
	if i.State != Wanted && !answered && !s.lost(i.RunnerID) {
		return i, nil // it will be heard of
	}
	if i.Sandbox != "" { // another runner does not have its files
		members = slices.DeleteFunc(slices.Clone(members), func(m fleet.Member) bool { return m.ID != i.RunnerID })
	}
	m, ok := choose(members, v, i.RunnerID, load)
	if !ok {
		return i, fault.New(fault.Unavailable, "no runner answers")
	}
	err := s.ensure(ctx, m, i)
	switch {
	case fault.Is(err, fault.Invalid):
		f, _ := errors.AsType[*fault.Error](err)
		return s.fail(ctx, i, f.Text)
	case err != nil:
		return i, err
	}
	load[m.ID]++
	return s.told(ctx, i, m.ID)
}

// told stores that a runner was told to make i. Somebody who asked for the same
// image meanwhile has changed the row, but not this: were it lost, the runner
// would be told again, and one that has failed by then would begin once more.
func (s *Service) told(ctx context.Context, i Image, runner string) (Image, error) {
	for {
		wanted := i.State == Wanted
		i.RunnerID = runner
		if wanted {
			i.State, i.StateSince = Pending, s.now()
		}
		next, err := s.c.Store.MoveImage(ctx, i)
		if !wanted || !fault.Is(err, fault.Conflict) {
			return next, err
		}
		if i, err = s.c.Store.Image(ctx, i.Name); err != nil || i.State != Wanted {
			return i, err
		}
	}
}

// choose picks the runner for an image: the wished one, or the one with the
// least to do.
func choose(members []fleet.Member, v View, wish string, load map[string]int) (best fleet.Member, ok bool) {
	for _, m := range members {
		if _, answered := v.held[m.ID]; !answered {
			continue
		}
		if m.ID == wish {
			return m, true
		}
		if !ok || load[m.ID] < load[best.ID] {
			best, ok = m, true
		}
	}
	return best, ok
}

// observe stores what a runner reports.
func (s *Service) observe(ctx context.Context, i Image, seen runnerapi.Snapshot) (Image, error) {
	next := Observe(i, seen, s.now())
	if next.State == i.State && next.Progress == i.Progress && next.Waiting == i.Waiting {
		return i, nil
	}
	next, err := s.c.Store.MoveImage(ctx, next)
	if err == nil && next.State != i.State {
		s.c.Log.Info("image changed", "image", i.Name, "org_id", i.OrgID, "runner_id", i.RunnerID, "from", i.State, "to", next.State, "reason", next.Reason)
	}
	return next, err
}

// Observe is what an image becomes by the report of its runner.
func Observe(i Image, seen runnerapi.Snapshot, now time.Time) Image {
	next := i
	next.Reason, next.Progress, next.Waiting = "", seen.Progress, 0
	switch seen.State {
	case runnerapi.SnapshotReady:
		next.State, next.Progress = Ready, ""
		next.SizeBytes, next.FoundEntrypoint = seen.SizeBytes, seen.Entrypoint
		next.Digest = cmp.Or(i.Digest, seen.Digest)
		next.Isolation = fleet.Stronger(i.Isolation, seen.Isolation)
	case runnerapi.SnapshotFailed:
		next.State, next.Reason, next.Progress = Failed, cmp.Or(seen.Reason, "The runner gave no reason"), ""
	case runnerapi.SnapshotPulling:
		next.State = Pulling
	case runnerapi.SnapshotBuilding:
		next.State = Building
	default:
		next.State, next.Waiting = Pending, seen.Waiting
	}
	if next.State != i.State {
		next.StateSince = now
	}
	return next
}

func overdue(i Image, now time.Time) string {
	limit := makeLimit
	if i.State == Wanted || i.State == Pending {
		limit = waitLimit
	}
	if now.Sub(i.StateSince) < limit {
		return ""
	}
	return fmt.Sprintf("Timed out after %s in state %s", limit, i.State)
}

func (s *Service) fail(ctx context.Context, i Image, why string) (Image, error) {
	s.c.Log.Warn("image failed", "image", i.Name, "org_id", i.OrgID, "reason", why)
	i.State, i.Reason, i.Progress, i.Waiting, i.StateSince = Failed, why, "", 0, s.now()
	return s.c.Store.MoveImage(ctx, i)
}

// collect removes the rows of images that nobody needs, also from known; sweep
// then removes the images.
func (s *Service) collect(ctx context.Context, known map[string]bool) error {
	since := s.now().Add(-keepUnused)
	unused, err := s.c.Store.UnusedImages(ctx, since)
	errs := []error{err}
	for _, i := range unused {
		err := s.c.Store.DeleteImage(ctx, i, since)
		if err == nil {
			delete(known, i.Name)
			s.c.Log.Info("image is no longer needed", "image", i.Name, "org_id", i.OrgID)
		} else if !fault.Is(err, fault.Conflict) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sweep removes from the runners the images that have no row.
func (s *Service) sweep(ctx context.Context, members []fleet.Member, v View, known map[string]bool) {
	for _, m := range members {
		for name := range v.held[m.ID] {
			if !Ours(name) || known[name] {
				continue
			}
			if _, err := s.c.Store.Image(ctx, name); fault.Is(err, fault.NotFound) { // not declared meanwhile
				s.remove(ctx, m, name)
			}
		}
	}
}

// remove has a runner forget an image. What fails is tried again by the next
// sweep.
func (s *Service) remove(ctx context.Context, m fleet.Member, name string) {
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := m.Runner.RemoveImage(call, name); err != nil {
		s.c.Log.Warn("image not removed from a runner; it will be tried again", "image", name, "runner_id", m.ID, "error", err)
	}
}

func (s *Service) now() time.Time { return s.c.Now().UTC().Truncate(time.Millisecond) }
