package rootfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Capture makes an image of a root as it is: the layers below it and, as one
// more, what was written, with the configuration cfg. Unlike Commit it loses no kind of file, takes roots of
// every image, and roots that are mounted: each file is then as it is when it is
// reached. Its layer is never an archive, so that the image stays in this store.
// progress may be nil.
func (s *Store) Capture(ctx context.Context, id, name string, cfg ocispec.ImageConfig, progress func(string)) (Image, error) {
	if err := checkName(name); err != nil {
		return Image{}, err
	}
	if err := s.room(0); err != nil {
		return Image{}, err
	}
	var im Image
	err := s.withDisk(ctx, id, func(r record, disk string) error {
		if err := syncTree(disk); err != nil {
			return fmt.Errorf("capture root %s: %w", id, err)
		}
		var err error
		im, err = s.leased(s.scope(ctx), func(ctx context.Context) (Image, error) {
			chain, err := s.copyLayer(ctx, r.Chain, filepath.Join(disk, "upper"), progress)
			if err != nil {
				return Image{}, fmt.Errorf("capture root %s: %w", id, err)
			}
			spec := ocispec.Image{Platform: hostPlatform(), Config: cfg, RootFS: ocispec.RootFS{Type: "layers"}}
			m, err := s.writeManifest(ctx, spec, nil, chain)
			if err != nil {
				return Image{}, err
			}
			return s.publish(ctx, name, m, chain)
		})
		return err
	})
	return im, err
}

// copyLayer puts a copy of an overlay's upper directory on top of a chain of
// layers, and returns the name of the longer one: that of the same files on the
// same chain is the same.
func (s *Store) copyLayer(ctx context.Context, below, upper string, progress func(string)) (_ string, err error) {
	key := "capture-" + uuid.NewString()
	mounts, err := s.snaps.Prepare(ctx, key, below)
	if err != nil {
		return "", fmt.Errorf("layer: %w", err)
	}
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, s.snaps.Remove(context.WithoutCancel(ctx), key))
		}
	}()
	target, _, err := upperOf(mounts)
	if err != nil {
		return "", err
	}
	id := sha256.New()
	fmt.Fprintf(id, "%s\n", below)
	pr, pw := io.Pipe()
	walked := make(chan struct{})
	go func() {
		defer close(walked)
		pw.CloseWithError(exportTree(ctx, upper, pw))
	}()
	meter := &meterReader{ctx: ctx, r: pr, report: func(line string) {
		if progress != nil {
			progress(line)
		}
	}}
	err = importInto(ctx, target, io.TeeReader(&roomReader{r: meter, room: func() error { return s.room(0) }}, id))
	// The walk must be over before the disk goes away under it.
	_ = pr.Close()
	<-walked
	if err != nil {
		return "", err
	}
	chain := digest.NewDigest(digest.SHA256, id).String()
	err = s.snaps.Commit(ctx, chain, key)
	switch {
	case err == nil:
		committed = true
	case !errdefs.IsAlreadyExists(err): // an equal layer is as good
		return "", fmt.Errorf("layer: %w", err)
	}
	if _, err := s.snaps.Stat(ctx, chain); err != nil { // it is kept by the lease from here on
		return "", fmt.Errorf("layer: %w", err)
	}
	return chain, nil
}
