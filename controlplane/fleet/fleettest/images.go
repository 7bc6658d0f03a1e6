package fleettest

import (
	"context"
	"io"
	"strings"
	"sync"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

var _ runnerapi.Images = (*Runner)(nil)

// images is what a Runner was told about images. Nothing is made of it by
// itself: SetImage says how far one is.
type images struct {
	specs map[string]runnerapi.ImageSpec
	logs  map[string]*log
}

// log is what making an image printed.
type log struct {
	mu    sync.Mutex
	more  sync.Cond
	text  string
	ended bool
}

// EnsureImage implements runnerapi.Images. The image waits for its turn from
// then on, unless it is there.
func (r *Runner) EnsureImage(ctx context.Context, spec runnerapi.ImageSpec) error {
	if err := r.enter(ctx, "EnsureImage", spec.Name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.specsOf()[spec.Name] = spec
	if have, ok := r.snapshots[spec.Name]; !ok || have.State == runnerapi.SnapshotFailed {
		r.snapshots[spec.Name] = runnerapi.Snapshot{Name: spec.Name, State: runnerapi.SnapshotPending}
		r.tellLocked(runnerapi.Event{Snapshot: spec.Name})
	}
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
	delete(r.specsOf(), name)
	delete(r.images.logs, name)
	r.tellLocked(runnerapi.Event{Snapshot: name})
	return nil
}

// ImageLog implements runnerapi.Images.
func (r *Runner) ImageLog(ctx context.Context, name string, follow bool) (io.ReadCloser, error) {
	if err := r.enter(ctx, "ImageLog", name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	l := r.images.logs[name]
	r.mu.Unlock()
	if l == nil {
		return nil, fault.New(fault.NotFound, "no log of %s", name)
	}
	reader := &logReader{log: l, follow: follow, ctx: ctx}
	reader.stop = context.AfterFunc(ctx, l.more.Broadcast)
	return reader, nil
}

// SetImage changes what the runner says about an image and tells the watchers.
func (r *Runner) SetImage(s runnerapi.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshots[s.Name] = s
	r.tellLocked(runnerapi.Event{Snapshot: s.Name})
}

// DropImage forgets an image, as collecting garbage does.
func (r *Runner) DropImage(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.snapshots, name)
	delete(r.specsOf(), name)
}

// Print adds to the log of an image; end says that nothing follows.
func (r *Runner) Print(name, text string, end bool) {
	r.mu.Lock()
	r.specsOf()
	l := r.images.logs[name]
	if l == nil {
		l = &log{}
		l.more.L = &l.mu
		r.images.logs[name] = l
	}
	r.mu.Unlock()
	l.mu.Lock()
	l.text, l.ended = l.text+text, l.ended || end
	l.mu.Unlock()
	l.more.Broadcast()
}

// ImageSpec returns what the runner was told to make.
func (r *Runner) ImageSpec(name string) (runnerapi.ImageSpec, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.specsOf()[name]
	return s, ok
}

// specsOf is the map of specs, made at first use. r.mu is held.
func (r *Runner) specsOf() map[string]runnerapi.ImageSpec {
	if r.images.specs == nil {
		r.images = images{specs: map[string]runnerapi.ImageSpec{}, logs: map[string]*log{}}
	}
	return r.images.specs
}

type logReader struct {
	*log
	follow bool
	ctx    context.Context //nolint:containedctx // Read has none
	stop   func() bool
	at     int
}

func (l *logReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.at == len(l.text) && l.follow && !l.ended {
		if err := l.ctx.Err(); err != nil {
			return 0, err
		}
		l.more.Wait()
	}
	n, err := strings.NewReader(l.text[l.at:]).Read(p)
	l.at += n
	return n, err
}

func (l *logReader) Close() error {
	l.stop()
	return nil
}

func (r *Runner) tellLocked(e runnerapi.Event) {
	for ch := range r.watchers {
		select {
		case ch <- e:
		default: // slow readers lose events
		}
	}
}
