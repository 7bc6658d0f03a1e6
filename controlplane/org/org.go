// Package org knows organizations, who belongs to them, and what they may use.
//
// Every sandbox, snapshot and API key belongs to one organization. A user is a
// member of some, as owner or member; to everybody else an organization does not
// exist: unknown and foreign ids are answered alike, with fault.NotFound.
package org

import (
	"context"
	"time"

	"daytona/internal/fault"
)

// Role is what a user is in an organization.
type Role string

// The roles.
const (
	Owner  Role = "owner"
	Member Role = "member"
)

// Organization is a group of users that shares sandboxes and a quota.
type Organization struct {
	ID              string // UUID
	Name            string
	CreatedBy       string // user id
	Personal        bool   // the one that each user has alone
	DefaultRegionID string // region when a request names none
	Quota           Quota
	Rates           Rates
	Suspension      *Suspension // nil unless it was suspended
	// SnapshotDeactivationMinutes is after how long an unused snapshot
	// becomes inactive.
	SnapshotDeactivationMinutes int
	// SuspensionGraceHours is how long running sandboxes of a suspended
	// organization are left alone.
	SuspensionGraceHours int
	LimitedNetworkEgress bool
	CreatedAt, UpdatedAt time.Time
}

// Suspension bars an organization from using more resources.
type Suspension struct {
	At     time.Time
	Reason string
	Until  *time.Time // nil is open ended
}

// Suspended reports whether o is suspended at now.
func (o Organization) Suspended(now time.Time) bool {
	return o.Suspension != nil && (o.Suspension.Until == nil || now.Before(*o.Suspension.Until))
}

// GraceOver reports whether o has been suspended for longer than what runs is
// left alone.
func (o Organization) GraceOver(now time.Time) bool {
	return o.Suspended(now) && !now.Before(o.Suspension.At.Add(time.Duration(o.SuspensionGraceHours)*time.Hour))
}

// CheckActive is Forbidden while o is suspended.
func (o Organization) CheckActive(now time.Time) error {
	if !o.Suspended(now) {
		return nil
	}
	if o.Suspension.Reason == "" {
		return fault.New(fault.Forbidden, "Organization is suspended")
	}
	return fault.New(fault.Forbidden, "Organization is suspended: %s", o.Suspension.Reason)
}

// Membership is a user's place in an organization.
type Membership struct {
	OrgID, UserID        string
	UserName, UserEmail  string // of the user record, for display
	Role                 Role
	AssignedRoleIDs      []string // ids of roles; meaningless for owners
	CreatedAt, UpdatedAt time.Time
}

// Store keeps organizations. Unknown ids are fault.NotFound.
type Store interface {
	Organization(ctx context.Context, id string) (Organization, error)
	OrganizationsOf(ctx context.Context, userID string) ([]Organization, error)
	// Organizations lists all there are, oldest first.
	Organizations(ctx context.Context) ([]Organization, error)
	CreateOrganization(ctx context.Context, o Organization, owner Membership) error
	// ChangeOrganization stores what change makes of an organization's quota,
	// rates and snapshot timeout. Of changes at once none is lost.
	ChangeOrganization(ctx context.Context, id string, now time.Time, change func(*Organization)) (Organization, error)
	// ChangeRegionQuota does the same with what counts in one region.
	ChangeRegionQuota(ctx context.Context, orgID, regionID string, change func(*RegionQuota)) error
	RegionQuotas(ctx context.Context, orgID string) ([]RegionQuota, error)
	// SetSuspension suspends an organization, or with nil lifts that. grace,
	// unless it is nil, is stored as SuspensionGraceHours.
	SetSuspension(ctx context.Context, id string, s *Suspension, grace *int, now time.Time) error
	Membership(ctx context.Context, orgID, userID string) (Membership, error)
	Memberships(ctx context.Context, orgID string) ([]Membership, error)
	// OrganizationUsage returns what is used by region. Snapshots and volumes
	// are under "".
	OrganizationUsage(ctx context.Context, orgID string) (map[string]Usage, error)
}

// Regions is what a Service needs of the regions.
type Regions interface {
	// IDs lists the regions that an organization can use.
	IDs(ctx context.Context, orgID string) ([]string, error)
}

// Service answers questions about organizations on behalf of a user, and
// changes what the administrator of the installation says.
type Service struct {
	store   Store
	regions Regions
	now     func() time.Time
}

// New returns a Service on store. now is the clock.
func New(store Store, regions Regions, now func() time.Time) *Service {
	return &Service{store: store, regions: regions, now: now}
}

// List returns the organizations that a user belongs to, oldest first.
func (s *Service) List(ctx context.Context, userID string) ([]Organization, error) {
	return s.store.OrganizationsOf(ctx, userID)
}

// Get returns an organization that the user belongs to; any other id is
// NotFound.
func (s *Service) Get(ctx context.Context, userID, orgID string) (Organization, error) {
	if _, err := s.Membership(ctx, userID, orgID); err != nil {
		return Organization{}, err
	}
	o, err := s.store.Organization(ctx, orgID)
	return o, unknown(err, orgID)
}

// Membership returns the user's place in an organization, or NotFound.
func (s *Service) Membership(ctx context.Context, userID, orgID string) (Membership, error) {
	m, err := s.store.Membership(ctx, orgID, userID)
	return m, unknown(err, orgID)
}

// Members lists the members of an organization that the user belongs to.
func (s *Service) Members(ctx context.Context, userID, orgID string) ([]Membership, error) {
	if _, err := s.Membership(ctx, userID, orgID); err != nil {
		return nil, err
	}
	return s.store.Memberships(ctx, orgID)
}

func unknown(err error, id string) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "Organization with ID %s not found", id)
	}
	return err
}
