package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// Bootstrap makes the admin user, its personal organization and an API key that
// may do everything, unless the user exists already. choose returns the key's
// value; it is called before anything is stored, so that it can keep the value
// where a crash cannot lose it. planted says whether the value is in force: of
// two servers that start at once only one makes them. A value that was lost is
// replaced with CreateAdminKey.
func (s *Service) Bootstrap(ctx context.Context, choose func() (value string, err error)) (planted bool, err error) {
	if _, err := s.store.User(ctx, AdminID); !fault.Is(err, fault.NotFound) {
		return false, err
	}
	value, err := choose()
	if err != nil {
		return false, err
	}
	if !ValidValue(value) {
		return false, fault.New(fault.Invalid, "The first API key must be dtn_ and 64 lower-case hexadecimal digits")
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	o := org.Organization{
		ID: uuid.NewString(), Name: "Personal", CreatedBy: AdminID, Personal: true,
		DefaultRegionID: s.region, Quota: s.quota,
		SnapshotDeactivationMinutes: 20160, SuspensionGraceHours: 24,
		CreatedAt: now, UpdatedAt: now,
	}
	return s.store.Plant(ctx, Seed{
		User:         User{ID: AdminID, Name: "Daytona Admin", EmailVerified: true, Role: RoleAdmin, CreatedAt: now},
		Organization: o,
		Owner:        org.Membership{OrgID: o.ID, UserID: AdminID, Role: org.Owner, CreatedAt: now, UpdatedAt: now},
		Key:          keyOf(value, o.ID, AdminID, NewKey{Name: "admin", Permissions: Permissions()}, now),
	})
}

// CreateAdminKey makes another key that may do everything in the admin's
// personal organization, and returns its value. name "" makes one up.
func (s *Service) CreateAdminKey(ctx context.Context, name string) (string, error) {
	now := s.now()
	if name == "" {
		name = "admin-" + now.UTC().Format("20060102-150405.000")
	}
	n := NewKey{Name: name, Permissions: Permissions()}
	if err := n.validate(now); err != nil {
		return "", err
	}
	o, err := s.store.PersonalOrganization(ctx, AdminID)
	if fault.Is(err, fault.NotFound) {
		return "", fault.New(fault.NotFound, "There is no admin user yet. Start the server once; it makes the user and prints a key")
	}
	if err != nil {
		return "", err
	}
	k, value := newKey(o.ID, AdminID, n, now)
	return value, s.store.CreateKey(ctx, k)
}
