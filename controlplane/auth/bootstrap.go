package auth

import (
	"context"
	"time"

	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// Bootstrap makes the admin user, its personal organization and an API key that
// may do everything, unless the user exists already. choose returns the key's
// value; it is called before anything is stored, so that it can keep the value
// where a crash cannot lose it. planted says whether the value is in force: of
// two servers that start at once only one makes them. A value that was lost is
// replaced with CreateKeyOf.
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
	o := s.personal(AdminID, now)
	return s.store.Plant(ctx, Seed{
		User:         User{ID: AdminID, Name: "Daytona Admin", EmailVerified: true, Role: RoleAdmin, CreatedAt: now},
		Organization: o,
		Owner:        org.Membership{OrgID: o.ID, UserID: AdminID, Role: org.Owner, CreatedAt: now, UpdatedAt: now},
		Key:          keyOf(value, o.ID, AdminID, NewKey{Name: "admin", Permissions: Permissions()}, now),
	})
}
