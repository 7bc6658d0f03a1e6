package controlplanetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// images is the part of Runner that makes images.
type images struct {
	made map[string]*imageJob
	hook func(ctx context.Context, spec runnerapi.ImageSpec, log io.Writer) error
}

type imageJob struct {
	spec   runnerapi.ImageSpec
	log    *imageLog
	cancel context.CancelFunc
	done   chan struct{}
}

// OnImage carries out what EnsureImage asks for, in the background; what it
// writes is the image's log, and its error is why the image failed. It should
// end with ctx. Without it every image is ready soon.
func (r *Runner) OnImage(f func(ctx context.Context, spec runnerapi.ImageSpec, log io.Writer) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images.hook = f
}

// ImageSpecOf returns what an image was asked for with.
func (r *Runner) ImageSpecOf(name string) (runnerapi.ImageSpec, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.images.made[name]
	if j == nil {
		return runnerapi.ImageSpec{}, false
	}
	return j.spec, true
}

// EnsureImage implements runnerapi.Images.
func (r *Runner) EnsureImage(_ context.Context, spec runnerapi.ImageSpec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.down != nil:
		return r.down
	case spec.Name == "" || (spec.Pull == nil) == (spec.Build == nil):
		return fault.New(fault.Invalid, "image %q: a name, and either a reference to pull or a build, are required", spec.Name)
	}
	i := slices.IndexFunc(r.snapshots, func(s runnerapi.Snapshot) bool { return s.Name == spec.Name })
	if i >= 0 && r.snapshots[i].State != runnerapi.SnapshotFailed {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := &imageJob{spec: spec, log: &imageLog{grown: make(chan struct{})}, cancel: cancel, done: make(chan struct{})}
	if r.images.made == nil {
		r.images.made = map[string]*imageJob{}
	}
	r.images.made[spec.Name] = j
	state := runnerapi.SnapshotPulling
	if spec.Build != nil {
		state = runnerapi.SnapshotBuilding
	}
	r.setSnapshot(runnerapi.Snapshot{Name: spec.Name, State: state, Entrypoint: spec.Entrypoint})
	hook := r.images.hook
	go func() {
		defer close(j.done)
		var err error
		if hook != nil {
			err = hook(ctx, spec, j.log)
		} else {
			fmt.Fprintf(j.log, "making %s\n", spec.Name)
		}
		r.mu.Lock()
		if ctx.Err() == nil {
			s := runnerapi.Snapshot{Name: spec.Name, State: runnerapi.SnapshotReady, SizeBytes: 500_000_000, Entrypoint: spec.Entrypoint}
			if len(s.Entrypoint) == 0 {
				s.Entrypoint = []string{"sleep", "infinity"}
			}
			if err != nil {
				s = runnerapi.Snapshot{Name: spec.Name, State: runnerapi.SnapshotFailed, Reason: err.Error()}
			}
			r.setSnapshot(s)
		}
		r.mu.Unlock()
		j.log.end()
	}()
	return nil
}

// setSnapshot replaces or adds one, and tells who watches. r.mu is held.
func (r *Runner) setSnapshot(s runnerapi.Snapshot) {
	r.snapshots = append(slices.DeleteFunc(slices.Clone(r.snapshots), func(o runnerapi.Snapshot) bool { return o.Name == s.Name }), s)
	r.tell(runnerapi.Event{Snapshot: s.Name})
}

// tell sends an event to who watches. r.mu is held.
func (r *Runner) tell(e runnerapi.Event) {
	for _, ch := range r.watchers {
		select {
		case ch <- e:
		default:
		}
	}
}

// RemoveImage implements runnerapi.Images.
func (r *Runner) RemoveImage(_ context.Context, name string) error {
	r.mu.Lock()
	if r.down != nil {
		defer r.mu.Unlock()
		return r.down
	}
	j := r.images.made[name]
	delete(r.images.made, name)
	if j != nil {
		j.cancel()
	}
	r.mu.Unlock()
	if j != nil {
		<-j.done
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshots = slices.DeleteFunc(slices.Clone(r.snapshots), func(s runnerapi.Snapshot) bool { return s.Name == name })
	r.tell(runnerapi.Event{Snapshot: name})
	return nil
}

// ImageLog implements runnerapi.Images.
func (r *Runner) ImageLog(ctx context.Context, name string, follow bool) (io.ReadCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.images.made[name]
	switch {
	case r.down != nil:
		return nil, r.down
	case j == nil:
		return nil, fault.New(fault.NotFound, "image %s has no log", name)
	}
	return io.NopCloser(&imageLogReader{ctx: ctx, log: j.log, follow: follow}), nil
}

// imageLog is a log in memory.
type imageLog struct {
	mu    sync.Mutex
	b     bytes.Buffer
	over  bool
	grown chan struct{} // closed and replaced at each change
}

func (l *imageLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.grown)
	l.grown = make(chan struct{})
	return l.b.Write(p)
}

func (l *imageLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	close(l.grown)
	l.grown = make(chan struct{})
}

type imageLogReader struct {
	ctx    context.Context
	log    *imageLog
	follow bool
	off    int
}

func (r *imageLogReader) Read(p []byte) (int, error) {
	for {
		r.log.mu.Lock()
		n := copy(p, r.log.b.Bytes()[r.off:])
		over, grown := r.log.over, r.log.grown
		r.log.mu.Unlock()
		r.off += n
		switch {
		case n > 0:
			return n, nil
		case over || !r.follow:
			return 0, io.EOF
		}
		select {
		case <-grown:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}
