package builder

import (
	"context"
	"strings"

	"github.com/moby/buildkit/client"
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
