package ociregistry

import (
	"context"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The collection of garbage goes on while clients push and pull:
//
//   - While it runs, manifests are neither put nor deleted: such requests wait.
//     Blobs go up and down meanwhile.
//   - A blob of which a client spoke in the last hours stays, whether anything
//     refers to it or not: a push asks which blobs are there, leaves those out,
//     and puts the manifest last. This is remembered from before a request is
//     served, under the lock under which a blob is removed.
//   - What clients spoke of is forgotten with the process. So nothing is removed
//     in the first hours after the start.
//   - Links go before what they lead to. Killed at any point, a collection
//     leaves garbage for the next, and nothing that seems to be there and is not.

// leases remember of which blobs clients spoke, and when.
type leases struct {
	mu      sync.Mutex
	started time.Time
	at      map[digest.Digest]time.Time
}

var digests = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// lease renews the leases on what a request speaks of.
func (r *Registry) lease(req *http.Request) {
	found := append(digests.FindAllString(req.URL.Path, -1), req.URL.Query()["digest"]...)
	found = append(found, req.URL.Query()["mount"]...)
	if len(found) == 0 {
		return
	}
	r.leases.mu.Lock()
	defer r.leases.mu.Unlock()
	if r.leases.at == nil {
		r.leases.at = map[digest.Digest]time.Time{}
	}
	for _, d := range found {
		if digests.MatchString(d) && len(d) == 7+64 {
			r.leases.at[digest.Digest(d)] = r.c.Now()
		}
	}
}

// Report says what a collection removed.
type Report struct{ Manifests, Links, Blobs int }

// found is what the mark phase knows.
type found struct {
	keep      map[digest.Digest]bool
	pinned    map[digest.Digest]bool // manifests that need no tag
	manifests []place                // without a tag, and not part of an index
	links     []place                // of blobs to which nothing in their repository refers
}

type place struct {
	repository string
	digest     digest.Digest
}

// Collect removes what nothing refers to: manifests without a tag, the blobs that
// only they had, and uploads that were given up. Nothing of which a client spoke
// since before is removed.
func (r *Registry) Collect(ctx context.Context, before time.Time) (Report, error) {
	storage.PurgeUploads(ctx, r.driver, r.c.Now().Add(-staleUpload), true)
	r.leases.mu.Lock()
	young := r.leases.started.After(before)
	for d, at := range r.leases.at {
		if at.Before(before) {
			delete(r.leases.at, d)
		}
	}
	r.leases.mu.Unlock()
	if young {
		return Report{}, nil
	}
	r.manifests.Lock()
	defer r.manifests.Unlock()
	f := &found{keep: map[digest.Digest]bool{}}
	if r.c.Keep != nil {
		pinned, err := r.c.Keep(ctx)
		if err != nil {
			return Report{}, err
		}
		f.pinned = pinned
	}
	names, err := r.repositories(ctx)
	if err != nil {
		return Report{}, err
	}
	for _, name := range names {
		if err := r.mark(ctx, name, f, before); err != nil {
			return Report{}, err
		}
	}
	return r.sweep(ctx, f, before)
}

// mark finds what a repository needs.
func (r *Registry) mark(ctx context.Context, name string, f *found, before time.Time) error {
	named, err := reference.WithName(name)
	if err != nil {
		return err
	}
	repo, err := r.names.Repository(ctx, named)
	if err != nil {
		return err
	}
	manifests, err := repo.Manifests(ctx)
	if err != nil {
		return err
	}
	var all []digest.Digest
	if lister, ok := manifests.(distribution.ManifestEnumerator); ok {
		err = lister.Enumerate(ctx, func(d digest.Digest) error { all = append(all, d); return nil })
	}
	if err != nil && !unknown(err) {
		return err
	}
	needed := map[digest.Digest]bool{}
	var untagged []digest.Digest
	for _, d := range all {
		tags, err := repo.Tags(ctx).Lookup(ctx, v1.Descriptor{Digest: d})
		if err != nil && !unknown(err) {
			return err
		}
		if len(tags) == 0 && !f.pinned[d] && !r.leased(d, before) {
			untagged = append(untagged, d)
			continue
		}
		if err := need(ctx, manifests, d, needed); err != nil {
			return err
		}
	}
	for _, d := range untagged {
		if !needed[d] {
			f.manifests = append(f.manifests, place{name, d})
		}
	}
	if lister, ok := repo.Blobs(ctx).(distribution.ManifestEnumerator); ok {
		err = lister.Enumerate(ctx, func(d digest.Digest) error {
			if !needed[d] {
				f.links = append(f.links, place{name, d})
			}
			return nil
		})
		if err != nil && !unknown(err) {
			return err
		}
	}
	for d := range needed {
		f.keep[d] = true
	}
	return nil
}

// need adds a manifest and what it refers to, at any depth. A manifest that
// cannot be read ends the collection: nobody knows what it needs.
func need(ctx context.Context, manifests distribution.ManifestService, d digest.Digest, needed map[digest.Digest]bool) error {
	if needed[d] {
		return nil
	}
	needed[d] = true
	m, err := manifests.Get(ctx, d)
	if err != nil {
		return err
	}
	for _, ref := range m.References() {
		if needed[ref.Digest] {
			continue
		}
		isManifest, err := manifests.Exists(ctx, ref.Digest)
		if err != nil && !unknown(err) {
			return err
		}
		if ref.Digest.Algorithm() != digest.SHA256 {
			continue // it lies elsewhere: such content is not taken
		}
		if !isManifest {
			needed[ref.Digest] = true
			continue
		}
		if err := need(ctx, manifests, ref.Digest, needed); err != nil {
			return err
		}
	}
	return nil
}

// leased says whether a client spoke of d since before.
func (r *Registry) leased(d digest.Digest, before time.Time) bool {
	r.leases.mu.Lock()
	defer r.leases.mu.Unlock()
	return r.leases.at[d].After(before)
}

// remove calls f unless a client speaks of d.
func (r *Registry) remove(d digest.Digest, before time.Time, f func() error) (bool, error) {
	r.leases.mu.Lock()
	defer r.leases.mu.Unlock()
	if r.leases.at[d].After(before) {
		return false, nil
	}
	if err := f(); err != nil && !unknown(err) {
		return false, err
	}
	return true, nil
}

func (r *Registry) sweep(ctx context.Context, f *found, before time.Time) (report Report, err error) {
	vacuum := storage.NewVacuum(ctx, r.driver)
	count := func(n *int, d digest.Digest, f func() error) error {
		gone, err := r.remove(d, before, f)
		if gone {
			*n++
		}
		return err
	}
	for _, m := range f.manifests {
		if err := count(&report.Manifests, m.digest, func() error { return vacuum.RemoveManifest(m.repository, m.digest, nil) }); err != nil {
			return report, err
		}
	}
	for _, l := range f.links {
		if err := count(&report.Links, l.digest, func() error { return vacuum.RemoveLayer(l.repository, l.digest) }); err != nil {
			return report, err
		}
	}
	var blobs []digest.Digest
	err = r.names.Blobs().Enumerate(ctx, func(d digest.Digest) error {
		if !f.keep[d] {
			blobs = append(blobs, d)
		}
		return nil
	})
	if err != nil && !unknown(err) {
		return report, err
	}
	for _, d := range blobs {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		if err := count(&report.Blobs, d, func() error { return vacuum.RemoveBlob(d.String()) }); err != nil {
			return report, err
		}
	}
	return report, nil
}

// Rhythm of collections.
const (
	Grace = 6 * time.Hour // how long what clients spoke of stays
	every = time.Hour
	// staleUpload is the age at which a client has given an upload up.
	staleUpload = 24 * time.Hour
)

// Run collects garbage until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		report, err := r.Collect(ctx, r.c.Now().Add(-Grace))
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			r.c.Log.ErrorContext(ctx, "the registry's garbage could not be collected", "error", err)
		case report != Report{}:
			r.c.Log.InfoContext(ctx, "registry.collected", "manifests", report.Manifests, "links", report.Links, "blobs", report.Blobs)
		}
	}
}
