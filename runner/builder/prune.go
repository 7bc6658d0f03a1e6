package builder

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/client"
	containerdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"golang.org/x/sync/errgroup"
)

// Prune implements runner.Builder.
func (b *Builder) Prune() {
	if b.stopping.Err() != nil {
		return
	}
	b.work.Go(func() {
		if err := b.prune(b.stopping, b.cfg.CacheBytes); err != nil && b.stopping.Err() == nil {
			b.log.Warn("the build cache could not be pruned", "error", err)
		}
	})
}

// prune removes from the build cache what was used least recently, until it
// holds at most keep bytes. What an image, a sandbox or a build under way needs
// is not removed, and does not count.
func (b *Builder) prune(ctx context.Context, keep int64) error {
	b.mu.Lock()
	e := b.engine
	b.mu.Unlock()
	if e == nil {
		return nil
	}
	freed := make(chan client.UsageInfo)
	var bytes int64
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(freed)
		info := client.PruneInfo{All: true}
		if keep > 0 {
			info.MaxUsedSpace = keep
		}
		return e.worker.CacheMgr.Prune(ctx, freed, info)
	})
	g.Go(func() error {
		for u := range freed {
			bytes += u.Size
		}
		return nil
	})
	err := g.Wait()
	if bytes > 0 {
		b.log.Info("the build cache was pruned", "freed", bytes)
	}
	return err
}

// Keys of BuildKit's records, as in its package cache.
const (
	committedKey    = "snapshot.committed"
	layerKey        = "cache.snapshot"
	equalMutableKey = "cache.equalMutable"
	blobOnlyKey     = "cache.blobonly"
	mergeKey        = "cache.mergeParents"
	diffLowerKey    = "cache.lowerDiffParent"
	diffUpperKey    = "cache.upperDiffParent"
)

// dropHollow removes records of layers that are not there any more. BuildKit does
// not flush its records, so a power cut can bring back one that was removed, and
// each build that begins from it would fail for ever. Records that have it for a
// parent are dropped by BuildKit itself when it starts.
func (b *Builder) dropHollow(ctx context.Context, md *metadata.Store) error {
	records, err := md.All()
	if err != nil {
		return err
	}
	shared := b.cfg.Store.Share()
	layers := containerdsnapshot.NewSnapshotter(shared.Snapshotter, shared.Snapshots, shared.Namespace, nil)
	dropped := 0
	for _, r := range records {
		if !holds(r, committedKey) || holds(r, blobOnlyKey) || r.Get(equalMutableKey) != nil {
			continue // it has no layer of its own yet
		}
		if r.Get(mergeKey) != nil || r.Get(diffLowerKey) != nil || r.Get(diffUpperKey) != nil {
			continue // as of COPY --link: its layer is made of others when it is needed
		}
		id := r.ID()
		if v := r.Get(layerKey); v != nil {
			if err := v.Unmarshal(&id); err != nil {
				return fmt.Errorf("record %s: %w", r.ID(), err)
			}
		}
		_, err := layers.Stat(ctx, id)
		if err == nil {
			continue
		}
		if !errdefs.IsNotFound(err) {
			return fmt.Errorf("layer %s: %w", id, err)
		}
		if err := md.Clear(r.ID()); err != nil {
			return fmt.Errorf("record %s: %w", r.ID(), err)
		}
		dropped++
	}
	if dropped > 0 {
		b.log.Warn("the build cache named layers that are gone; it forgets them", "layers", dropped)
	}
	return nil
}

// holds reports whether a record has a mark.
func holds(r *metadata.StorageItem, key string) bool {
	v := r.Get(key)
	var is bool
	return v != nil && v.Unmarshal(&is) == nil && is
}

// dropOrphans removes leases without a record in the cache, which a kill between
// the two leaves: nothing else would ever free what they protect.
func (b *Builder) dropOrphans(ctx context.Context) error {
	usage, err := b.engine.worker.CacheMgr.DiskUsage(ctx, client.DiskUsageInfo{})
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, u := range usage {
		known[u.ID] = true
	}
	leases := b.engine.worker.LeaseManager()
	all, err := leases.List(ctx)
	if err != nil {
		return err
	}
	dropped := 0
	for _, l := range all {
		id, _, _ := strings.Cut(l.ID, "-")
		if _, flat := l.Labels["containerd.io/gc.flat"]; !flat || known[id] || known[l.ID] {
			continue
		}
		if err := leases.Delete(ctx, l); err != nil {
			return err
		}
		dropped++
	}
	if dropped == 0 {
		return nil
	}
	b.log.Info("leases of a killed build were dropped", "leases", dropped)
	_, err = b.cfg.Store.Share().Collect(ctx)
	return err
}
