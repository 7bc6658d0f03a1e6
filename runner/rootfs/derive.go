package rootfs

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Derive gives what an image holds another name, with a configuration that
// change, which may be nil, has edited. Layers are shared. A name that exists
// gets the new content.
func (s *Store) Derive(ctx context.Context, from, name string, change func(*ocispec.ImageConfig)) (Image, error) {
	if err := checkName(name); err != nil {
		return Image{}, err
	}
	return s.leased(s.scope(ctx), func(ctx context.Context) (Image, error) {
		u, err := s.lookup(ctx, from)
		if err != nil {
			return Image{}, err
		}
		if change == nil {
			return s.publish(ctx, name, u.manifest, u.built())
		}
		change(&u.spec.Config)
		m, err := s.writeManifest(ctx, u.spec, u.layers, u.built())
		if err != nil {
			return Image{}, err
		}
		return s.publish(ctx, name, m, u.built())
	})
}

// built returns the chain of an image that was built here, "" of any other.
func (u unpacked) built() string {
	if u.chain == chainID(u.spec.RootFS.DiffIDs) {
		return ""
	}
	return u.chain
}
