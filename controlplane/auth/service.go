package auth

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"daytona/controlplane/org"
)

// Config is what a Service needs.
type Config struct {
	Store Store
	Log   *slog.Logger
	// Quota is what a new organization gets. Defaults to org.DefaultQuota.
	Quota org.Quota
	// Region is the default region of new organizations. Defaults to "us".
	Region string
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Service authenticates callers and manages their keys.
type Service struct {
	store  Store
	log    *slog.Logger
	quota  org.Quota
	region string
	now    func() time.Time

	mu    sync.Mutex
	cache map[string]cached    // by hash
	used  map[string]time.Time // last uses by hash, not yet stored
	epoch uint64               // counts deletions, so that a slow look-up cannot bring a key back
}

type cached struct {
	id    Identity
	until time.Time
}

// New returns a Service.
func New(c Config) *Service {
	if c.Quota == (org.Quota{}) {
		c.Quota = org.DefaultQuota()
	}
	if c.Region == "" {
		c.Region = "us"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Service{
		store: c.Store, log: c.Log, quota: c.Quota, region: c.Region, now: c.Now,
		cache: map[string]cached{}, used: map[string]time.Time{},
	}
}

// User returns a user, or NotFound.
func (s *Service) User(ctx context.Context, id string) (User, error) { return s.store.User(ctx, id) }

// Users lists every user.
func (s *Service) Users(ctx context.Context) ([]User, error) { return s.store.Users(ctx) }
