package auth

import (
	"context"
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// What follows is for the operator, who works on the database itself.

// NewUser asks for a user with a personal organization of its own.
type NewUser struct {
	Email string     // what the operator calls the user by
	Name  string     // for display; "" is the part of Email before the @
	Role  SystemRole // "" is RoleUser
}

func (n NewUser) check() (NewUser, error) {
	n.Email = strings.TrimSpace(n.Email)
	at, err := mail.ParseAddress(n.Email)
	if err != nil || at.Address != n.Email || len(n.Email) > maxKeyName {
		return n, fault.New(fault.Invalid, "%q is not an e-mail address such as ann@example.org", n.Email)
	}
	if n.Name == "" {
		n.Name, _, _ = strings.Cut(n.Email, "@")
	}
	switch {
	case strings.TrimSpace(n.Name) == "" || !utf8.ValidString(n.Name) || strings.ContainsFunc(n.Name, unicode.IsControl):
		return n, fault.New(fault.Invalid, "name must be text without control characters")
	case utf8.RuneCountInString(n.Name) > maxKeyName:
		return n, fault.New(fault.Invalid, "name must have at most %d characters", maxKeyName)
	}
	if n.Role == "" {
		n.Role = RoleUser
	}
	if n.Role != RoleUser && n.Role != RoleAdmin {
		return n, fault.New(fault.Invalid, "role must be one of %s, %s", RoleUser, RoleAdmin)
	}
	return n, nil
}

// idOf is the id of the user with an e-mail address. It follows from the
// address, so that of two who make the same user at once only one does.
func idOf(email string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("mailto:"+strings.ToLower(email))).String()
}

// CreateUser makes a user, its personal organization and its first API key, all
// of them or none. It returns the key's value, which cannot be had again. A
// taken e-mail address is Conflict.
func (s *Service) CreateUser(ctx context.Context, n NewUser) (User, string, error) {
	n, err := n.check()
	if err != nil {
		return User{}, "", err
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	u := User{ID: idOf(n.Email), Name: n.Name, Email: n.Email, Role: n.Role, CreatedAt: now}
	o := s.personal(u.ID, now)
	k, value := newKey(o.ID, u.ID, NewKey{Name: "first", Permissions: Permissions()}, now)
	planted, err := s.store.Plant(ctx, Seed{
		User: u, Organization: o, Key: k,
		Owner: org.Membership{OrgID: o.ID, UserID: u.ID, Role: org.Owner, CreatedAt: now, UpdatedAt: now},
	})
	if err == nil && !planted {
		err = fault.New(fault.Conflict, "there is a user with the e-mail address %s already", n.Email)
	}
	if err != nil {
		return User{}, "", err
	}
	return u, value, nil
}

// personal is a new user's own organization.
func (s *Service) personal(userID string, now time.Time) org.Organization {
	return org.Organization{
		ID: uuid.NewString(), Name: "Personal", CreatedBy: userID, Personal: true,
		DefaultRegionID: s.region, Quota: s.quota,
		SnapshotDeactivationMinutes: 20160, SuspensionGraceHours: 24,
		CreatedAt: now, UpdatedAt: now,
	}
}

// Owner is a user with its personal organization.
type Owner struct {
	User         User
	Organization org.Organization
}

// Find returns the user with an id or an e-mail address, "" being the
// administrator that the first start makes.
func (s *Service) Find(ctx context.Context, ref string) (Owner, error) {
	if ref == "" {
		ref = AdminID
	}
	u, err := s.store.User(ctx, ref)
	if fault.Is(err, fault.NotFound) {
		u, err = s.userByEmail(ctx, ref)
	}
	if err != nil {
		return Owner{}, err
	}
	o, err := s.store.PersonalOrganization(ctx, u.ID)
	return Owner{User: u, Organization: o}, err
}

func (s *Service) userByEmail(ctx context.Context, email string) (User, error) {
	users, err := s.store.Users(ctx)
	if err != nil {
		return User{}, err
	}
	for _, u := range users {
		if u.Email != "" && strings.EqualFold(u.Email, email) {
			return u, nil
		}
	}
	if email == AdminID {
		return User{}, fault.New(fault.NotFound, "there is no administrator yet: start the server once, it makes the user and a key")
	}
	return User{}, fault.New(fault.NotFound, "user %s not found; daytona admin user list shows those that there are", email)
}

// CreateKeyOf makes a key with every permission in a user's personal
// organization, and returns its value. A name "" is made up; expires nil is never.
func (s *Service) CreateKeyOf(ctx context.Context, who Owner, name string, expires *time.Time) (Key, string, error) {
	now := s.now()
	if name == "" {
		name = "admin-" + now.UTC().Format("20060102-150405.000")
	}
	n := NewKey{Name: name, Permissions: Permissions(), ExpiresAt: expires}
	if err := n.validate(now); err != nil {
		return Key{}, "", err
	}
	k, value := newKey(who.Organization.ID, who.User.ID, n, now)
	return k, value, s.store.CreateKey(ctx, k)
}

// KeysOf lists the keys of a user's personal organization, the last used first.
func (s *Service) KeysOf(ctx context.Context, who Owner) ([]Key, error) {
	return s.store.Keys(ctx, who.Organization.ID, who.User.ID)
}

// DeleteKeyOf revokes one of them. Servers that run refuse it within ten seconds.
func (s *Service) DeleteKeyOf(ctx context.Context, who Owner, name string) error {
	return s.deleteKey(ctx, who.Organization.ID, who.User.ID, name)
}
