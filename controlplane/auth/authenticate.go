package auth

import (
	"context"
	"time"

	"daytona/internal/fault"
)

const (
	// cacheTTL is how long a revoked key may go on working in another process.
	cacheTTL = 10 * time.Second
	// cacheSize bounds memory; a full cache is simply emptied.
	cacheSize = 10_000
	// flushEvery is how often last uses are stored.
	flushEvery = 10 * time.Second
	// tokenLength bounds what is hashed for a stranger.
	tokenLength = 4096
)

// Authenticate says who shows token. Anything but a valid key is
// Unauthenticated, in the same words whether it is unknown or malformed.
func (s *Service) Authenticate(ctx context.Context, token string) (Identity, error) {
	if token == "" || len(token) > tokenLength {
		return Identity{}, fault.New(fault.Unauthenticated, "Invalid credentials")
	}
	return s.Identify(ctx, hashOf(token))
}

// Knows reports whether token was valid a moment ago, without asking the store.
func (s *Service) Knows(token string) bool {
	if token == "" || len(token) > tokenLength {
		return false
	}
	hash := hashOf(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.cache[hash]
	return ok && s.now().Before(c.until)
}

// Identify says whose key has a hash, as Authenticate does for the key itself.
// It is for what was given out to somebody who had shown the key.
func (s *Service) Identify(ctx context.Context, hash string) (Identity, error) {
	now := s.now()
	s.mu.Lock()
	c, ok := s.cache[hash]
	epoch := s.epoch
	s.mu.Unlock()
	if !ok || !now.Before(c.until) {
		id, err := s.lookUp(ctx, hash)
		if err != nil {
			return Identity{}, err
		}
		c = cached{id: id, until: now.Add(cacheTTL)}
		s.remember(hash, c, epoch)
	}
	if c.id.Key.Expired(now) {
		return Identity{}, fault.New(fault.Unauthenticated, "This API key has expired. Create a new one")
	}
	s.mu.Lock()
	s.used[hash] = now
	s.mu.Unlock()
	return c.id, nil
}

func (s *Service) lookUp(ctx context.Context, hash string) (Identity, error) {
	k, err := s.store.KeyByHash(ctx, hash)
	if err != nil {
		return Identity{}, invalid(err)
	}
	u, err := s.store.User(ctx, k.UserID)
	if err != nil {
		return Identity{}, invalid(err)
	}
	m, err := s.store.Membership(ctx, k.OrgID, k.UserID)
	if err != nil {
		return Identity{}, invalid(err)
	}
	return Identity{User: u, OrgID: k.OrgID, Role: m.Role, Key: &k, Permissions: Effective(k.Permissions, m)}, nil
}

// remember caches a look-up unless a key was deleted while it ran.
func (s *Service) remember(hash string, c cached, epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch {
		return
	}
	if len(s.cache) >= cacheSize {
		clear(s.cache)
	}
	s.cache[hash] = c
}

func (s *Service) forget(hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	delete(s.cache, hash)
	delete(s.used, hash)
}

// Run stores last uses until ctx ends, then once more.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			s.flush(last)
			return nil
		case <-tick.C:
			s.flush(ctx)
		}
	}
}

// flush stores the last uses seen since the last call. What cannot be stored
// is dropped: it is a hint for people, and the next use renews it.
func (s *Service) flush(ctx context.Context) {
	s.mu.Lock()
	used := s.used
	s.used = map[string]time.Time{}
	s.mu.Unlock()
	if len(used) == 0 {
		return
	}
	if err := s.store.TouchKeys(ctx, used); err != nil {
		s.log.Warn("last uses of API keys not stored", "keys", len(used), "error", err)
	}
}

func invalid(err error) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.Unauthenticated, "Invalid credentials")
	}
	return err
}
