package fleettest

import (
	"context"
	"io"
	"slices"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// base is what every snapshot here consists of.
const base = "sha256:base"

// SetFiles says what a sandbox has written.
func (r *Runner) SetFiles(id string, files []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sandboxes[id].files = files
}

// Files returns what a sandbox has written.
func (r *Runner) Files(id string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sandboxes[id]; s != nil {
		return slices.Clone(s.files)
	}
	return nil
}

// Export implements runnerapi.Files.
func (r *Runner) Export(ctx context.Context, id string, w io.Writer) (string, error) {
	if err := r.enter(ctx, "Export", id); err != nil {
		return "", err
	}
	r.mu.Lock()
	s, ok := r.sandboxes[id]
	r.mu.Unlock()
	if !ok {
		return "", fault.New(fault.NotFound, "sandbox %s is not here", id)
	}
	_, err := w.Write(s.files)
	return base, err
}

// Import implements runnerapi.Files.
func (r *Runner) Import(ctx context.Context, spec runnerapi.Spec, on string, files io.Reader) (runnerapi.Sandbox, error) {
	if err := r.enter(ctx, "Import", spec.ID); err != nil {
		return runnerapi.Sandbox{}, err
	}
	data, err := io.ReadAll(files)
	if err != nil {
		return runnerapi.Sandbox{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sandboxes[spec.ID]; ok {
		return r.viewLocked(spec.ID), nil
	}
	switch _, ok := r.snapshots[spec.Snapshot]; {
	case !ok:
		return runnerapi.Sandbox{}, fault.New(fault.NotFound, "snapshot %s is not here", spec.Snapshot)
	case on != "" && on != base:
		return runnerapi.Sandbox{}, fault.New(fault.Unprocessable, "snapshot %s is another one", spec.Snapshot)
	}
	delete(r.deleted, spec.ID)
	r.sandboxes[spec.ID] = &sandbox{spec: spec, state: runnerapi.StateStopped, at: time.Now(), files: data}
	return r.viewLocked(spec.ID), nil
}

// Fork implements runnerapi.Files.
func (r *Runner) Fork(ctx context.Context, from string, spec runnerapi.Spec) (runnerapi.Sandbox, error) {
	if err := r.enter(ctx, "Fork", spec.ID); err != nil {
		return runnerapi.Sandbox{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sandboxes[spec.ID]; ok {
		return r.viewLocked(spec.ID), nil
	}
	source, ok := r.sandboxes[from]
	switch {
	case !ok:
		return runnerapi.Sandbox{}, fault.New(fault.NotFound, "sandbox %s is not here", from)
	case source.state != runnerapi.StateStopped:
		return runnerapi.Sandbox{}, fault.New(fault.Conflict, "sandbox %s is not stopped", from)
	}
	r.sandboxes[spec.ID] = &sandbox{spec: spec, state: runnerapi.StateStopped, at: time.Now(), files: slices.Clone(source.files)}
	return r.viewLocked(spec.ID), nil
}
