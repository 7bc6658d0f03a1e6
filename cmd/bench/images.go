package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// imagesSubject is what measures how images are built and pulled.
const imagesSubject = "images"

// The figures of images.
const (
	figBuildCold   = "build, nothing cached but its base"
	figBuildCached = "build, every step cached"
	figBuildSame   = "build, the very same definition"
	figBuildLine   = "build, the last line changed"
	figFreshExec   = "create from a fresh build to first exec"
	figPullOne     = "pull 500 MB in 1 layer"
	figPullEight   = "pull 500 MB in 8 layers"
)

var imageFigures = []string{figBuildCold, figBuildCached, figBuildSame, figBuildLine, figFreshExec, figPullOne, figPullEight}

// pullBytes is how much the files of an image that is pulled hold.
const pullBytes = 500_000_000

// imager is a Subject of the figures of images.
type imager interface {
	// Build makes an image of a Dockerfile without files, ready for boxes.
	Build(ctx context.Context, name, dockerfile string) error
	// Pull makes an image of a registry ready for boxes.
	Pull(ctx context.Context, name, ref string) error
	// Box starts a box of an image.
	Box(ctx context.Context, image string) (string, error)
	Exec(ctx context.Context, id, command string) error
	Delete(ctx context.Context, id string) error
	// Forget removes an image.
	Forget(ctx context.Context, name string) error
}

