package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"daytona/controlplane/org"
	"daytona/internal/fault"
)

const maxKeyName = 255

// NewKey asks for an API key.
type NewKey struct {
	Name        string
	Permissions []Permission
	ExpiresAt   *time.Time // nil is never
}

func (n NewKey) validate(now time.Time) error {
	switch {
	case strings.TrimSpace(n.Name) == "":
		return fault.New(fault.Invalid, "name must not be empty")
	case utf8.RuneCountInString(n.Name) > maxKeyName:
		return fault.New(fault.Invalid, "name must have at most %d characters", maxKeyName)
	case !utf8.ValidString(n.Name) || strings.ContainsFunc(n.Name, unicode.IsControl):
		return fault.New(fault.Invalid, "name must not contain control characters")
	case len(n.Permissions) == 0:
		return fault.New(fault.Invalid, "permissions must not be empty")
	case n.ExpiresAt != nil && !n.ExpiresAt.After(now):
		return fault.New(fault.Invalid, "expiresAt must be in the future")
	}
	for _, p := range n.Permissions {
		if !p.Valid() {
			return fault.New(fault.Invalid, "permissions must each be one of %s", join(Permissions()))
		}
	}
	return nil
}

// Create makes a key for the caller and returns it with its value, which
// cannot be had again. The caller can only hand on permissions that it holds.
func (s *Service) Create(ctx context.Context, by Identity, n NewKey) (Key, string, error) {
	now := s.now()
	if err := n.validate(now); err != nil {
		return Key{}, "", err
	}
	var surplus []Permission
	for _, p := range n.Permissions {
		if !by.Can(p) {
			surplus = append(surplus, p)
		}
	}
	if len(surplus) > 0 {
		return Key{}, "", fault.New(fault.Forbidden, "You cannot grant permissions that you do not hold: %s", join(surplus))
	}
	k, value := newKey(by.OrgID, by.User.ID, n, now)
	if err := s.store.CreateKey(ctx, k); err != nil {
		return Key{}, "", err
	}
	return k, value, nil
}

// List returns the caller's keys in the organization, the last used first.
// Permissions are the effective ones.
func (s *Service) List(ctx context.Context, by Identity) ([]Key, error) {
	keys, err := s.store.Keys(ctx, by.OrgID, by.User.ID)
	if err != nil {
		return nil, err
	}
	m, err := s.store.Membership(ctx, by.OrgID, by.User.ID)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		keys[i].Permissions = Effective(keys[i].Permissions, m)
	}
	return keys, nil
}

// Get returns one of the caller's keys.
func (s *Service) Get(ctx context.Context, by Identity, name string) (Key, error) {
	k, err := s.store.Key(ctx, by.OrgID, by.User.ID, name)
	if err != nil {
		return Key{}, unknownKey(err, name)
	}
	m, err := s.store.Membership(ctx, by.OrgID, by.User.ID)
	if err != nil {
		return Key{}, err
	}
	k.Permissions = Effective(k.Permissions, m)
	return k, nil
}

// Delete revokes one of the caller's keys. In this process it stops working at
// once, in others within ten seconds.
func (s *Service) Delete(ctx context.Context, by Identity, name string) error {
	return s.deleteKey(ctx, by.OrgID, by.User.ID, name)
}

// DeleteOf revokes another member's key; only an owner may.
func (s *Service) DeleteOf(ctx context.Context, by Identity, userID, name string) error {
	if userID != by.User.ID && by.Role != org.Owner {
		return fault.New(fault.Forbidden, "Only an owner of the organization may delete another member's API key")
	}
	return s.deleteKey(ctx, by.OrgID, userID, name)
}

func (s *Service) deleteKey(ctx context.Context, orgID, userID, name string) error {
	k, err := s.store.DeleteKey(ctx, orgID, userID, name)
	if err != nil {
		return unknownKey(err, name)
	}
	s.forget(k.Hash)
	return nil
}

func newKey(orgID, userID string, n NewKey, now time.Time) (Key, string) {
	value := NewValue()
	return keyOf(value, orgID, userID, n, now), value
}

// NewValue makes the value of a new key.
func NewValue() string {
	var raw [32]byte
	rand.Read(raw[:]) // never fails
	return "dtn_" + hex.EncodeToString(raw[:])
}

// ValidValue reports whether value has the form of a key.
func ValidValue(value string) bool {
	digits, ok := strings.CutPrefix(value, "dtn_")
	raw, err := hex.DecodeString(digits)
	return ok && err == nil && len(raw) == 32 && digits == strings.ToLower(digits)
}

func keyOf(value, orgID, userID string, n NewKey, now time.Time) Key {
	perms := slices.Clone(n.Permissions)
	slices.Sort(perms)
	return Key{
		OrgID: orgID, UserID: userID, Name: n.Name,
		Hash: hashOf(value), Prefix: value[:3], Suffix: value[len(value)-3:],
		Permissions: slices.Compact(perms), CreatedAt: now.UTC().Truncate(time.Millisecond), ExpiresAt: n.ExpiresAt,
	}
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func unknownKey(err error, name string) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "API key with name %s not found", name)
	}
	return err
}

func join(ps []Permission) string {
	s := make([]string, len(ps))
	for i, p := range ps {
		s[i] = string(p)
	}
	return strings.Join(s, ", ")
}
