package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/images"
	"daytona/internal/fault"
)

// definitionLabel of an image holds the hash of the definition that made it.
const definitionLabel = "daytona.definition"

// builds are the snapshots that are being made, or could not be.
type builds struct {
	mu    sync.Mutex
	snaps []runnerapi.Snapshot // in the order of their beginning
}

func (b *builds) set(snap runnerapi.Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.snaps {
		if b.snaps[i].Name == snap.Name {
			b.snaps[i] = snap
			return
		}
	}
	b.snaps = append(b.snaps, snap)
}

func (b *builds) remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.snaps = slices.DeleteFunc(b.snaps, func(s runnerapi.Snapshot) bool { return s.Name == name })
}

func (b *builds) get(name string) (runnerapi.Snapshot, bool) {
	for _, snap := range b.all() {
		if snap.Name == name {
			return snap, true
		}
	}
	return runnerapi.Snapshot{}, false
}

func (b *builds) all() []runnerapi.Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.snaps)
}

// snapshotsLoop makes our snapshots, and tries again after a failure, at
// growing intervals.
func (r *Runner) snapshotsLoop(ctx context.Context) {
	pause := 10 * time.Second
	for {
		err := r.EnsureSnapshots(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		r.log.Error("a snapshot could not be made", "error", err, "retry", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, 10*time.Minute)
	}
}

// EnsureSnapshots makes our snapshots from their definitions, one after the
// other, except those of which an image made from the same definition exists. It
// returns once they are ready. Snapshots shows the progress meanwhile.
func (r *Runner) EnsureSnapshots(ctx context.Context) error {
	var errs []error
	for _, cfg := range r.cfg.Snapshots {
		errs = append(errs, r.ensure(ctx, cfg))
	}
	return errors.Join(errs...)
}

func (r *Runner) ensure(ctx context.Context, cfg *SnapshotConfig) error {
	def := cfg.Definition
	img, err := r.cfg.Roots.Image(ctx, def.Name)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err == nil && img.Config.Labels[definitionLabel] == def.Hash {
		r.wakeRefill()
		return r.removeCheckpoints(ctx, def.Name) // of a process that was killed at the end
	}
	start := time.Now()
	progress := func(line string) {
		r.log.Info("making a snapshot", "snapshot", def.Name, "progress", line)
		r.builds.set(runnerapi.Snapshot{Name: def.Name, State: runnerapi.SnapshotBuilding, Progress: line, Entrypoint: def.Config.Entrypoint})
	}
	progress("beginning")
	if err := r.makeSnapshot(ctx, cfg, progress); err != nil {
		var f *fault.Error
		reason := "it could not be made; the runner's log says why"
		if errors.As(err, &f) {
			reason = f.Text
		}
		r.builds.set(runnerapi.Snapshot{Name: def.Name, State: runnerapi.SnapshotFailed, Reason: reason, Entrypoint: def.Config.Entrypoint})
		return fmt.Errorf("snapshot %s: %w", def.Name, err)
	}
	r.builds.remove(def.Name)
	r.log.Info("a snapshot is ready", "snapshot", def.Name, "took", time.Since(start).Round(time.Second))
	r.wakeRefill()
	return nil
}

// makeSnapshot runs a definition, from where an earlier attempt got to.
func (r *Runner) makeSnapshot(ctx context.Context, cfg *SnapshotConfig, progress func(string)) error {
	def := cfg.Definition
	base, done, err := r.resume(ctx, cfg, progress)
	if err != nil {
		return err
	}
	for done < len(def.Steps) {
		end := segment(def, done)
		name, change := checkpoint(def, end), func(c *ocispec.ImageConfig) { c.Labels = map[string]string{internalLabel: "true"} }
		if end == len(def.Steps) {
			name, change = def.Name, func(c *ocispec.ImageConfig) { configure(c, def) }
		}
		if err := r.runSegment(ctx, cfg, base, done, end, progress, func(ctx context.Context, id string) error {
			progress("keeping the result")
			return r.commitBuild(ctx, id, name, change)
		}); err != nil {
			return err
		}
		base, done = name, end
	}
	return r.removeCheckpoints(ctx, def.Name)
}

// segment returns the end of the steps that run in one sandbox after the first
// done ones: behind the next step whose result is kept.
func segment(def images.Definition, done int) int {
	for i := done; i < len(def.Steps); i++ {
		if def.Steps[i].Keep {
			return i + 1
		}
	}
	return len(def.Steps)
}

// checkpointPrefix begins the names of images that hold the first steps of
// definitions.
const checkpointPrefix = "checkpoint/"

// checkpoint names the image that holds the first steps of a definition.
func checkpoint(def images.Definition, steps int) string {
	_, hash, _ := strings.Cut(def.Hash, ":")
	return fmt.Sprintf("%s%s/%d-%s", checkpointPrefix, def.Name, steps, hash[:min(16, len(hash))])
}

// resume returns the image to begin with, and how many steps it holds.
func (r *Runner) resume(ctx context.Context, cfg *SnapshotConfig, progress func(string)) (base string, done int, err error) {
	def := cfg.Definition
	for n := len(def.Steps) - 1; n > 0; n-- {
		if !def.Steps[n-1].Keep {
			continue
		}
		if _, err := r.cfg.Roots.Image(ctx, checkpoint(def, n)); err == nil {
			progress(fmt.Sprintf("going on behind step %d of %d", n, len(def.Steps)))
			return checkpoint(def, n), n, nil
		}
	}
	_, err = r.cfg.Roots.Image(ctx, cfg.Base)
	if fault.Is(err, fault.NotFound) {
		if cfg.MakeBase == nil {
			return "", 0, fault.New(fault.Unavailable, "the snapshot %s, which it is made on top of, is not there yet", cfg.Base)
		}
		err = cfg.MakeBase(ctx, cfg.Base, progress)
	}
	if err != nil {
		return "", 0, fmt.Errorf("its base: %w", err)
	}
	return cfg.Base, 0, nil
}

// removeCheckpoints forgets those of a snapshot that is ready. Its image has
// what it needs of them.
func (r *Runner) removeCheckpoints(ctx context.Context, snapshot string) error {
	imgs, err := r.cfg.Roots.Images(ctx)
	errs := []error{err}
	for _, img := range imgs {
		if strings.HasPrefix(img.Name, checkpointPrefix+snapshot+"/") {
			errs = append(errs, r.cfg.Roots.RemoveImage(ctx, img.Name))
		}
	}
	return errors.Join(errs...)
}

// runSegment runs the steps from one to another in a sandbox of its own, and then
// calls keep.
func (r *Runner) runSegment(ctx context.Context, cfg *SnapshotConfig, base string, from, to int, progress func(string), keep func(ctx context.Context, id string) error) error {
	isolation := cfg.Isolation
	if _, err := r.driver(isolation); err != nil {
		isolation = ""
	}
	spec := r.cfg.complete(runnerapi.Spec{
		ID:        uuid.NewString(),
		Snapshot:  base,
		Isolation: isolation,
		User:      "root",
		CPU:       float64(runtime.NumCPU()),
		MemoryMiB: 4096,
		DiskMiB:   10240,
	})
	progress("starting a sandbox to build in")
	always := func(*sandbox) (bool, error) { return true, nil }
	err := r.operate(ctx, spec.ID, opCreate, always, func(ctx context.Context, sb *sandbox) error {
		return r.makeNew(ctx, sb, record{Spec: spec, Driver: spec.Isolation, Build: true})
	})
	defer func() {
		ctx, cancel := afterwards(ctx)
		defer cancel()
		derr := r.operate(ctx, spec.ID, opDelete, always, func(ctx context.Context, sb *sandbox) error { return r.destroy(ctx, sb, false) })
		if derr != nil && !fault.Is(derr, fault.NotFound) {
			r.log.Warn("the sandbox in which a snapshot was made stays", "sandbox", spec.ID, "error", derr)
		}
	}()
	if err != nil {
		return fmt.Errorf("sandbox to build in: %w", err)
	}
	if err := r.runDefinition(ctx, spec.ID, cfg, from, to, progress); err != nil {
		return err
	}
	return keep(ctx, spec.ID)
}

// runDefinition runs the steps from one to another.
func (r *Runner) runDefinition(ctx context.Context, id string, cfg *SnapshotConfig, from, to int, progress func(string)) error {
	sb, err := r.entry(id, false)
	if err != nil {
		return err
	}
	sb.mu.Lock()
	l, w := sb.link, sb.watch
	sb.mu.Unlock()
	if l == nil {
		return fault.New(fault.Unavailable, "the sandbox for the build ended")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-w.ended:
			cancel(fault.New(fault.Unprocessable, "the sandbox for the build ended: %s", w.end.Cause))
		case <-ctx.Done():
		}
	}()
	buildDir := "/tmp/.build-" + id // holds the scripts inside
	env := map[string]string{"HOME": "/root", "LANG": "C.UTF-8"}
	maps.Copy(env, cfg.Env)
	if ca, err := os.ReadFile(cfg.CA); cfg.CA != "" && err == nil {
		file := path.Join(buildDir, "ca.crt")
		if err := l.upload(ctx, file, ca); err != nil {
			return err
		}
		for _, name := range []string{"PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"} {
			env[name] = file
		}
	}
	steps := cfg.Definition.Steps
	for i, step := range steps[:to] {
		if i < from {
			continue
		}
		progress(fmt.Sprintf("step %d of %d: %s", i+1, len(steps), step.Name))
		file := path.Join(buildDir, fmt.Sprintf("step-%d.sh", i+1))
		if err := l.upload(ctx, file, []byte(step.Script)); err != nil {
			return err
		}
		code, out, err := l.execute(ctx, "sh "+file+" </dev/null", env, 30*time.Minute)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("step %q: %w", step.Name, err)
		}
		if code != 0 {
			return fault.New(fault.Unprocessable, "step %q ended with exit code %d: %s", step.Name, code, lastLines(out, 15))
		}
		r.log.Debug("build step done", "step", step.Name, "output", lastLines(out, 5))
	}
	_, _, err = l.execute(ctx, "rm -rf "+buildDir, nil, time.Minute)
	return err
}

