// Package registry keeps the registries from which images are pulled, with their
// credentials.
//
// A record belongs to an organization, or to the whole server: then only its
// administrators see it. Of those, the public ones count for every
// organization's images, the others for none: whatever their account can read,
// an organization could read by naming it. Passwords
// are sealed with keys that the operator holds and are never returned; they
// leave only with the image that a runner is told to make.
package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/internal/keyring"
)

// Type says what a registry is for.
type Type string

// The types. All but Organization are the administrators'.
const (
	Organization Type = "organization" // an organization pulls from it
	Internal     Type = "internal"
	Public       Type = "public" // every organization pulls from it with this account
	Transient    Type = "transient"
	Backup       Type = "backup"
)

// Registry is a registry with credentials.
type Registry struct {
	ID        string // UUID
	OrgID     string // "" for one of the whole server
	Name      string
	URL       string // as it was given
	Username  string
	Secret    string // sealed password
	Project   string
	Type      Type
	Default   bool
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Store keeps registries. Unknown rows are fault.NotFound.
type Store interface {
	// CreateRegistry stores r unless its organization has most of them, which
	// is fault.Forbidden. A default one takes the place of the one before of
	// its type.
	CreateRegistry(ctx context.Context, r Registry, most int) error
	Registry(ctx context.Context, id string) (Registry, error)
	// Registries lists those of an organization, or of the server for "", the
	// newest first.
	Registries(ctx context.Context, orgID string) ([]Registry, error)
	// UpdateRegistry stores everything that can change of r.
	UpdateRegistry(ctx context.Context, r Registry) error
	// Reseal replaces a sealed password if it is still the one that was read.
	Reseal(ctx context.Context, id, from, to string) error
	DeleteRegistry(ctx context.Context, id string) error
	SetDefaultRegistry(ctx context.Context, r Registry) error
	// AllRegistries lists every one there is.
	AllRegistries(ctx context.Context) ([]Registry, error)
}

// maxPerOrg bounds how many an organization has.
const maxPerOrg = 100

// Config is what a Service needs.
type Config struct {
	Store Store
	Keys  *keyring.Ring
	Log   *slog.Logger
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Service keeps registries.
type Service struct{ c Config }

// New returns a Service.
func New(c Config) *Service {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Service{c: c}
}

// By says who asks.
type By struct {
	OrgID string
	Admin bool // of the whole server
}

// Request is what a client asks for. Password nil or "" keeps the one there is,
// where there is one; Project nil keeps the project.
type Request struct {
	Name, URL, Username string
	Password, Project   *string
	Type                Type // of a new one; "" is Organization
	Default             bool // of a new one
}

// Create adds a registry.
func (s *Service) Create(ctx context.Context, by By, q Request) (Registry, error) {
	q.Type = cmp.Or(q.Type, Organization)
	if err := q.check(); err != nil {
		return Registry{}, err
	}
	if !by.Admin && (q.Type != Organization || q.Default) {
		return Registry{}, fault.New(fault.Forbidden, "Only administrators of the server can make a registry of type %s or the default one. Use the type organization", q.Type)
	}
	now := s.now()
	r := Registry{
		ID: uuid.NewString(), OrgID: by.OrgID, Name: q.Name, URL: q.URL, Username: q.Username, Project: deref(q.Project),
		Type: q.Type, Default: q.Default, CreatedAt: now, UpdatedAt: now,
	}
	if r.Type != Organization {
		r.OrgID = ""
	}
	r.Secret = s.c.Keys.Seal(place(r.ID), deref(q.Password))
	return r, s.c.Store.CreateRegistry(ctx, r, maxPerOrg)
}

// List returns an organization's registries, the newest first.
func (s *Service) List(ctx context.Context, by By) ([]Registry, error) {
	return s.c.Store.Registries(ctx, by.OrgID)
}

// Get returns one. Another organization's is NotFound, and so is the server's to
// everybody but administrators.
func (s *Service) Get(ctx context.Context, by By, id string) (Registry, error) {
	r, err := s.c.Store.Registry(ctx, id)
	mine := r.OrgID == by.OrgID && r.OrgID != "" || r.OrgID == "" && by.Admin
	if fault.Is(err, fault.NotFound) || err == nil && !mine {
		return Registry{}, fault.New(fault.NotFound, "Docker registry with ID %s not found", shorten(id))
	}
	return r, err
}

// Update changes a registry.
func (s *Service) Update(ctx context.Context, by By, id string, q Request) (Registry, error) {
	r, err := s.Get(ctx, by, id)
	if err != nil {
		return r, err
	}
	q.Type = r.Type
	if err := q.check(); err != nil {
		return r, err
	}
	if host(q.URL) != host(r.URL) && deref(q.Password) == "" {
		return r, fault.New(fault.Invalid, "password: is required when the registry moves to another host, so that nobody can have the old one sent there")
	}
	r.Name, r.URL, r.Username, r.UpdatedAt = q.Name, q.URL, q.Username, s.now()
	if q.Project != nil {
		r.Project = *q.Project
	}
	if p := deref(q.Password); p != "" {
		r.Secret = s.c.Keys.Seal(place(r.ID), p)
	}
	return r, s.c.Store.UpdateRegistry(ctx, r)
}

// Delete removes a registry. What was pulled from it stays.
func (s *Service) Delete(ctx context.Context, by By, id string) error {
	r, err := s.Get(ctx, by, id)
	if err != nil {
		return err
	}
	return s.c.Store.DeleteRegistry(ctx, r.ID)
}

// SetDefault makes a registry the default of its type.
func (s *Service) SetDefault(ctx context.Context, by By, id string) (Registry, error) {
	if !by.Admin {
		return Registry{}, fault.New(fault.Forbidden, "Only administrators of the server can set the default registry")
	}
	r, err := s.Get(ctx, by, id)
	if err != nil {
		return r, err
	}
	r.Default, r.UpdatedAt = true, s.now()
	return r, s.c.Store.SetDefaultRegistry(ctx, r)
}

// Auths are the credentials for an organization's images, the longest prefix
// first; of equal ones the organization's own before the server's, and the
// newest first. One that cannot be opened is left out, and logged.
func (s *Service) Auths(ctx context.Context, orgID string) ([]runnerapi.RegistryAuth, error) {
	list, err := s.c.Store.Registries(ctx, "")
	if err != nil {
		return nil, err
	}
	if orgID != "" {
		own, err := s.c.Store.Registries(ctx, orgID)
		if err != nil {
			return nil, err
		}
		list = append(own, slices.DeleteFunc(list, func(r Registry) bool { return r.Type != Public })...)
	}
	var out []runnerapi.RegistryAuth
	for _, r := range list {
		password, err := s.c.Keys.Open(place(r.ID), r.Secret)
		if err != nil {
			s.c.Log.Error("credentials of a registry cannot be used", "registry_id", r.ID, "org_id", r.OrgID, "error", err)
			continue
		}
		if r.Username == "" && password == "" {
			continue
		}
		for _, prefix := range r.Prefixes() {
			if !slices.ContainsFunc(out, func(a runnerapi.RegistryAuth) bool { return a.Prefix == prefix }) {
				out = append(out, runnerapi.RegistryAuth{Prefix: prefix, Username: r.Username, Password: password})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b runnerapi.RegistryAuth) int { return cmp.Compare(len(b.Prefix), len(a.Prefix)) })
	return out, nil
}

// Reseal seals every password anew that was sealed with an older key.
func (s *Service) Reseal(ctx context.Context) error {
	list, err := s.c.Store.AllRegistries(ctx)
	if err != nil {
		return err
	}
	n := 0
	var errs []error
	for _, r := range list {
		if !s.c.Keys.Stale(r.Secret) {
			continue
		}
		password, err := s.c.Keys.Open(place(r.ID), r.Secret)
		if err == nil {
			err = s.c.Store.Reseal(ctx, r.ID, r.Secret, s.c.Keys.Seal(place(r.ID), password))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("registry %s: %w", r.ID, err))
			continue
		}
		n++
	}
	if n > 0 {
		s.c.Log.Info("passwords of registries sealed with the newest key", "registries", n)
	}
	return errors.Join(errs...)
}

// Prefixes are what the names of its images begin with: with the project and
// without.
func (r Registry) Prefixes() []string {
	at := strings.Trim(bare(r.URL), "/")
	if h, rest, _ := strings.Cut(at, "/"); hub[h] {
		at = strings.Trim("docker.io/"+strings.TrimPrefix(strings.TrimPrefix(rest, "v1"), "v2"), "/")
		at = strings.TrimSuffix(at, "/")
	}
	if p := strings.Trim(r.Project, "/"); p != "" {
		return []string{at + "/" + p, at}
	}
	return []string{at}
}

// hub are the names under which people know Docker Hub.
var hub = map[string]bool{"docker.io": true, "index.docker.io": true, "registry-1.docker.io": true, "hub.docker.com": true, "registry.hub.docker.com": true, "www.docker.com": true}

func bare(address string) string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		return rest
	}
	return address
}

