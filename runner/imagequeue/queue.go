package imagequeue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// Job is the work on one image, as Config.Make gets it.
type Job struct {
	Spec runnerapi.ImageSpec
	Log  io.Writer // for people
	// Progress says how far the work is: pulling or building, and one line.
	Progress func(runnerapi.SnapshotState, string)
}

// Result is what is remembered of an image that was made.
type Result struct {
	Source     string   // names the content that was pulled or built
	Entrypoint []string // that the image got
	Tried      bool     // a sandbox of it has been started
}

// Config configures a Queue.
type Config struct {
	Dir      string // for records and logs; made when missing
	Parallel int    // jobs at once; at least 1
	// Make makes an image. When it returns without an error the image is there
	// under its name. It ends soon after ctx.
	Make func(ctx context.Context, job Job) (Result, error)
	// Changed is called after each change of what Snapshots tells of an image,
	// except of its progress. It must not block.
	Changed func(name string)
	Log     *slog.Logger
}

// Queue carries out jobs. Its methods may be called from any goroutine.
type Queue struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelCauseFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	jobs    map[string]*job
	turns   turns
	running int
	started bool
	closed  bool
}

type job struct {
	rec      record
	spec     runnerapi.ImageSpec // with secrets
	log      *log
	at       runnerapi.SnapshotState // while it is under way
	progress string
	cancel   context.CancelCauseFunc // of the work under way
	done     chan struct{}           // closed when the work under way has ended
	removing bool
}

// Open reads the records of an earlier process. Nothing is carried out before
// Start.
func Open(cfg Config) (*Queue, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("queue of images: %w", err)
	}
	recs, err := load(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("queue of images: %w", err)
	}
	q := &Queue{cfg: cfg, jobs: map[string]*job{}}
	q.cfg.Parallel = max(1, cfg.Parallel)
	q.ctx, q.cancel = context.WithCancelCause(context.Background())
	slices.SortStableFunc(recs, func(a, b record) int { return a.At.Compare(b.At) })
	for _, rec := range recs {
		j := &job{rec: rec, spec: rec.Spec, log: newLog(filepath.Join(q.dir(rec.Spec.Name), logFile))}
		if rec.State == waiting && rec.Secrets {
			j.rec.State, j.rec.Reason = interrupted, "the work was interrupted by a restart of the runner"
			if err := save(q.dir(rec.Spec.Name), j.rec); err != nil {
				return nil, fmt.Errorf("queue of images: %w", err)
			}
		}
		q.jobs[rec.Spec.Name] = j
		if j.rec.State == waiting {
			q.turns.push(rec.Spec.OrgID, rec.Spec.Name)
		}
	}
	return q, nil
}

func (q *Queue) dir(name string) string { return filepath.Join(q.cfg.Dir, dirName(name)) }

// Start begins to carry out what waits. There says which images exist: a
// job that counts as ready and whose image does not exist is forgotten.
func (q *Queue) Start(there func(name string) bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, j := range q.jobs {
		if j.rec.State == ready && !there(name) {
			if err := drop(q.dir(name)); err != nil {
				return err
			}
			delete(q.jobs, name)
		}
	}
	q.started = true
	q.dispatch()
	return nil
}

var errClosed = errors.New("the runner is shutting down")

// Close ends what is under way, which goes on after the next Open.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cancel(errClosed)
	q.work.Wait()
	return nil
}

// Ensure records a job durably, unless one for the name waits, is under way or
// has succeeded.
func (q *Queue) Ensure(spec runnerapi.ImageSpec) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return fault.Wrap(errClosed, fault.Unavailable, "the runner is shutting down")
	}
	j := q.jobs[spec.Name]
	if j != nil && j.removing {
		return fault.New(fault.Conflict, "image %s is being removed", spec.Name)
	}
	if j != nil && (j.rec.State == waiting || j.rec.State == ready) {
		return nil
	}
	dir := q.dir(spec.Name)
	rec := record{State: waiting, At: time.Now()}
	rec.Spec, rec.Secrets = public(spec)
	if err := save(dir, rec); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the runner cannot record the image %s", spec.Name)
	}
	if j == nil {
		j = &job{log: newLog(filepath.Join(dir, logFile))}
	}
	// An earlier attempt's log is not this one's.
	if err := os.Remove(j.log.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(err, fault.Unavailable, "the runner cannot record the image %s", spec.Name)
	}
	j.rec, j.spec = rec, spec
	q.jobs[spec.Name] = j
	q.turns.push(spec.OrgID, spec.Name)
	q.dispatch()
	q.cfg.Changed(spec.Name)
	return nil
}

// dispatch begins as much as may run at once. q.mu is held.
func (q *Queue) dispatch() {
	for q.started && !q.closed && q.running < q.cfg.Parallel {
		name, ok := q.turns.pop()
		if !ok {
			return
		}
		j := q.jobs[name]
		ctx, cancel := context.WithCancelCause(q.ctx)
		j.cancel, j.done, j.at, j.progress = cancel, make(chan struct{}), first(j.spec), ""
		q.running++
		q.work.Go(func() { q.carryOut(ctx, j) })
		// The others have moved up.
		for _, waiting := range q.turns.list() {
			q.cfg.Changed(waiting)
		}
	}
}

func first(spec runnerapi.ImageSpec) runnerapi.SnapshotState {
	if spec.Pull == nil {
		return runnerapi.SnapshotBuilding
	}
	return runnerapi.SnapshotPulling
}

