package snapshot

import (
	"context"
	"io"

	"github.com/google/uuid"

	"daytona/controlplane/fleet"
	"daytona/controlplane/image"
	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// By says who asks.
type By struct {
	OrgID string
	Admin bool // of the whole server
}

// Create makes a snapshot and has a runner begin with it. One whose definition
// was built before is active at once.
func (s *Service) Create(ctx context.Context, by By, r CreateRequest) (Snapshot, error) {
	res, err := r.Validate()
	if err != nil {
		return Snapshot{}, err
	}
	if r.General != nil && *r.General && !by.Admin {
		return Snapshot{}, fault.New(fault.Forbidden, "Only administrators of the server can make general snapshots. Leave general out")
	}
	if r.Region != nil && s.c.Regions != nil {
		if _, err := s.c.Regions.Resolve(ctx, by.OrgID, *r.Region); err != nil {
			return Snapshot{}, err
		}
	}
	now := s.now()
	sn := Snapshot{
		ID: uuid.NewString(), OrgID: by.OrgID, General: r.General != nil && *r.General, Name: r.Name,
		CPU: res.CPU, MemoryGiB: res.MemoryGiB, DiskGiB: res.DiskGiB, CreatedAt: now, UpdatedAt: now,
	}
	if r.Isolation != nil {
		if sn.Isolation = *r.Isolation; !s.offers(sn.Isolation) {
			return Snapshot{}, fault.New(fault.Invalid, "isolation: no runner offers %q. Leave it out for the server's default", shorten(sn.Isolation))
		}
	}
	if r.Build != nil {
		sn.Build = &BuildInfo{Dockerfile: r.Build.Dockerfile, Contexts: append([]string{}, r.Build.Contexts...), CreatedAt: now, UpdatedAt: now}
	} else {
		sn.ImageName, sn.Entrypoint = *r.ImageName, r.Entrypoint
	}
	i := s.imageOf(sn)
	if err := s.c.Images.Check(ctx, i); err != nil {
		return Snapshot{}, err
	}
	sn.Image = i.Name
	sn, err = s.c.Store.CreateSnapshot(ctx, sn, i, s.admit(res), Settle)
	if err == nil {
		s.Wake()
	}
	return sn, err
}

// imageOf is the image that a snapshot is made of.
func (s *Service) imageOf(sn Snapshot) image.Image {
	i := image.PullOf(sn.OrgID, sn.ID, sn.ImageName, sn.Entrypoint)
	switch {
	case sn.SourceSandbox != "":
		i = image.CaptureOf(sn.OrgID, sn.ID, sn.SourceSandbox, "")
	case sn.Build != nil:
		i = image.BuildOf(sn.OrgID, sn.Build.Dockerfile, sn.Build.Contexts)
	}
	i.Digest, i.CreatedAt = sn.Digest, s.now()
	i.StateSince = i.CreatedAt
	return i
}

func (s *Service) offers(isolation string) bool {
	if isolation == "" {
		return true
	}
	for _, m := range s.c.Fleet.Members() {
		for _, o := range m.Info.Isolations {
			if o == isolation {
				return true
			}
		}
	}
	return false
}

// admit is the check of the organization's state and quota for one snapshot.
func (s *Service) admit(want org.Resources) Admit {
	count := s.admitCount()
	return func(o org.Organization, used org.Usage) error {
		if err := count(o, used); err != nil {
			return err
		}
		return o.Quota.CheckSandbox(want)
	}
}

// admitCount is the check for one whose size was allowed before.
func (s *Service) admitCount() Admit {
	now := s.now()
	return func(o org.Organization, used org.Usage) error {
		if err := o.CheckActive(now); err != nil {
			return err
		}
		if used.Snapshots >= o.Quota.Snapshots {
			return fault.New(fault.Invalid, "Total snapshot limit exceeded. Maximum allowed: %d, in use: %d. Delete or deactivate snapshots to free some",
				o.Quota.Snapshots, used.Snapshots).WithCode(org.CodeQuota)
		}
		return nil
	}
}

// Settle says what a snapshot becomes by its image. Those that are switched off
// stay so.
func Settle(sn Snapshot, i image.Image) Snapshot {
	if sn.State == Inactive || sn.State == Removing {
		return sn
	}
	sn.ErrorReason, sn.Progress = nil, i.Progress
	switch i.State {
	case image.Ready:
		size := i.SizeBytes
		sn.State, sn.SizeBytes, sn.Digest, sn.Isolation = Active, &size, i.Digest, fleet.Stronger(sn.Isolation, i.Isolation)
		sn.Entrypoint = append([]string{}, i.FoundEntrypoint...)
	case image.Failed:
		reason := i.Reason
		sn.State, sn.ErrorReason = Failed, &reason
		if sn.Build != nil {
			sn.State = BuildFailed
		}
	default:
		switch {
		case sn.Build != nil: // clients read the log in this state alone
			sn.State = Building
		case i.State == image.Wanted || i.State == image.Pending:
			sn.State = Pending
		default:
			sn.State = Pulling
		}
	}
	return sn
}

// owned returns a snapshot that the caller may change.
func (s *Service) owned(ctx context.Context, by By, idOrName string) (Snapshot, error) {
	sn, err := s.Get(ctx, by.OrgID, idOrName)
	if fault.Is(err, fault.NotFound) && by.Admin {
		if found, err := s.c.Store.Snapshot(ctx, idOrName); !fault.Is(err, fault.NotFound) {
			return found, err
		}
	}
	switch {
	case err != nil:
		return sn, err
	case sn.General && !by.Admin:
		return sn, fault.New(fault.Forbidden, "Snapshot %s is general: only administrators of the server can change it", sn.Name)
	}
	return sn, nil
}

// Delete removes a snapshot at once; its name is free. Sandboxes that were made
// of it stay as they are. The image goes when nothing else needs it.
func (s *Service) Delete(ctx context.Context, by By, idOrName string) error {
	sn, err := s.owned(ctx, by, idOrName)
	if err != nil {
		return err
	}
	if s.byRunner(sn) {
		return fault.New(fault.Forbidden, "Snapshot %s is made by the server itself and would come back. Start the server without it in --snapshots", sn.Name)
	}
	if err := s.c.Store.DeleteSnapshot(ctx, sn.ID); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	s.Wake()
	return nil
}

// byRunner: the operator of a runner has it make this one.
func (s *Service) byRunner(sn Snapshot) bool { return !image.Ours(sn.Image) }

// SetGeneral shows a snapshot to every organization, or no longer.
func (s *Service) SetGeneral(ctx context.Context, by By, id string, general bool) (Snapshot, error) {
	if !by.Admin {
		return Snapshot{}, fault.New(fault.Forbidden, "Only administrators of the server can make snapshots general")
	}
	sn, err := s.owned(ctx, by, id)
	if err != nil {
		return sn, err
	}
	if s.byRunner(sn) && !general {
		return sn, fault.New(fault.Invalid, "Snapshot %s belongs to the server, not to an organization, so it can only be general", sn.Name)
	}
	return s.c.Store.SetGeneral(ctx, sn.ID, general, s.now())
}

// Activate makes an inactive snapshot usable again. Its image is made anew if no
// runner holds it any more.
func (s *Service) Activate(ctx context.Context, by By, idOrName string) (Snapshot, error) {
	sn, err := s.owned(ctx, by, idOrName)
	if err != nil {
		return sn, err
	}
	switch {
	case sn.State == Active:
		return sn, fault.New(fault.Invalid, "Snapshot %s is already active", sn.Name)
	case sn.State != Inactive:
		return sn, fault.New(fault.Invalid, "Snapshot %s is %s; only an inactive one can be activated", sn.Name, sn.State)
	}
	next := sn
	next.State, next.UpdatedAt = Pending, s.now()
	if s.byRunner(sn) {
		err = s.c.Store.MoveSnapshot(ctx, next, Inactive)
	} else {
		next, err = s.c.Store.ActivateSnapshot(ctx, next, s.imageOf(sn), s.admit(sn.Resources()), Settle)
	}
	if fault.Is(err, fault.Conflict) {
		return sn, fault.New(fault.Invalid, "Snapshot %s is no longer inactive", sn.Name)
	}
	if err == nil {
		s.Wake()
	}
	return next, err
}

// Deactivate bars a snapshot from use until it is activated. Sandboxes that were
// made of it stay as they are. It may be repeated.
func (s *Service) Deactivate(ctx context.Context, by By, idOrName string) error {
	for {
		sn, err := s.owned(ctx, by, idOrName)
		if err != nil || sn.State == Inactive {
			return err
		}
		if sn.State != Active {
			return fault.New(fault.Invalid, "Snapshot %s is %s; only an active one can be deactivated", sn.Name, sn.State)
		}
		next := sn
		next.State, next.UpdatedAt = Inactive, s.now()
		if err := s.c.Store.MoveSnapshot(ctx, next, sn.State); !fault.Is(err, fault.Conflict) {
			s.Wake()
			return err
		}
	}
}

// Log writes what making a snapshot printed; see image.Service.Log.
func (s *Service) Log(ctx context.Context, orgID, idOrName string, follow bool, w io.Writer) error {
	sn, err := s.Get(ctx, orgID, idOrName)
	if err != nil {
		return err
	}
	return s.c.Images.Log(ctx, sn.Image, "", follow, w)
}