func host(address string) string {
	h, _, _ := strings.Cut(bare(address), "/")
	return strings.ToLower(h)
}

var (
	hostRule    = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?$`)
	pathRule    = regexp.MustCompile(`^[A-Za-z0-9._/-]*$`)
	projectRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9._/-]*[a-z0-9])?$`)
)

func (q Request) check() error {
	var bad []string
	text := func(field, s string, most int, empty bool) {
		switch {
		case s == "" && !empty:
			bad = append(bad, field+": must not be empty")
		case utf8.RuneCountInString(s) > most || !utf8.ValidString(s):
			bad = append(bad, fmt.Sprintf("%s: must be text of at most %d characters", field, most))
		case strings.ContainsFunc(s, unicode.IsControl):
			bad = append(bad, field+": must not contain control characters")
		}
	}
	text("name", q.Name, 255, false)
	text("username", q.Username, 255, true)
	text("password", deref(q.Password), 16<<10, true)
	if err := checkURL(q.URL); err != nil {
		bad = append(bad, "url: "+err.Error())
	}
	if p := deref(q.Project); p != "" && (len(p) > 255 || !projectRule.MatchString(p)) {
		bad = append(bad, "project: must be the part of image names after the host, such as my-team")
	}
	if !slices.Contains([]Type{Organization, Internal, Public, Transient, Backup}, q.Type) {
		bad = append(bad, "registryType: must be organization")
	}
	if len(bad) > 0 {
		return fault.New(fault.Invalid, "%s", strings.Join(bad, ", "))
	}
	return nil
}

func checkURL(s string) error {
	const example = "must be the address of a registry, such as docker.io, https://ghcr.io or registry.example.com:5000"
	h, path, _ := strings.Cut(bare(s), "/")
	if len(s) > 1024 || !hostRule.MatchString(h) || !pathRule.MatchString(path) {
		return errors.New(example)
	}
	if strings.Contains(s, "://") {
		if u, err := url.Parse(s); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
			return errors.New(example)
		}
	}
	return nil
}

// place is where a registry's password is sealed for.
func place(id string) string { return "registry/" + id }

func (s *Service) now() time.Time { return s.c.Now().UTC().Truncate(time.Millisecond) }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func shorten(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
