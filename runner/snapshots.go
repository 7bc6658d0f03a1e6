package runner

import (
	"context"
	"slices"
	"strings"

	"daytona/api/runnerapi"
)

// Snapshots lists the images that sandboxes can be made from, and ours while
// they are being made.
func (r *Runner) Snapshots(ctx context.Context) ([]runnerapi.Snapshot, error) {
	imgs, err := r.cfg.Roots.Images(ctx)
	if err != nil {
		return nil, err
	}
	list := []runnerapi.Snapshot{}
	for _, img := range imgs {
		if _, internal := img.Config.Labels[internalLabel]; internal || r.isBase(img.Name) || strings.HasPrefix(img.Name, stagingPrefix) {
			continue
		}
		list = append(list, runnerapi.Snapshot{
			Name:       img.Name,
			State:      runnerapi.SnapshotReady,
			SizeBytes:  img.SizeBytes,
			Layers:     img.Layers,
			Digest:     img.Config.Labels[pulledLabel],
			Entrypoint: append(append([]string{}, img.Config.Entrypoint...), img.Config.Cmd...),
			Isolation:  img.Config.Labels[runnerapi.IsolationLabel],
		})
	}
	for _, snap := range append(r.builds.all(), r.images.Snapshots()...) {
		// An old one serves until the new one is there.
		if !slices.ContainsFunc(list, func(s runnerapi.Snapshot) bool { return s.Name == snap.Name }) {
			list = append(list, snap)
		}
	}
	return list, nil
}

// isBase says whether an image is only there for snapshots to be made from.
func (r *Runner) isBase(name string) bool {
	for _, cfg := range r.cfg.Snapshots {
		if cfg.Base == name && cfg.MakeBase != nil {
			return true
		}
	}
	return false
}

// pulledLabel has the digest that the reference of a pulled image stood for. It
// is part of the image, so that one is never there without the other.
const pulledLabel = "daytona.pulled"

// internalLabel marks an image that is not a snapshot for users.
const internalLabel = "daytona.internal"
