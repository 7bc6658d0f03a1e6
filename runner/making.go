package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner/imagequeue"
	"daytona/runner/rootfs"
)

// Builder makes images from Dockerfiles.
type Builder interface {
	// Build makes the image of spec.Build under a name, and prints to log what
	// people know from other builders. progress gets single lines. It ends soon
	// after ctx, and leaves nothing when it fails.
	Build(ctx context.Context, name string, spec runnerapi.ImageSpec, log io.Writer, progress func(string)) (rootfs.Image, error)
	// Prune brings the cache back to its budget, in the background.
	Prune()
	// Recover removes what a killed process left. It is called once, before
	// anything else, when no container of an earlier process is left.
	Recover(ctx context.Context) error
}

// stagingPrefix begins the names of images that are not finished: nobody makes
// a sandbox of one, and a start removes them.
const stagingPrefix = "making/"

// openImages takes up the work on images where an earlier process left it.
func (r *Runner) openImages(ctx context.Context) error {
	if r.cfg.Builder != nil {
		if err := r.cfg.Builder.Recover(ctx); err != nil {
			return fmt.Errorf("builder: %w", err)
		}
	}
	imgs, err := r.cfg.Roots.Images(ctx)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, img := range imgs {
		there[img.Name] = true
		if strings.HasPrefix(img.Name, stagingPrefix) {
			if err := r.cfg.Roots.RemoveImage(ctx, img.Name); err != nil {
				return err
			}
		}
	}
	return r.images.Start(func(name string) bool { return there[name] })
}

// EnsureImage implements runnerapi.Images.
func (r *Runner) EnsureImage(ctx context.Context, spec runnerapi.ImageSpec) error {
	if err := r.checkImageSpec(spec); err != nil {
		return err
	}
	_, err := r.cfg.Roots.Image(ctx, spec.Name)
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	if _, ours := r.builds.get(spec.Name); ours {
		return nil // it is made from a definition
	}
	return r.images.Ensure(spec)
}

// checkImageSpec refuses what can never be carried out.
func (r *Runner) checkImageSpec(spec runnerapi.ImageSpec) error {
	if err := rootfs.CheckName(spec.Name); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(spec.Name, stagingPrefix):
		return fault.New(fault.Invalid, "the name %q is the runner's own", spec.Name)
	case sources(spec) != 1:
		return fault.New(fault.Invalid, "image %s: a reference to pull, a build, or a sandbox is required", spec.Name)
	case spec.Sandbox != "":
		return r.checkSource(spec)
	case spec.Pull != nil:
		return rootfs.CheckRef(spec.Pull.Ref)
	case r.cfg.Builder == nil:
		return fault.New(fault.Invalid, "this runner cannot build images")
	case strings.TrimSpace(spec.Build.Dockerfile) == "":
		return fault.New(fault.Invalid, "image %s: the Dockerfile is empty", spec.Name)
	}
	return nil
}

func sources(spec runnerapi.ImageSpec) (n int) {
	for _, given := range []bool{spec.Pull != nil, spec.Build != nil, spec.Sandbox != ""} {
		if given {
			n++
		}
	}
	return n
}

// checkSource refuses to make an image of a sandbox that is not here, or is
// somebody else's.
func (r *Runner) checkSource(spec runnerapi.ImageSpec) error {
	rec, ok := r.known(spec.Sandbox)
	if !ok || rec.hidden() || rec.Spec.OrgID != spec.OrgID {
		return fault.New(fault.Invalid, "sandbox %s, whose files image %s was to hold, is not on this runner", spec.Sandbox, spec.Name)
	}
	return nil
}

// RemoveImage implements runnerapi.Images.
func (r *Runner) RemoveImage(ctx context.Context, name string) error {
	return r.images.Remove(ctx, name, func() error {
		err := r.cfg.Roots.RemoveImage(ctx, name)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err == nil && r.cfg.Builder != nil {
			r.cfg.Builder.Prune() // what the image kept counts as cache from now on
		}
		return err
	})
}

// ImageLog implements runnerapi.Images.
func (r *Runner) ImageLog(ctx context.Context, name string, follow bool) (io.ReadCloser, error) {
	return r.images.OpenLog(ctx, name, follow)
}

// makeImage pulls or builds an image, starts a sandbox of it, and only then
// gives it its name.
func (r *Runner) makeImage(ctx context.Context, job imagequeue.Job) (res imagequeue.Result, err error) {
	staging := stagingPrefix + uuid.NewString()
	img, err := r.obtain(ctx, staging, job)
	if err != nil {
		return res, err
	}
	defer func() {
		ctx, cancel := afterwards(ctx)
		defer cancel()
		if rerr := r.cfg.Roots.RemoveImage(ctx, staging); rerr != nil && !fault.Is(rerr, fault.NotFound) {
			r.log.Warn("an unfinished image stays until the next start", "image", staging, "error", rerr)
		}
	}()
	res, known := r.images.Known(img.Digest, job.Spec.Entrypoint)
	if job.Spec.Sandbox != "" {
		res, known = captured(img), true
	}
	if !known {
		job.Progress(runnerapi.SnapshotBuilding, "starting a sandbox of the image to see that it works")
		res = imagequeue.Result{Source: img.Digest, Tried: true}
		if res.Entrypoint, err = r.tryImage(ctx, staging, img, job.Spec.Entrypoint); err != nil {
			return res, err
		}
	}
	if err := ctx.Err(); err != nil {
		return res, err
	}
	_, err = r.cfg.Roots.Derive(ctx, staging, job.Spec.Name, func(c *ocispec.ImageConfig) {
		if !slices.Equal(res.Entrypoint, slices.Concat(c.Entrypoint, c.Cmd)) {
			c.Entrypoint, c.Cmd = res.Entrypoint, nil
		}
		c.Labels = maps.Clone(c.Labels)
		delete(c.Labels, pulledLabel) // an image may come with one
		if img.Pulled != "" {
			if c.Labels == nil {
				c.Labels = map[string]string{}
			}
			c.Labels[pulledLabel] = img.Pulled
		}
	})
	if err != nil {
		return res, err
	}
	r.wakeRefill()
	return res, nil
}

