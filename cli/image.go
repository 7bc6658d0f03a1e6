package cli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// localImage opens an image: an archive or a layout by its path, else what an
// engine on this machine has by that name. release frees what was set aside.
func localImage(ctx context.Context, source string) (image v1.Image, release func(), err error) {
	info, statErr := os.Stat(source)
	if statErr == nil && info.IsDir() {
		image, err = fromLayout(source)
		return image, func() {}, err
	}
	if statErr == nil {
		return fromArchive(source)
	}
	file, err := save(ctx, source)
	if err != nil {
		return nil, nil, err
	}
	image, closeArchive, err := fromArchive(file)
	if err != nil {
		_ = os.Remove(file)
		return nil, nil, err
	}
	return image, func() { closeArchive(); _ = os.Remove(file) }, nil
}

// engines are the programs that can write an image of this machine into a file:
// Docker's and Podman's own, and what reads the storage of containers without
// either. What they print is the file, if they are not told its name.
var engines = [][]string{
	{"docker", "save", "{image}"},
	{"podman", "save", "{image}"},
	{"skopeo", "copy", "-q", "containers-storage:{image}", "docker-archive:{file}"},
}

// save has an engine write an image into a file.
func save(ctx context.Context, image string) (path string, err error) {
	file, err := os.CreateTemp("", "daytona-image-*.tar")
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	var said []string
	for _, engine := range engines {
		program, lookErr := exec.LookPath(engine[0])
		if lookErr != nil {
			continue
		}
		if err := errors.Join(file.Truncate(0), rewind(file)); err != nil {
			return "", err
		}
		var problem strings.Builder
		args := make([]string, len(engine)-1)
		for i, word := range engine[1:] {
			args[i] = strings.NewReplacer("{image}", image, "{file}", file.Name()).Replace(word)
		}
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Stdout, cmd.Stderr = file, &problem
		if err := cmd.Run(); err == nil {
			return file.Name(), nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		said = append(said, engine[0]+": "+strings.TrimSpace(problem.String()))
	}
	if len(said) == 0 {
		return "", fmt.Errorf("image '%s' not found locally: it is no file, and none of docker, podman and skopeo is installed here", image)
	}
	return "", fmt.Errorf("image '%s' not found locally (%s)", image, strings.Join(said, "; "))
}

func rewind(file *os.File) error {
	_, err := file.Seek(0, io.SeekStart)
	return err
}

// fromArchive opens what "docker save" writes, or an OCI layout in a tar file.
func fromArchive(path string) (v1.Image, func(), error) {
	image, err := tarball.ImageFromPath(path, nil)
	if err == nil {
		return image, func() {}, nil
	}
	dir, unpackErr := os.MkdirTemp("", "daytona-layout-*")
	if unpackErr != nil {
		return nil, nil, unpackErr
	}
	release := func() { _ = os.RemoveAll(dir) }
	if unpackErr = unpack(path, dir); unpackErr == nil {
		if image, unpackErr = fromLayout(dir); unpackErr == nil {
			return image, release, nil
		}
	}
	release()
	return nil, nil, fmt.Errorf("%s is neither an archive of docker save (%w) nor an OCI archive (%w)", path, err, unpackErr)
}

// unpack unpacks the regular files of a tar file; no name leads out of dir.
func unpack(path, dir string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		at := filepath.FromSlash(h.Name)
		if err := root.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return err
		}
		out, err := root.Create(at)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}

// fromLayout opens the image of an OCI layout: the one for linux/amd64, or the
// only one.
func fromLayout(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	return fromIndex(index)
}

func fromIndex(index v1.ImageIndex) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var found []v1.Descriptor
	for _, d := range manifest.Manifests {
		if d.Platform == nil || d.Platform.OS == "linux" && d.Platform.Architecture == "amd64" {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("it has no image for linux/amd64")
	}
	if found[0].MediaType.IsIndex() {
		inner, err := index.ImageIndex(found[0].Digest)
		if err != nil {
			return nil, err
		}
		return fromIndex(inner)
	}
	return index.Image(found[0].Digest)
}
