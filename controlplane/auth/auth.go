// Package auth knows who is calling and what they may do.
//
// Callers show an API key as a bearer token: "dtn_" and 64 hex digits. Only its
// SHA-256 is stored; the key itself is shown once, when it is made. A key
// belongs to one user in one organization and carries a list of permissions.
// What a call may do is the key's list, for a member who is not an owner cut
// down to what the member's roles give at that moment.
package auth

import (
	"context"
	"slices"
	"time"

	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// SystemRole is what a user is to the whole installation.
type SystemRole string

// The system roles.
const (
	RoleAdmin SystemRole = "admin"
	RoleUser  SystemRole = "user"
)

// AdminID is the id of the user that the first start makes.
const AdminID = "daytona-admin"

// User is a person or program that can call.
type User struct {
	ID            string // "sub" of the identity provider, or AdminID
	Name          string
	Email         string // may be empty
	EmailVerified bool
	Role          SystemRole
	CreatedAt     time.Time
}

// Key is an API key as it is stored: everything but the secret.
type Key struct {
	OrgID, UserID, Name string // together unique
	Hash                string // SHA-256 of the whole value, hex
	Prefix, Suffix      string // first and last three characters
	Permissions         []Permission
	CreatedAt           time.Time
	ExpiresAt           *time.Time // nil is never
	LastUsedAt          *time.Time // nil is never; up to ten seconds late
}

// Masked is the form of a key that may be shown.
func (k Key) Masked() string { return k.Prefix + "********************" + k.Suffix }

// Expired reports whether k is no longer valid at now.
func (k Key) Expired(now time.Time) bool { return k.ExpiresAt != nil && !now.Before(*k.ExpiresAt) }

// Identity is who is calling, in which organization, with which rights.
type Identity struct {
	User        User
	OrgID       string
	Role        org.Role
	Key         *Key         // the key that was shown
	Permissions []Permission // effective
}

// Can reports whether the caller holds p.
func (id Identity) Can(p Permission) bool { return slices.Contains(id.Permissions, p) }

// Admin reports whether the caller administers the installation.
func (id Identity) Admin() bool { return id.User.Role == RoleAdmin }

// Require is Forbidden unless the caller holds every permission given.
func (id Identity) Require(ps ...Permission) error {
	for _, p := range ps {
		if !id.Can(p) {
			return fault.New(fault.Forbidden, "This API key lacks the permission %s", p)
		}
	}
	return nil
}

// Seed is what the first start makes, in one transaction.
type Seed struct {
	User         User
	Organization org.Organization
	Owner        org.Membership
	Key          Key
}

// Store keeps users and keys. Unknown rows are fault.NotFound.
type Store interface {
	// Plant stores seed unless its user exists; planted says which.
	Plant(ctx context.Context, seed Seed) (planted bool, err error)
	User(ctx context.Context, id string) (User, error)
	Users(ctx context.Context) ([]User, error)
	// CreateUser stores a user with its personal organization.
	CreateUser(ctx context.Context, u User, o org.Organization, owner org.Membership) error
	PersonalOrganization(ctx context.Context, userID string) (org.Organization, error)
	Membership(ctx context.Context, orgID, userID string) (org.Membership, error)

	// CreateKey stores a key; a taken name is fault.Conflict.
	CreateKey(ctx context.Context, k Key) error
	// Keys lists a user's keys in an organization, the last used first; with
	// userID "" everybody's.
	Keys(ctx context.Context, orgID, userID string) ([]Key, error)
	Key(ctx context.Context, orgID, userID, name string) (Key, error)
	KeyByHash(ctx context.Context, hash string) (Key, error)
	DeleteKey(ctx context.Context, orgID, userID, name string) (Key, error)
	// TouchKeys records last uses by hash. Times only move forward.
	TouchKeys(ctx context.Context, at map[string]time.Time) error
}
