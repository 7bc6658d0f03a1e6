package rootfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// Image is an image that is unpacked and ready for roots.
type Image struct {
	Name      string
	Digest    string            // of the manifest
	Pulled    string            // digest that its reference stood for; set by Pull alone
	SizeBytes int64             // unpacked
	Layers    []runnerapi.Layer // the topmost first
	Config    ocispec.ImageConfig
	CreatedAt time.Time // when the name got this content here
}

// unpacked is an image with what is needed to build on it.
type unpacked struct {
	Image
	manifest ocispec.Descriptor
	layers   []ocispec.Descriptor
	spec     ocispec.Image
	chain    string // of all layers; "" for an image without any
}

// chainLabel of an image, which only this store sets, names the topmost layer
// of one that was built here: its layers have never been archives, so that they
// have no digest to be found by.
const chainLabel = "daytona.io/chain"

// viewPrefix starts the keys of the snapshots that keep layers from being
// collected: one per chain in use, shared by all roots on it, so that making a
// root writes nothing to the databases.
const viewPrefix = "use/"

// Images lists the images by name.
func (s *Store) Images(ctx context.Context) ([]Image, error) {
	ctx = s.scope(ctx)
	list, err := s.images.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	out := make([]Image, 0, len(list))
	for _, im := range list {
		u, err := s.resolve(ctx, im)
		if err != nil {
			// A damaged image must not hide the others.
			s.log.Error("image is damaged", "image", im.Name, "err", err)
			continue
		}
		out = append(out, u.Image)
	}
	slices.SortFunc(out, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Image returns one image by name.
func (s *Store) Image(ctx context.Context, name string) (Image, error) {
	u, err := s.lookup(s.scope(ctx), name)
	return u.Image, err
}

// lookup finds an image by name, from memory when it was looked up before.
func (s *Store) lookup(ctx context.Context, name string) (unpacked, error) {
	s.pin.Lock()
	defer s.pin.Unlock()
	return s.lookupLocked(ctx, name)
}

func (s *Store) lookupLocked(ctx context.Context, name string) (unpacked, error) {
	if u, ok := s.byName[name]; ok {
		return u, nil
	}
	im, err := s.images.Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return unpacked{}, fault.New(fault.NotFound, "image %q not found", name)
	}
	if err != nil {
		return unpacked{}, fmt.Errorf("image %q: %w", name, err)
	}
	u, err := s.resolve(ctx, im)
	if err != nil {
		return unpacked{}, err
	}
	s.byName[name] = u
	return u, nil
}

// resolve reads what an image is made of.
func (s *Store) resolve(ctx context.Context, im images.Image) (unpacked, error) {
	u, err := s.readManifest(ctx, im.Target, im.Labels[chainLabel])
	if err != nil {
		return unpacked{}, fmt.Errorf("image %q: %w", im.Name, err)
	}
	u.Name, u.Digest, u.CreatedAt = im.Name, im.Target.Digest.String(), im.UpdatedAt
	for layer := u.chain; layer != ""; {
		info, err := s.snaps.Stat(ctx, layer)
		if err != nil {
			return unpacked{}, fmt.Errorf("image %q: layer %s: %w", im.Name, layer, err)
		}
		use, err := s.snaps.Usage(ctx, layer)
		if err != nil {
			return unpacked{}, fmt.Errorf("image %q: layer %s: %w", im.Name, layer, err)
		}
		u.SizeBytes += use.Size
		u.Layers = append(u.Layers, runnerapi.Layer{ID: layer, SizeBytes: use.Size})
		layer = info.Parent
	}
	return u, nil
}

// readManifest reads a manifest and its configuration. chain is what the image
// is labelled with.
func (s *Store) readManifest(ctx context.Context, desc ocispec.Descriptor, chain string) (unpacked, error) {
	m, err := images.Manifest(ctx, s.content, desc, platforms.Default())
	if err != nil {
		return unpacked{}, fmt.Errorf("manifest: %w", err)
	}
	b, err := content.ReadBlob(ctx, s.content, m.Config)
	if err != nil {
		return unpacked{}, fmt.Errorf("configuration: %w", err)
	}
	u := unpacked{manifest: desc, layers: m.Layers}
	if err := json.Unmarshal(b, &u.spec); err != nil {
		return unpacked{}, fmt.Errorf("configuration: %w", err)
	}
	u.Config = u.spec.Config
	u.chain = chain
	if chain == "" {
		u.chain = chainID(u.spec.RootFS.DiffIDs)
	}
	return u, nil
}

func chainID(diffIDs []digest.Digest) string {
	if len(diffIDs) == 0 {
		return ""
	}
	return identity.ChainID(slices.Clone(diffIDs)).String()
}

// RemoveImage removes a name and frees what nothing else uses. Roots made from
// the image keep their layers.
func (s *Store) RemoveImage(ctx context.Context, name string) error {
	ctx = s.scope(ctx)
	s.pin.Lock()
	defer s.pin.Unlock()
	err := s.images.Delete(ctx, name)
	delete(s.byName, name)
	if errdefs.IsNotFound(err) {
		return fault.New(fault.NotFound, "image %q not found", name)
	}
	if err != nil {
		return fmt.Errorf("remove image %q: %w", name, err)
	}
	return s.collectLocked(ctx)
}

// publish gives a complete, unpacked manifest a name. chain is "" unless it was
// built here. The caller holds a lease on all of it.
func (s *Store) publish(ctx context.Context, name string, desc ocispec.Descriptor, chain string) (Image, error) {
	u, err := s.readManifest(ctx, desc, chain)
	if err != nil {
		return Image{}, err
	}
	// The databases are written through to the disk, the unpacked files are not:
	// after a power loss an image must not be there with empty files. Those of
	// layers in use were written when their first image was published.
	if _, err := s.snaps.Stat(ctx, viewPrefix+u.chain); err != nil {
		if err := s.syncLayers(); err != nil {
			return Image{}, err
		}
	}
	s.pin.Lock()
	defer s.pin.Unlock()
	if _, err := s.lowersLocked(ctx, u.chain); err != nil {
		return Image{}, err
	}
	im := images.Image{Name: name, Target: desc}
	if chain != "" {
		im.Labels = map[string]string{chainLabel: chain}
	}
	stored, err := s.images.Create(ctx, im)
	replaced := errdefs.IsAlreadyExists(err)
	if replaced {
		stored, err = s.images.Update(ctx, im, "target", "labels")
	}
	if err != nil {
		return Image{}, fmt.Errorf("store image %q: %w", name, err)
	}
	delete(s.byName, name)
	if u, err = s.resolve(ctx, stored); err != nil {
		return Image{}, err
	}
	s.byName[name] = u
	if replaced {
		s.collectSoon()
	}
	return u.Image, nil
}

func (s *Store) syncLayers() error {
	fd, err := unix.Open(s.path("snapshots"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("sync layers: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written through it
	if err := unix.Syncfs(fd); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the runner's disk cannot store the image")
	}
	return nil
}

// lowersLocked pins a chain of layers and returns the directories of its
// layers, the topmost first.
func (s *Store) lowersLocked(ctx context.Context, chain string) ([]string, error) {
	key := viewPrefix + chain
	mounts, err := s.snaps.Mounts(ctx, key)
	if errdefs.IsNotFound(err) {
		mounts, err = s.snaps.View(ctx, key, chain, snapshots.WithLabels(map[string]string{
			"containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339),
		}))
	}
	if err != nil {
		return nil, fmt.Errorf("layers %s: %w", chain, err)
	}
	if len(mounts) != 1 {
		return nil, fmt.Errorf("layers %s: %d mounts", chain, len(mounts))
	}
	switch mounts[0].Type {
	case "bind":
		return []string{mounts[0].Source}, nil
	case "overlay":
		for _, o := range mounts[0].Options {
			if l, ok := strings.CutPrefix(o, "lowerdir="); ok {
				return strings.Split(l, ":"), nil
			}
		}
	}
	return nil, fmt.Errorf("layers %s: unexpected mount %v", chain, mounts[0])
}

// collectLocked unpins chains that no image and no root uses and frees whatever
// is then unreachable.
func (s *Store) collectLocked(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	used := map[string]bool{}
	for _, r := range s.roots {
		used[r.Chain] = true
	}
	list, err := s.images.List(ctx)
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	for _, im := range list {
		u, err := s.readManifest(ctx, im.Target, im.Labels[chainLabel])
		if err != nil {
			s.log.Error("image is damaged", "image", im.Name, "err", err)
			continue
		}
		used[u.chain] = true
	}
	var drop []string
	err = s.snaps.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if c, ok := strings.CutPrefix(info.Name, viewPrefix); ok && !used[c] {
			drop = append(drop, info.Name)
		}
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("collect: %w", err)
	}
	for _, key := range drop {
		if err := s.snaps.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("collect %s: %w", key, err)
		}
	}
	return s.sweep(ctx)
}

// sweep frees content and layers that nothing refers to.
func (s *Store) sweep(ctx context.Context) error {
	if _, err := s.db.GarbageCollect(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	return nil
}

// collectSoon collects in the background: deleting a large tree takes seconds
// that no request should wait for.
func (s *Store) collectSoon() {
	if s.stopping.Err() != nil {
		return
	}
	s.work.Go(func() {
		s.pin.Lock()
		defer s.pin.Unlock()
		if s.stopping.Err() != nil {
			return // Open collects too
		}
		if err := s.collectLocked(s.scope(context.Background())); err != nil {
			s.log.Error("unused layers cannot be freed", "err", err)
		}
	})
}

// settleImages clears what a killed process left in containerd's stores, and
// makes sure that every root still has its layers.
func (s *Store) settleImages(ctx context.Context) error {
	old, err := s.leases.List(ctx)
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	// We are the only process: whatever a lease of work protected has been given
	// up. The builder's protect its cache, and are its own to judge.
	for _, l := range old {
		if _, kept := l.Labels[flatLease]; kept && l.Labels[temporaryLease] == "" {
			continue
		}
		if err := s.leases.Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("lease %s: %w", l.ID, err)
		}
	}
	if err := s.seedGarbage(ctx); err != nil {
		return err
	}
	s.pin.Lock()
	defer s.pin.Unlock()
	if err := s.forgetDamaged(ctx); err != nil {
		return err
	}
	for _, r := range s.roots {
		if _, err := s.lowersLocked(ctx, r.Chain); err != nil {
			s.log.Error("the layers of a root are missing", "root", r.ID, "err", err)
		}
	}
	return s.collectLocked(ctx)
}

// forgetDamaged removes the names of images of which something is missing: under
// a name that is free the image can be made anew.
func (s *Store) forgetDamaged(ctx context.Context) error {
	list, err := s.images.List(ctx)
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	for _, im := range list {
		_, err := s.resolve(ctx, im)
		if !errdefs.IsNotFound(err) {
			continue // whole, or something else is wrong that may pass
		}
		s.log.Error("an image is damaged and is forgotten", "image", im.Name, "err", err)
		if err := s.images.Delete(ctx, im.Name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove image %q: %w", im.Name, err)
		}
	}
	return nil
}

// seedGarbage stores a layer and some content that nothing refers to. A kill
// between a store's own write and that of the metadata leaves files that only a
// full comparison finds, and the collector makes one only for stores in which it
// has something to remove.
func (s *Store) seedGarbage(ctx context.Context) error {
	entries, err := os.ReadDir(s.path("content", "ingest"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries { // downloads are begun anew, not resumed
		if err := os.RemoveAll(s.path("content", "ingest", e.Name())); err != nil {
			return err
		}
	}
	b := []byte("garbage\n")
	desc := ocispec.Descriptor{Digest: digest.FromBytes(b), Size: int64(len(b))}
	if err := content.WriteBlob(ctx, s.content, "garbage", bytes.NewReader(b), desc); err != nil {
		return fmt.Errorf("image content: %w", err)
	}
	if _, err := s.snaps.View(ctx, "garbage", ""); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("image layers: %w", err)
	}
	return nil
}

// Labels of leases: the builder's cache has a flat one for each of its records,
// and a temporary one for each build.
const (
	flatLease      = "containerd.io/gc.flat"
	temporaryLease = "buildkit/lease.temporary"
)

// leased runs work whose content and layers are kept while it lasts. What it
// did not publish is freed before leased returns an error, so that nothing
// half done or damaged is found by the next attempt.
func (s *Store) leased(ctx context.Context, work func(context.Context) (Image, error)) (Image, error) {
	l, err := s.leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(24*time.Hour))
	if err != nil {
		return Image{}, fmt.Errorf("lease: %w", err)
	}
	im, err := work(leases.WithLease(ctx, l.ID))
	clean := context.WithoutCancel(ctx)
	if derr := s.leases.Delete(clean, l); derr != nil {
		err = errors.Join(err, fmt.Errorf("lease: %w", derr))
	}
	if err != nil {
		if serr := s.sweep(clean); serr != nil {
			s.log.Error("remains of a failed image cannot be freed", "err", serr)
		}
		return Image{}, err
	}
	return im, nil
}

// lowerBase splits lower directories into their common directory, that of all
// layers, and names relative to it.
func (s *Store) lowerBase(lowers []string) (base string, rel []string, err error) {
	base = s.path("snapshots", "snapshots")
	for _, l := range lowers {
		r, err := filepath.Rel(base, l)
		if err != nil || !filepath.IsLocal(r) {
			return "", nil, fmt.Errorf("layer %s lies outside of %s", l, base)
		}
		rel = append(rel, r)
	}
	return base, rel, nil
}