// measureImages measures our server with each isolation, and Docker with each of
// its builders.
func measureImages(ctx context.Context, bin, dir string, quick bool, say func(string, ...any)) (results map[string]Result, order []string, err error) {
	rounds, pulls := 10, 3
	if quick {
		rounds, pulls = 3, 1
	}
	say("images: making what is pulled")
	s, err := openShelf(ctx, filepath.Join(dir, "shelf"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.push("bench/base:1", system); err != nil {
		return nil, nil, err
	}
	var refs [2][]string // by number of layers, then by round: nobody has any layer
	for round := range pulls {
		for kind, layers := range []int{1, 8} {
			fills := make([]func(*tar.Writer) error, layers)
			for i := range fills {
				data := noise(uint64(round*16+kind*8+i), pullBytes/int64(layers))
				if fills[i] = data; i == 0 {
					fills[0] = func(tw *tar.Writer) error { return errors.Join(system(tw), data(tw)) }
				}
			}
			ref, err := s.push(fmt.Sprintf("bench/pull-%d:%d", layers, round+1), fills...)
			if err != nil {
				return nil, nil, err
			}
			refs[kind] = append(refs[kind], ref)
		}
	}
	results = map[string]Result{}
	run := func(name string, subject imager, pull bool) error {
		say("images: %s", name)
		order = append(order, name)
		results[name], err = imagesOf(ctx, name, subject, s.host, rounds, say)
		if err != nil || !pull {
			return err
		}
		for kind, figure := range []string{figPullOne, figPullEight} {
			for i, ref := range refs[kind] {
				say("images: %s: %s", name, figure)
				if err := quiet(ctx, 20*time.Second); err != nil {
					return err
				}
				image := fmt.Sprintf("bench-pull-%d-%d", kind, i)
				began := time.Now()
				if err := subject.Pull(ctx, image, ref); err != nil {
					return fmt.Errorf("%s: %s: %w", name, figure, err)
				}
				sampleOf(results[name], figure).add(time.Since(began))
				if err := subject.Forget(ctx, image); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, isolation := range []string{"gvisor", "runc"} {
		server, err := startServer(ctx, bin, filepath.Join(dir, "data"), isolation, 0, say)
		if err != nil {
			return results, order, err
		}
		if err := errors.Join(run(isolation, server, true), server.Close()); err != nil {
			return results, order, err
		}
	}
	data := filepath.Join(dir, "docker-images")
	if err := os.RemoveAll(data); err != nil {
		return results, order, err
	}
	d, err := startDocker(ctx, data, nil)
	if err != nil {
		return results, order, err
	}
	err = run(peer, &dockerImages{d, s.host, false, map[string]string{}}, true)
	if err == nil {
		if _, have := d.builder(true); have {
			err = run("docker, BuildKit", &dockerImages{d, s.host, true, map[string]string{}}, false)
		}
	}
	return results, order, errors.Join(err, d.Close(), os.RemoveAll(data))
}

func sampleOf(r Result, figure string) *Sample {
	if r[figure] == nil {
		r[figure] = &Sample{Unit: "ms"}
	}
	return r[figure]
}

// smallDockerfile is one with four steps. Another first or last word makes
// another definition from there on.
func smallDockerfile(host, first, last string) string {
	return fmt.Sprintf(`FROM %s/bench/base:1
WORKDIR /app
RUN echo %s > first
RUN for i in $(seq 100); do echo $i > file-$i; done
ENV GREETING=hello
RUN echo %s > last
`, host, first, last)
}

// imagesOf takes the figures of builds.
func imagesOf(ctx context.Context, name string, subject imager, host string, rounds int, say func(string, ...any)) (Result, error) {
	res := Result{}
	stamp := fmt.Sprint(time.Now().UnixNano()) // other than in any run before
	var made []string
	n := 0
	build := func(figure, dockerfile string) (string, error) {
		n++
		image := fmt.Sprintf("bench-%s-%d", stamp, n)
		began := time.Now()
		if err := subject.Build(ctx, image, dockerfile); err != nil {
			return "", fmt.Errorf("%s: %s: %w", name, figure, err)
		}
		if figure != "" {
			sampleOf(res, figure).add(time.Since(began))
		}
		made = append(made, image)
		return image, nil
	}
	defer func() {
		for _, image := range made {
			_ = subject.Forget(context.WithoutCancel(ctx), image) // the subject ends soon
		}
	}()
	if _, err := build("", smallDockerfile(host, stamp, "warm up")); err != nil { // it brings the base
		return res, err
	}
	for round := range rounds {
		say("images: %s: builds, round %d", name, round+1)
		if err := quiet(ctx, 10*time.Second); err != nil {
			return res, err
		}
		text := smallDockerfile(host, fmt.Sprint(stamp, round), "one")
		fresh, err := build(figBuildCold, text)
		if err != nil {
			return res, err
		}
		began := time.Now()
		id, err := subject.Box(ctx, fresh)
		if err == nil {
			err = subject.Exec(ctx, id, "true")
		}
		if err != nil {
			return res, fmt.Errorf("%s: %s: %w", name, figFreshExec, err)
		}
		sampleOf(res, figFreshExec).add(time.Since(began))
		if err := subject.Delete(ctx, id); err != nil {
			return res, err
		}
		for _, again := range []struct{ figure, text string }{
			// A comment makes it another definition to us, and the same steps.
			{figBuildCached, "# once more\n" + text}, {figBuildSame, text}, {figBuildLine, smallDockerfile(host, fmt.Sprint(stamp, round), "two")},
		} {
			if _, err := build(again.figure, again.text); err != nil {
				return res, err
			}
		}
	}
	return res, nil
}

// Build implements imager.
func (s *server) Build(ctx context.Context, name, dockerfile string) error {
	return s.snapshot(ctx, name, map[string]any{"name": name, "buildInfo": map[string]any{"dockerfileContent": dockerfile}})
}

// Pull implements imager.
func (s *server) Pull(ctx context.Context, name, ref string) error {
	return s.snapshot(ctx, name, map[string]any{"name": name, "imageName": ref})
}

// snapshot makes a snapshot and waits until it is active, so until a sandbox of
// it has been seen to start.
func (s *server) snapshot(ctx context.Context, name string, body any) error {
	var got struct{ State, ErrorReason string }
	err := s.call(ctx, http.MethodPost, "/api/snapshots", body, &got)
	for err == nil && got.State != "active" {
		if got.State == "error" || got.State == "build_failed" {
			return fmt.Errorf("snapshot %s: %s", name, got.ErrorReason)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		err = s.call(ctx, http.MethodGet, "/api/snapshots/"+name, nil, &got)
	}
	return err
}

// Forget implements imager.
func (s *server) Forget(ctx context.Context, name string) error {
	return s.call(ctx, http.MethodDelete, "/api/snapshots/"+name, nil, nil)
}

// Box implements imager.
func (s *server) Box(ctx context.Context, image string) (string, error) {
	var box struct{ ID, State, ErrorReason string }
	err := s.call(ctx, http.MethodPost, "/api/sandbox", map[string]any{"snapshot": image, "autoStopInterval": 0}, &box)
	for err == nil && box.State != "started" {
		if box.State == "error" || box.State == "build_failed" {
			return "", fmt.Errorf("sandbox %s: %s", box.ID, box.ErrorReason)
		}
		time.Sleep(5 * time.Millisecond)
		err = s.call(ctx, http.MethodGet, "/api/sandbox/"+box.ID, nil, &box)
	}
	return box.ID, err
}

// dockerImages is Docker with one of its builders.
type dockerImages struct {
	*docker
	host     string
	buildkit bool
	refs     map[string]string // of images that were pulled, by name
}

// builder is the command line with which images are built: the one beside the
// daemon, which has its BuildKit without a plugin.
func (d *docker) builder(buildkit bool) (program string, have bool) {
	program = "docker"
	if _, err := os.Stat("/usr/bin/docker"); err == nil {
		program = "/usr/bin/docker"
	}
	cmd := exec.Command(program, "build", "--help") //nolint:noctx // it answers at once
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.host, "DOCKER_BUILDKIT=1")
	return program, !buildkit || cmd.Run() == nil
}

// Build implements imager.
func (d *dockerImages) Build(ctx context.Context, name, dockerfile string) error {
	program, _ := d.builder(false)
	cmd := exec.CommandContext(ctx, program, "build", "-q", "-t", name, "-") // #nosec G204 -- Docker
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.docker.host, "DOCKER_BUILDKIT="+map[bool]string{true: "1", false: "0"}[d.buildkit])
	cmd.Stdin = strings.NewReader(dockerfile)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker build: %w: %s", err, out)
	}
	return nil
}

// Pull implements imager.
func (d *dockerImages) Pull(ctx context.Context, name, ref string) error {
	d.refs[name] = ref
	_, err := d.run(ctx, "pull", "-q", ref)
	return err
}

// Box implements imager.
func (d *dockerImages) Box(ctx context.Context, image string) (string, error) {
	return d.run(ctx, "run", "-d", "--memory", "1g", "--cpus", "1", image, "sleep", "infinity")
}

// Forget implements imager.
func (d *dockerImages) Forget(ctx context.Context, name string) error {
	if ref := d.refs[name]; ref != "" {
		name = ref
	}
	_, err := d.run(ctx, "rmi", "-f", name)
	return err
}
