package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/internal/fault"
	"daytona/runner/rootfs"
)

// publisher is the exporter of our builds. It copies nothing: the layers that
// the build left in the store get a name.
type publisher struct {
	builder *Builder
	name    string
	image   rootfs.Image
}

func exporters(p *publisher) []exporter.ExporterInstance { return []exporter.ExporterInstance{p} }

func (p *publisher) ID() int                  { return 0 }
func (p *publisher) Name() string             { return "naming the image" }
func (p *publisher) Type() string             { return "daytona" }
func (p *publisher) Attrs() map[string]string { return nil }
func (p *publisher) Config() *exporter.Config { return exporter.NewConfig() }

// snapshotKey is the key under which BuildKit's cache keeps the name of a
// record's layer.
const snapshotKey = "cache.snapshot"

func (p *publisher) Export(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo) (map[string]string, exporter.FinalizeFunc, exporter.DescriptorReference, error) {
	ref := src.Ref
	if ref == nil && len(src.Refs) == 1 {
		for _, r := range src.Refs {
			ref = r
		}
	}
	if ref == nil {
		return nil, nil, nil, fault.New(fault.Unprocessable, "the image that was built has no files, so that no sandbox can be made of it")
	}
	var spec ocispec.Image
	if raw := configOf(src); len(raw) == 0 {
		return nil, nil, nil, fmt.Errorf("the build has no image configuration")
	} else if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, nil, nil, fmt.Errorf("configuration of the built image: %w", err)
	}
	if spec.Architecture != runtime.GOARCH {
		return nil, nil, nil, fault.New(fault.Unprocessable, "the image that was built is for %s; this runner has %s", spec.Architecture, runtime.GOARCH)
	}
	layer, err := layerOf(ctx, ref, session.NewGroup(info.SessionID))
	if err != nil {
		return nil, nil, nil, err
	}
	// The same build says the same, whenever it is repeated.
	at := ref.GetCreatedAt().UTC().Truncate(time.Second)
	spec.Created = &at
	for i := range spec.History {
		spec.History[i].Created = nil
	}
	p.image, err = p.builder.cfg.Store.PublishBuilt(ctx, p.name, layer, spec)
	return nil, nil, nil, err
}

func configOf(src *exporter.Source) []byte {
	if raw := src.Metadata[exptypes.ExporterImageConfigKey]; len(raw) > 0 {
		return raw
	}
	for id := range src.Refs {
		return src.Metadata[exptypes.ExporterImageConfigKey+"/"+id]
	}
	return nil
}

// layerOf returns the name of the layer that a reference stands for, unpacked
// and complete.
func layerOf(ctx context.Context, ref cache.ImmutableRef, g session.Group) (string, error) {
	if err := ref.Finalize(ctx); err != nil {
		return "", err
	}
	if err := ref.Extract(ctx, g); err != nil {
		return "", err
	}
	if name := ref.GetString(snapshotKey); name != "" {
		return name, nil
	}
	return ref.ID(), nil // as the cache itself has it
}