// obtain pulls, builds, or takes what a sandbox has.
func (r *Runner) obtain(ctx context.Context, name string, job imagequeue.Job) (rootfs.Image, error) {
	if job.Spec.Sandbox != "" {
		return r.capture(ctx, name, job)
	}
	if job.Spec.Build != nil {
		return r.cfg.Builder.Build(ctx, name, job.Spec, job.Log, func(line string) { job.Progress(runnerapi.SnapshotBuilding, line) })
	}
	job.Progress(runnerapi.SnapshotPulling, "beginning")
	return r.cfg.Roots.Pull(ctx, name, job.Spec.Pull.Ref, job.Spec.Auths, func(line string) {
		fmt.Fprintln(job.Log, line)
		job.Progress(runnerapi.SnapshotPulling, line)
	})
}

// stays is how long an image's process is watched for whether it ends at once.
const stays = 2 * time.Second

// keepAlive is the entrypoint of an image whose own would end at once.
var keepAlive = []string{"sleep", "infinity"}

// tryImage starts a sandbox of an image. It returns the entrypoint that
// the image gets, or Unprocessable when no sandbox of it can work.
func (r *Runner) tryImage(ctx context.Context, name string, img rootfs.Image, asked []string) ([]string, error) {
	spec := r.cfg.complete(runnerapi.Spec{ID: uuid.NewString(), Snapshot: name})
	always := func(*sandbox) (bool, error) { return true, nil }
	err := r.operate(ctx, spec.ID, opCreate, always, func(ctx context.Context, sb *sandbox) error {
		return r.makeNew(ctx, sb, record{Spec: spec, Driver: spec.Isolation, Build: true})
	})
	defer func() {
		ctx, cancel := afterwards(ctx)
		defer cancel()
		derr := r.operate(ctx, spec.ID, opDelete, always, func(ctx context.Context, sb *sandbox) error { return r.destroy(ctx, sb, false) })
		if derr != nil && !fault.Is(derr, fault.NotFound) {
			r.log.Warn("the sandbox in which an image was tried stays", "sandbox", spec.ID, "error", derr)
		}
	}()
	if err != nil {
		return nil, trialFault(err)
	}
	args := asked
	if len(args) == 0 {
		args = slices.Concat(img.Config.Entrypoint, img.Config.Cmd)
	}
	if endsAtOnce(args) {
		return keepAlive, nil
	}
	if len(entrypoint(ocispec.ImageConfig{Cmd: args})) == 0 {
		return args, nil
	}
	sb, err := r.entry(spec.ID, false)
	if err != nil {
		return nil, trialFault(err)
	}
	sb.mu.Lock()
	l := sb.link
	sb.mu.Unlock()
	if l == nil {
		return nil, fault.New(fault.Unprocessable, "the sandbox in which the image was tried ended")
	}
	code, out, err := l.execute(ctx, shellWords(args)+" </dev/null", nil, stays)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil: // it was still running when the time was over
		return args, nil
	case code != 0 && len(asked) > 0:
		return nil, fault.New(fault.Unprocessable, "its entrypoint ends at once with exit code %d: %s", code, lastLines(out, 5))
	}
	return keepAlive, nil
}

// trialFault says why an image cannot be used.
func trialFault(err error) error {
	var f *fault.Error
	switch {
	case errors.Is(err, errNotReady):
		return fault.Wrap(err, fault.Unprocessable, "a sandbox of it could not be started: %s", errNotReady)
	case errors.As(err, &f) && f.Kind != fault.Internal:
		return fault.Wrap(err, f.Kind, "a sandbox of it could not be started: %s", f.Text)
	}
	return err
}

// endsAtOnce knows the usual commands of base images, which wait for somebody
// to type.
func endsAtOnce(args []string) bool {
	if len(args) == 0 {
		return true
	}
	if len(args) > 1 {
		return false
	}
	name := args[0][strings.LastIndex(args[0], "/")+1:]
	switch name {
	case "sh", "bash", "ash", "dash", "zsh", "python", "python3", "node", "irb", "R", "ghci", "iex", "erl":
		return true
	}
	return false
}

// shellWords quotes words for a shell.
func shellWords(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// imageJobs is how many images are made at the same time when nobody says.
func imageJobs() int { return max(2, runtime.NumCPU()/2) }
