package upload

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"daytona/internal/fault"
	"daytona/internal/objectstore"
	"daytona/internal/ociregistry"
)

// Use is what one row needs of what clients brought.
type Use struct {
	OrgID    string
	Contexts []string // hashes
	// Text is where images are named: a reference, or a Dockerfile.
	Text string
}

// Rows says what is needed.
type Rows interface {
	// UploadsInUse lists what snapshots, also those that are switched off, and
	// images need.
	UploadsInUse(ctx context.Context) ([]Use, error)
}

// Rhythm of collections.
const (
	collectEvery = 10 * time.Minute
	// grace is how long what a client spoke of stays: it may have seen that a
	// context is there, and say so in its next request.
	grace = 2 * time.Hour
	// memory is how long it is remembered when a context was used; after that,
	// the time of its upload counts.
	memory = 7 * 24 * time.Hour
	// removeLimit bounds the removal of one folder.
	removeLimit = 20 * time.Second
)

// spoken remembers of which contexts clients spoke, and when.
type spoken struct {
	mu    sync.Mutex
	since time.Time // before it nothing is known
	at    map[string]time.Time
}

// note remembers a key, or the start of keys.
func (s *spoken) note(key string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[string]time.Time{}
	}
	if len(s.at) == mostSpoken {
		clear(s.at)
		s.since = now // as after a start
	}
	s.at[folder(key)] = now
}

// mostSpoken bounds what is remembered: clients may speak of what there never was.
const mostSpoken = 100_000

// forget drops what was spoken of before a time.
func (s *spoken) forget(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.at, func(_ string, at time.Time) bool { return at.Before(before) })
}

// knows says whether everything is remembered of which clients spoke since.
func (s *spoken) knows(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.since.After(since)
}

// last is when a client last spoke of a folder.
func (s *spoken) last(folder string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[folder]
}

// unless calls f while no client can begin to speak of a folder, if none has
// since a time.
func (s *spoken) unless(folder string, since time.Time, f func() error) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at[folder].After(since) {
		return false, nil
	}
	delete(s.at, folder)
	return true, f()
}

