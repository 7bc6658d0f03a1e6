package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/internal/fault"
)

// unpackInto applies an uncompressed layer to a snapshot under preparation. It
// writes into the layer's own directory, never through a mount, so that a kill
// leaves no mount behind. It consumes r to its end.
func (s *Store) unpackInto(ctx context.Context, mounts []mount.Mount, r io.Reader) error {
	upper, parents, err := upperOf(mounts)
	if err != nil {
		return err
	}
	opts := []archive.ApplyOpt{archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)}
	if len(parents) > 0 {
		opts = append(opts, archive.WithParents(parents))
	}
	r = &roomReader{r: r, room: func() error { return s.room(0) }}
	if _, err := archive.Apply(ctx, upper, r, opts...); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r) // padding counts for the digest
	return err
}

// upperOf finds in a snapshot's mounts where its files go and what lies below.
func upperOf(mounts []mount.Mount) (upper string, parents []string, err error) {
	if len(mounts) == 1 && mounts[0].Type == "bind" {
		return mounts[0].Source, nil, nil
	}
	if len(mounts) == 1 && mounts[0].Type == "overlay" {
		for _, o := range mounts[0].Options {
			if v, ok := strings.CutPrefix(o, "upperdir="); ok {
				upper = v
			} else if v, ok := strings.CutPrefix(o, "lowerdir="); ok {
				parents = strings.Split(v, ":")
			}
		}
	}
	if upper == "" {
		return "", nil, fmt.Errorf("snapshot mounts %v cannot be written", mounts)
	}
	return upper, parents, nil
}

// roomReader stops an archive that would fill the host's disk: how large a
// layer becomes is known only by unpacking it.
type roomReader struct {
	r    io.Reader
	room func() error
	left int
}

func (r *roomReader) Read(p []byte) (int, error) {
	const step = 32 << 20
	if r.left <= 0 {
		if err := r.room(); err != nil {
			return 0, err
		}
		r.left = step
	}
	n, err := r.r.Read(p)
	r.left -= n
	return n, err
}

// applier is the diff.Applier of our unpacks.
type applier struct {
	s        *Store
	progress func(string)
}

// Apply decompresses and unpacks a layer and returns its uncompressed digest.
func (a applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	ctx = a.s.scope(ctx)
	ra, err := a.s.content.ReaderAt(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer ra.Close()
	if a.progress != nil {
		a.progress("unpacking " + short(desc.Digest) + ", " + mib(desc.Size))
	}
	dec, err := compression.DecompressStream(content.NewReader(ra))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer dec.Close()
	id := digest.Canonical.Digester()
	count := &countWriter{}
	if err := a.s.unpackInto(ctx, mounts, io.TeeReader(dec, io.MultiWriter(id.Hash(), count))); err != nil {
		return ocispec.Descriptor{}, err
	}
	// Layers are shared by what their images say they unpack to: one that lies
	// would be taken for another image's.
	if want := desc.Annotations[labels.LabelUncompressed]; want != "" && want != id.Digest().String() {
		return ocispec.Descriptor{}, fault.New(fault.Unavailable, "the registry sent damaged data: layer %s is not what its image says", short(desc.Digest))
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: id.Digest(), Size: count.n}, nil
}

type countWriter struct{ n int64 }

func (c *countWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// ImportTar makes an image of one layer from the tar stream of a root file
// system. The stream is read once: on the way it is compressed into the content
// store, digested and unpacked. progress may be nil.
func (s *Store) ImportTar(ctx context.Context, name string, layer io.Reader, cfg ocispec.ImageConfig, progress func(string)) (Image, error) {
	if err := checkName(name); err != nil {
		return Image{}, err
	}
	if err := s.room(0); err != nil {
		return Image{}, err
	}
	return s.leased(s.scope(ctx), func(ctx context.Context) (Image, error) {
		spec := ocispec.Image{Platform: hostPlatform(), Config: cfg}
		return s.addLayer(ctx, name, spec, nil, layer, "imported from a tar stream", progress)
	})
}

// addLayer puts a layer on top of base (whose layers are in lower), and gives
// the result a name.
func (s *Store) addLayer(ctx context.Context, name string, base ocispec.Image, lower []ocispec.Descriptor, r io.Reader, how string, progress func(string)) (Image, error) {
	desc, diffID, err := s.writeLayer(ctx, base.RootFS.DiffIDs, r, progress)
	if err != nil {
		return Image{}, err
	}
	now := time.Now().UTC()
	base.Created = &now
	base.RootFS.Type = "layers"
	base.RootFS.DiffIDs = append(base.RootFS.DiffIDs[:len(base.RootFS.DiffIDs):len(base.RootFS.DiffIDs)], diffID)
	base.History = append(base.History[:len(base.History):len(base.History)], ocispec.History{Created: &now, CreatedBy: how})
	layers := append(lower[:len(lower):len(lower)], desc)
	m, err := s.writeManifest(ctx, base, layers, "")
	if err != nil {
		return Image{}, err
	}
	return s.publish(ctx, name, m, "")
}

// writeLayer stores and unpacks one uncompressed layer above the given ones.
func (s *Store) writeLayer(ctx context.Context, below []digest.Digest, r io.Reader, progress func(string)) (_ ocispec.Descriptor, diffID digest.Digest, err error) {
	unique := uuid.NewString()
	w, err := content.OpenWriter(ctx, s.content, content.WithRef("layer-"+unique))
	if err != nil {
		return ocispec.Descriptor{}, "", fmt.Errorf("store layer: %w", err)
	}
	defer w.Close()
	key := "extract-" + unique
	mounts, err := s.snaps.Prepare(ctx, key, chainID(below))
	if err != nil {
		return ocispec.Descriptor{}, "", fmt.Errorf("unpack layer: %w", err)
	}
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, s.snaps.Remove(context.WithoutCancel(ctx), key))
		}
	}()
	// The cheapest level: it is done while a tar is being unpacked, and the
	// unpacked layer is what matters here.
	enc, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	defer func() { _ = enc.Close() }() // after a proper end it is closed already
	id := digest.Canonical.Digester()
	count := &countWriter{}
	meter := &meterReader{ctx: ctx, r: r, report: progress}
	if err := s.unpackInto(ctx, mounts, io.TeeReader(meter, io.MultiWriter(id.Hash(), enc, count))); err != nil {
		return ocispec.Descriptor{}, "", layerFault(err)
	}
	if err := enc.Close(); err != nil {
		return ocispec.Descriptor{}, "", layerFault(err)
	}
	if count.n == 0 {
		return ocispec.Descriptor{}, "", fault.New(fault.Invalid, "the layer's tar stream is empty")
	}
	st, err := w.Status()
	if err != nil {
		return ocispec.Descriptor{}, "", fmt.Errorf("store layer: %w", err)
	}
	diffID = id.Digest()
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerZstd, Digest: w.Digest(), Size: st.Offset}
	err = w.Commit(ctx, desc.Size, desc.Digest, content.WithLabels(map[string]string{labels.LabelUncompressed: diffID.String()}))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return ocispec.Descriptor{}, "", fmt.Errorf("store layer: %w", err)
	}
	chain := chainID(append(below[:len(below):len(below)], diffID))
	err = s.snaps.Commit(ctx, chain, key)
	switch {
	case err == nil:
		committed = true
	case !errdefs.IsAlreadyExists(err): // an equal layer is as good
		return ocispec.Descriptor{}, "", fmt.Errorf("unpack layer: %w", err)
	}
	if _, err := s.snaps.Update(ctx, snapshots.Info{Name: chain, Labels: map[string]string{snapshots.LabelSnapshotDiffID: diffID.String()}}, "labels."+snapshots.LabelSnapshotDiffID); err != nil {
		return ocispec.Descriptor{}, "", fmt.Errorf("unpack layer: %w", err)
	}
	return desc, diffID, nil
}

