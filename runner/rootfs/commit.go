package rootfs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/internal/fault"
)

// Commit makes an image of a root: its image's layers and, as one more, what was
// written. change, which may be nil, edits the image's configuration. No process
// may run in the root. Errors: Unprocessable for files that an image cannot hold.
func (s *Store) Commit(ctx context.Context, id, name string, change func(*ocispec.ImageConfig)) (Image, error) {
	if err := checkName(name); err != nil {
		return Image{}, err
	}
	if err := s.room(0); err != nil {
		return Image{}, err
	}
	var im Image
	err := s.withDisk(ctx, id, func(r record, disk string) error {
		if err := syncTree(disk); err != nil {
			return fmt.Errorf("commit root %s: %w", id, err)
		}
		var err error
		im, err = s.leased(s.scope(ctx), func(ctx context.Context) (Image, error) {
			base, err := s.baseOf(ctx, r)
			if err != nil {
				return Image{}, err
			}
			if change != nil {
				change(&base.spec.Config)
			}
			pr, pw := io.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				pw.CloseWithError(writeUpper(ctx, filepath.Join(disk, "upper"), pw, r.Bytes))
			}()
			im, err := s.addLayer(ctx, name, base.spec, base.layers, pr, "committed from a sandbox", nil)
			// The walk must be over before the disk goes away under it.
			_ = pr.Close()
			<-done
			return im, err
		})
		return err
	})
	return im, err
}

// baseOf returns the image that a root was made of. Its name may mean another
// image by now, or none.
func (s *Store) baseOf(ctx context.Context, r record) (unpacked, error) {
	d, err := digest.Parse(r.Config)
	if err != nil {
		return unpacked{}, fmt.Errorf("root %s: %w", r.ID, err)
	}
	info, err := s.content.Info(ctx, d)
	if err != nil {
		return unpacked{}, fault.Wrap(err, fault.Unprocessable, "the image %q that the sandbox was made from has been removed", r.Image)
	}
	b, err := content.ReadBlob(ctx, s.content, ocispec.Descriptor{Digest: d, Size: info.Size})
	if err != nil {
		return unpacked{}, fmt.Errorf("image of root %s: %w", r.ID, err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return unpacked{}, fmt.Errorf("image of root %s: %w", r.ID, err)
	}
	u, err := s.readManifest(ctx, ocispec.Descriptor{MediaType: m.MediaType, Digest: d, Size: info.Size}, r.Chain)
	if err == nil && r.Chain != chainID(u.spec.RootFS.DiffIDs) {
		err = fault.New(fault.Unprocessable, "an image cannot be made of a sandbox whose image %q was built here", r.Image)
	}
	return u, err
}