// folder is the part of a key that is kept or goes as a whole: an organization
// and a hash.
func folder(key string) string {
	parts := strings.SplitN(key, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// Folder is what an organization uploaded under one hash.
type Folder struct {
	Name  string // organization/hash
	Bytes int64
	Used  time.Time
}

// Excess names the folders that go so that all together take at most budget
// bytes: of those that are not needed and that nobody used since a time, the
// least recently used first, as many as are needed.
func Excess(all []Folder, needed map[string]bool, budget int64, since time.Time) []string {
	var total int64
	for _, f := range all {
		total += f.Bytes
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Folder) int { return a.Used.Compare(b.Used) })
	var out []string
	for _, f := range all {
		if total <= budget {
			break
		}
		if !needed[f.Name] && f.Used.Before(since) {
			total -= f.Bytes
			out = append(out, f.Name)
		}
	}
	return out
}

// folders lists what is in the bucket.
func (s *Service) folders(ctx context.Context, prefix string) ([]Folder, error) {
	byName := map[string]*Folder{}
	q := objectstore.Query{Prefix: prefix}
	for {
		page, err := s.c.Bucket.List(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			if strings.HasPrefix(o.Key, Archives) {
				continue // these are not uploads
			}
			name := folder(o.Key)
			f := byName[name]
			if f == nil {
				f = &Folder{Name: name, Used: s.spoken.last(name)}
				byName[name] = f
			}
			f.Bytes += o.Size
			if o.Modified.After(f.Used) {
				f.Used = o.Modified
			}
		}
		if q.Token = page.Next; q.Token == "" {
			break
		}
	}
	out := make([]Folder, 0, len(byName))
	for _, f := range byName {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Folder) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Report says what a collection removed.
type Report struct{ Contexts, Tags int }

// Collect removes files for builds beyond the budget, and pushed tags that
// nothing needs any more. What a client spoke of a moment ago stays, and so does
// everything in the first hours after the start: nobody knows what clients spoke
// of before.
func (s *Service) Collect(ctx context.Context) (r Report, err error) {
	now := s.c.Now()
	if s.young(now) {
		return r, nil
	}
	defer s.spoken.forget(now.Add(-memory))
	var errs []error
	if s.c.Budget > 0 {
		r.Contexts, err = s.trim(ctx, "", s.c.Budget)
		errs = append(errs, err)
	}
	// Listed first: what is needed by then is among the rows that are read after.
	var tags []ociregistry.Tag
	if s.registry != nil && s.c.KeepPushed > 0 {
		if tags, err = s.registry.Tags(ctx); err != nil {
			return r, err
		}
	}
	uses, err := s.Rows.UploadsInUse(ctx)
	if err != nil {
		return r, err
	}
	for _, t := range tags {
		if now.Sub(t.Pushed) < s.c.KeepPushed || s.registry.Spoken(t.Digest) || Named(t, uses) {
			continue
		}
		err := s.registry.Untag(ctx, t.Repository, t.Name)
		if err == nil {
			r.Tags++
		}
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// young: too little is known of what clients speak of.
func (s *Service) young(now time.Time) bool { return s.Rows == nil || !s.spoken.knows(now.Add(-grace)) }

// trim removes folders below a prefix that nothing needs until the rest takes at
// most budget bytes. It returns how many went.
func (s *Service) trim(ctx context.Context, prefix string, budget int64) (n int, err error) {
	all, err := s.folders(ctx, prefix)
	if err != nil {
		return 0, err
	}
	uses, err := s.Rows.UploadsInUse(ctx) // after the list: what is new to it is young
	if err != nil {
		return 0, err
	}
	needed := map[string]bool{}
	for _, u := range uses {
		for _, hash := range u.Contexts {
			needed[u.OrgID+"/"+hash] = true
		}
	}
	since := s.c.Now().Add(-grace)
	var errs []error
	for _, name := range Excess(all, needed, budget, since) {
		gone, err := s.spoken.unless(name, since, func() error {
			ctx, cancel := context.WithTimeout(ctx, removeLimit) // clients wait meanwhile
			defer cancel()
			return objectstore.DeletePrefix(ctx, s.c.Bucket, name+"/")
		})
		if gone && err == nil {
			n++
		}
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

var manifest = regexp.MustCompile(`@(sha256:[0-9a-f]{64})`)

// pinned are the manifests that rows name, also where their tags have moved.
func (s *Service) pinned(ctx context.Context) (map[digest.Digest]bool, error) {
	if s.Rows == nil {
		return nil, fault.New(fault.Unavailable, "The server is not ready")
	}
	uses, err := s.Rows.UploadsInUse(ctx)
	out := map[digest.Digest]bool{}
	for _, u := range uses {
		for _, m := range manifest.FindAllStringSubmatch(u.Text, -1) {
			out[digest.Digest(m[1])] = true
		}
	}
	return out, err
}

// Needed reports whether a snapshot, also one that is switched off, or an image
// on a runner names an image of the registry.
func (s *Service) Needed(ctx context.Context, image string) (bool, error) {
	uses, err := s.Rows.UploadsInUse(ctx)
	return slices.ContainsFunc(uses, func(u Use) bool { return strings.Contains(u.Text, image) }), err
}

// Named reports whether any row names a tag, or its digest, under whatever host.
func Named(t ociregistry.Tag, uses []Use) bool {
	return slices.ContainsFunc(uses, func(u Use) bool {
		return strings.Contains(u.Text, "/"+t.Repository+":"+t.Name) || strings.Contains(u.Text, "/"+t.Repository+"@"+t.Digest.String())
	})
}

func (s *Service) collectLoop(ctx context.Context) error {
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		r, err := s.Collect(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.c.Log.Error("what clients uploaded could not be tidied; it will be tried again", "error", err)
		case r != Report{}:
			s.c.Log.Info("uploads.collected", "contexts", r.Contexts, "tags", r.Tags)
		}
	}
}
