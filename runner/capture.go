package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner/imagequeue"
	"daytona/runner/rootfs"
)

// capture makes an image of a sandbox's files. Whatever else is asked of the
// sandbox goes before; it is tried again after that, until the sandbox is gone.
func (r *Runner) capture(ctx context.Context, name string, job imagequeue.Job) (img rootfs.Image, err error) {
	id := job.Spec.Sandbox
	job.Progress(runnerapi.SnapshotBuilding, "reading the files of the sandbox")
	fmt.Fprintf(job.Log, "Reading the files of sandbox %s\n", id)
	check := func(sb *sandbox) (bool, error) {
		needed, err := hasFiles(sb)
		if err == nil && sb.rec.Spec.OrgID != job.Spec.OrgID {
			err = errUnknown(id)
		}
		return needed, err
	}
	for {
		err := r.operate(ctx, id, opExport, check, func(ctx context.Context, sb *sandbox) error {
			cfg, err := r.settings(ctx, sb.record())
			if err == nil {
				img, err = r.cfg.Roots.Capture(ctx, id, name, cfg, func(line string) { job.Progress(runnerapi.SnapshotBuilding, line) })
			}
			return becauseOf(ctx, err)
		})
		switch {
		case ctx.Err() != nil:
			return img, context.Cause(ctx)
		case errors.Is(err, errPreempted), fault.Is(err, fault.Conflict):
			if err := r.untilIdle(ctx, id); err != nil {
				return img, err
			}
		case fault.Is(err, fault.NotFound):
			return img, fault.Wrap(err, fault.Unprocessable, "sandbox %s, whose files it was to hold, is not on this runner (any more)", id)
		default:
			return img, err
		}
	}
}

// settings is the configuration of the image that a sandbox was made of. That it
// was made of a definition of ours says nothing of what is made of the sandbox.
func (r *Runner) settings(ctx context.Context, rec record) (ocispec.ImageConfig, error) {
	var cfg ocispec.ImageConfig
	if rec.Settings != nil {
		cfg = *rec.Settings
	} else {
		img, err := r.cfg.Roots.Image(ctx, rec.Spec.Snapshot)
		if err != nil {
			return cfg, err
		}
		cfg = img.Config
	}
	cfg.Labels = maps.Clone(cfg.Labels)
	delete(cfg.Labels, definitionLabel)
	return cfg, nil
}

// captured is what is remembered of such an image: its program is that of the
// image below, which has been tried.
func captured(img rootfs.Image) imagequeue.Result {
	return imagequeue.Result{Source: img.Digest, Tried: true, Entrypoint: slices.Concat(img.Config.Entrypoint, img.Config.Cmd)}
}

// untilIdle waits until nothing is done with a sandbox.
func (r *Runner) untilIdle(ctx context.Context, id string) error {
	sb, err := r.entry(id, false)
	if err != nil {
		return nil //nolint:nilerr // whoever looks next says that it is gone
	}
	sb.mu.Lock()
	op := sb.op
	sb.mu.Unlock()
	if op == nil {
		return nil
	}
	select {
	case <-op.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
