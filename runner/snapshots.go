package runner

import (
	"context"

	"daytona/api/runnerapi"
)

// Snapshots lists the images that sandboxes can be made from, and the default
// one while it is being made.
func (r *Runner) Snapshots(ctx context.Context) ([]runnerapi.Snapshot, error) {
	imgs, err := r.cfg.Roots.Images(ctx)
	if err != nil {
		return nil, err
	}
	list := []runnerapi.Snapshot{}
	for _, img := range imgs {
		if _, internal := img.Config.Labels[internalLabel]; internal || r.cfg.Snapshot != nil && img.Name == r.cfg.Snapshot.Base {
			continue
		}
		list = append(list, runnerapi.Snapshot{
			Name:       img.Name,
			State:      runnerapi.SnapshotReady,
			SizeBytes:  img.SizeBytes,
			Entrypoint: append(append([]string{}, img.Config.Entrypoint...), img.Config.Cmd...),
		})
	}
	if snap, ok := r.build.snapshot(); ok {
		for i := range list {
			if list[i].Name == snap.Name { // the old one serves until the new one is there
				return list, nil
			}
		}
		list = append(list, snap)
	}
	return list, nil
}

// internalLabel marks an image that is not a snapshot for users.
const internalLabel = "daytona.internal"