// layerFault tells damage in the stream from trouble of ours.
func layerFault(err error) error {
	if fault.KindOf(err) != fault.Internal || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.Wrap(err, fault.Unprocessable, "the layer cannot be unpacked")
}

// writeManifest stores a configuration and a manifest over layers that are
// already stored. Labels tie each to what it needs. built is the chain of an
// image that was built here, "" of any other.
func (s *Store) writeManifest(ctx context.Context, spec ocispec.Image, layers []ocispec.Descriptor, built string) (ocispec.Descriptor, error) {
	tie := map[string]string{"containerd.io/gc.ref.snapshot." + snapshotterName: chainID(spec.RootFS.DiffIDs)}
	if built != "" {
		tie = nil // images with the same configuration share it; what is in use is pinned
	}
	cfg, err := s.writeJSON(ctx, ocispec.MediaTypeImageConfig, spec, tie)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: cfg, Layers: layers}
	if built != "" { // no two images of different content are the same
		m.Annotations = map[string]string{chainLabel: built}
	}
	refs := map[string]string{"containerd.io/gc.ref.content.config": cfg.Digest.String()}
	for i, l := range layers {
		refs[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = l.Digest.String()
	}
	return s.writeJSON(ctx, ocispec.MediaTypeImageManifest, m, refs)
}

func (s *Store) writeJSON(ctx context.Context, mediaType string, v any, refs map[string]string) (ocispec.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	ref := "json-" + uuid.NewString()
	if err := content.WriteBlob(ctx, s.content, ref, strings.NewReader(string(b)), desc, content.WithLabels(refs)); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("store %s: %w", mediaType, err)
	}
	// Content that was there before may lack the labels.
	fields := make([]string, 0, len(refs))
	for k := range refs {
		fields = append(fields, "labels."+k)
	}
	if _, err := s.content.Update(ctx, content.Info{Digest: desc.Digest, Labels: refs}, fields...); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("store %s: %w", mediaType, err)
	}
	return desc, nil
}

// meterReader reports progress and ends with its context.
type meterReader struct {
	ctx    context.Context
	r      io.Reader
	report func(string)
	n      int64
	next   int64
}

func (m *meterReader) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	if m.report != nil && (m.n >= m.next || err == io.EOF) {
		m.next = m.n + 64<<20
		m.report("unpacked " + mib(m.n))
	}
	return n, err
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func short(d digest.Digest) string {
	if e := d.Encoded(); len(e) > 12 {
		return e[:12]
	}
	return d.String()
}