// commitBuild stops the build's sandbox and makes an image of its root.
func (r *Runner) commitBuild(ctx context.Context, id, name string, change func(*ocispec.ImageConfig)) error {
	check := func(sb *sandbox) (bool, error) { return sb.rec.Phase == phaseRunning, nil }
	return r.operate(ctx, id, opStop, check, func(ctx context.Context, sb *sandbox) error {
		if err := r.stop(ctx, sb, r.cfg.StopGrace); err != nil {
			return err
		}
		_, err := r.cfg.Roots.Commit(ctx, id, name, change)
		return err
	})
}

// Remake has a snapshot made anew by the next EnsureSnapshots, from its beginning
// and on a base of that day: base names the image that is there for nothing but to
// be made upon, "" where it is another snapshot. What is there serves until then.
// It may be repeated, and a snapshot that is not there is no error.
func Remake(ctx context.Context, roots Roots, name, base string) error {
	imgs, err := roots.Images(ctx)
	if err != nil {
		return err
	}
	for _, img := range imgs {
		if img.Name == base || strings.HasPrefix(img.Name, checkpointPrefix+name+"/") {
			if err := roots.RemoveImage(ctx, img.Name); err != nil {
				return err
			}
		}
	}
	_, err = roots.Derive(ctx, name, name, func(c *ocispec.ImageConfig) { delete(c.Labels, definitionLabel) })
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// configure makes an image's configuration say what the definition says.
func configure(c *ocispec.ImageConfig, def images.Definition) {
	*c = ocispec.ImageConfig{
		User:       def.Config.User,
		WorkingDir: def.Config.WorkDir,
		Env:        def.Config.Env,
		Entrypoint: def.Config.Entrypoint,
		Labels:     map[string]string{definitionLabel: def.Hash},
	}
}

// upload writes a file inside.
func (l *link) upload(ctx context.Context, file string, data []byte) error {
	var body bytes.Buffer
	mw := multipart.NewWriter(&body)
	part, err := mw.CreateFormFile("file", path.Base(file))
	if err == nil {
		_, err = part.Write(data)
	}
	if err = errors.Join(err, mw.Close()); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://toolbox/files/upload?path="+url.QueryEscape(file), &body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mw.FormDataContentType())
	return l.do(req, nil)
}

// execute runs a shell command inside and returns its exit code and output.
func (l *link) execute(ctx context.Context, command string, env map[string]string, timeout time.Duration) (code int, output string, err error) {
	in := map[string]any{"command": command, "envs": env, "timeout": int(timeout.Seconds())}
	out := struct {
		ExitCode int    `json:"exitCode"`
		Result   string `json:"result"`
	}{ExitCode: -1}
	err = l.call(ctx, http.MethodPost, "/process/execute", in, &out)
	return out.ExitCode, out.Result, err
}

// lastLines returns the last n lines of text, at most 4 KiB.
func lastLines(text string, n int) string {
	text = strings.TrimSpace(text)
	if len(text) > 4<<10 {
		text = text[len(text)-4<<10:]
	}
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
