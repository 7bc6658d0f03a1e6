package upload

import (
	"context"
	"strings"
	"sync"
	"time"

	"daytona/internal/fault"
)

// stock is how much organizations have in object storage.
type stock struct {
	mu  sync.Mutex
	org map[string]*held
}

// held is what one organization has.
type held struct {
	mu      sync.Mutex
	bytes   int64
	counted time.Time // when the storage was asked; what was written since is added
}

// recount is how long a count is believed: other servers write too, and what is
// replaced or removed counts until then.
const recount = time.Minute

// admit refuses what would take an organization beyond its limit.
func (s *Service) admit(ctx context.Context, key string, size int64) (err error) {
	if s.c.Limit <= 0 {
		return nil
	}
	orgID, _, _ := strings.Cut(key, "/")
	s.stock.mu.Lock()
	if s.stock.org == nil {
		s.stock.org = map[string]*held{}
	}
	h := s.stock.org[orgID]
	if h == nil {
		h = &held{}
		s.stock.org[orgID] = h
	}
	s.stock.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	now := s.c.Now()
	if now.Sub(h.counted) >= recount {
		if h.bytes, err = s.count(ctx, orgID+"/"); err != nil {
			return err
		}
		h.counted = now
	}
	if h.bytes+size > s.c.Limit && !s.young(now) {
		if _, err := s.trim(ctx, orgID+"/", max(0, s.c.Limit-size)); err != nil {
			return err
		}
		if h.bytes, err = s.count(ctx, orgID+"/"); err != nil {
			return err
		}
	}
	if h.bytes+size > s.c.Limit {
		return fault.New(fault.Forbidden, "The organization has %d MiB of files for builds, and may have %d. What no snapshot and no image needs goes by itself after two hours. Delete snapshots, or ask the operator to raise --upload-limit",
			h.bytes>>20, s.c.Limit>>20)
	}
	h.bytes += size
	return nil
}

// count is how many bytes lie below a prefix, uploads under way included.
func (s *Service) count(ctx context.Context, prefix string) (sum int64, err error) {
	folders, err := s.folders(ctx, prefix)
	if err != nil {
		return 0, err
	}
	for _, f := range folders {
		sum += f.Bytes
	}
	uploads, err := s.c.Bucket.Uploads(ctx, prefix)
	if err != nil {
		return 0, err
	}
	for _, u := range uploads {
		parts, err := s.c.Bucket.Parts(ctx, u.Key, u.ID)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return 0, err
		}
		for _, p := range parts {
			sum += p.Size
		}
	}
	return sum, nil
}
