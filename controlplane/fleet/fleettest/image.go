package fleettest

import (
	"context"
	"io"
	"strings"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// EnsureImage implements runnerapi.Images: without a hook that says otherwise,
// every image is ready at once.
func (r *Runner) EnsureImage(ctx context.Context, spec runnerapi.ImageSpec) error {
	if err := r.enter(ctx, "EnsureImage", spec.Name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.snapshots[spec.Name]; ok && s.State != runnerapi.SnapshotFailed {
		return nil
	}
	r.snapshots[spec.Name] = runnerapi.Snapshot{Name: spec.Name, State: runnerapi.SnapshotReady, SizeBytes: 5e8, Entrypoint: spec.Entrypoint}
	r.tellLocked(runnerapi.Event{Snapshot: spec.Name})
	return nil
}

// RemoveImage implements runnerapi.Images.
func (r *Runner) RemoveImage(ctx context.Context, name string) error {
	if err := r.enter(ctx, "RemoveImage", name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.snapshots, name)
	r.tellLocked(runnerapi.Event{Snapshot: name})
	return nil
}

// ImageLog implements runnerapi.Images: every image that is here has an empty
// one.
func (r *Runner) ImageLog(ctx context.Context, name string, _ bool) (io.ReadCloser, error) {
	if err := r.enter(ctx, "ImageLog", name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.snapshots[name]; !ok {
		return nil, fault.New(fault.NotFound, "image %s has no log", name)
	}
	return io.NopCloser(strings.NewReader("")), nil
}

func (r *Runner) tellLocked(e runnerapi.Event) {
	for ch := range r.watchers {
		select {
		case ch <- e:
		default: // slow readers lose events
		}
	}
}