func (q *Queue) carryOut(ctx context.Context, j *job) {
	name := j.rec.Spec.Name
	q.cfg.Changed(name)
	if err := j.log.begin(); err != nil {
		q.cfg.Log.Warn("the log of an image cannot be kept", "image", name, "error", err)
	}
	start := time.Now()
	res, err := q.cfg.Make(ctx, Job{Spec: j.spec, Log: j.log, Progress: func(at runnerapi.SnapshotState, line string) {
		q.mu.Lock()
		changed := j.at != at
		j.at, j.progress = at, line
		q.mu.Unlock()
		if changed {
			q.cfg.Changed(name)
		}
	}})
	rec := j.rec
	rec.At = time.Now()
	switch {
	case err == nil:
		rec.State, rec.Result, rec.Reason = ready, res, ""
		q.cfg.Log.Info("an image is ready", "image", name, "took", time.Since(start).Round(time.Millisecond))
	case ctx.Err() != nil:
		err = context.Cause(ctx) // closed: it stays waiting; removed: nobody asks
	default:
		rec.State, rec.Reason = failed, reason(err)
		fmt.Fprintf(j.log, "ERROR: %s\n", rec.Reason)
		q.cfg.Log.Warn("an image could not be made", "image", name, "error", err)
	}
	if rec.State != waiting {
		if serr := save(q.dir(name), rec); serr != nil {
			q.cfg.Log.Error("what became of an image is not recorded", "image", name, "error", serr)
		}
	}
	q.mu.Lock()
	j.rec, j.cancel = rec, nil
	if !errors.Is(err, errClosed) {
		j.spec = rec.Spec // its secrets are needed no more
	}
	q.running--
	q.dispatch()
	q.mu.Unlock()
	j.log.end()
	close(j.done)
	q.cfg.Changed(name)
}

// reason is what a person is told of a failure.
func reason(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Text
	}
	return "it failed for a reason that the runner's log tells"
}

var errRemoved = errors.New("the image is being removed")

// Remove ends the work on an image, calls gone when nothing is under way any
// more, and then forgets the job and its log. Unknown names are no error; gone
// is called for them too.
func (q *Queue) Remove(ctx context.Context, name string, gone func() error) error {
	q.mu.Lock()
	j := q.jobs[name]
	if j == nil {
		q.mu.Unlock()
		return gone()
	}
	j.removing = true
	q.turns.remove(name)
	var done chan struct{}
	if j.cancel != nil {
		j.cancel(errRemoved)
		done = j.done
	}
	q.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			return fault.Wrap(ctx.Err(), fault.Timeout, "the work on image %s has not ended yet", name)
		}
	}
	err := gone()
	if err == nil {
		if err = drop(q.dir(name)); err != nil {
			err = fault.Wrap(err, fault.Unavailable, "the record of image %s cannot be removed", name)
		}
	}
	q.mu.Lock()
	if err == nil && q.jobs[name] == j {
		delete(q.jobs, name)
	}
	q.mu.Unlock()
	j.log.change(func() {}) // whoever follows sees that it is over
	if err == nil {
		q.cfg.Changed(name)
	}
	return err
}

// OpenLog returns the log of an image, see runnerapi.Images.
func (q *Queue) OpenLog(ctx context.Context, name string, follow bool) (io.ReadCloser, error) {
	q.mu.Lock()
	j := q.jobs[name]
	q.mu.Unlock()
	if j == nil {
		return nil, fault.New(fault.NotFound, "image %s has no log", name)
	}
	rc, err := j.log.open(ctx, follow, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.jobs[name] != j || j.rec.State != waiting || q.closed
	})
	if errors.Is(err, fs.ErrNotExist) { // nothing was printed yet
		return io.NopCloser(strings.NewReader("")), nil
	}
	return rc, err
}

// Snapshots tells of every image that is not ready, by name.
func (q *Queue) Snapshots() []runnerapi.Snapshot {
	q.mu.Lock()
	defer q.mu.Unlock()
	place := map[string]int{}
	for i, name := range q.turns.list() {
		place[name] = i + q.running
	}
	var all []runnerapi.Snapshot
	for name, j := range q.jobs {
		s := runnerapi.Snapshot{Name: name, Entrypoint: j.rec.Spec.Entrypoint}
		switch {
		case j.rec.State == ready:
			continue
		case j.rec.State == failed, j.rec.State == interrupted:
			s.State, s.Reason, s.Interrupted = runnerapi.SnapshotFailed, j.rec.Reason, j.rec.State == interrupted
		case j.cancel != nil:
			s.State, s.Progress = j.at, j.progress
		default:
			s.State, s.Waiting = runnerapi.SnapshotPending, place[name]
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b runnerapi.Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Find tells of one image that is not ready.
func (q *Queue) Find(name string) (runnerapi.Snapshot, bool) {
	for _, s := range q.Snapshots() {
		if s.Name == name {
			return s, true
		}
	}
	return runnerapi.Snapshot{}, false
}

// Known returns the result of an image that was made of the same source with
// the same wish for an entrypoint.
func (q *Queue) Known(source string, entrypoint []string) (Result, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range q.jobs {
		if j.rec.State == ready && j.rec.Result.Tried && j.rec.Result.Source == source && slices.Equal(j.rec.Spec.Entrypoint, entrypoint) {
			return j.rec.Result, true
		}
	}
	return Result{}, false
}
