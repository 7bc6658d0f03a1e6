//go:build root

package rootfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"archive/tar"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/internal/fault"
)

// registry is a small read-only OCI registry.
type registry struct {
	*httptest.Server
	mu    sync.Mutex
	blobs map[digest.Digest][]byte
	types map[digest.Digest]string
	tags  map[string]digest.Digest
	// damage changes a blob on its way out.
	damage func(d digest.Digest, b []byte) []byte
	served map[digest.Digest]int
	refuse atomic.Int64 // status for everything, when set
}

func newRegistry(t *testing.T) *registry {
	r := &registry{blobs: map[digest.Digest][]byte{}, types: map[digest.Digest]string{}, tags: map[string]digest.Digest{}, served: map[digest.Digest]int{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if s := r.refuse.Load(); s != 0 {
		w.WriteHeader(int(s))
		return
	}
	p := strings.Split(strings.TrimPrefix(q.URL.Path, "/v2/"), "/")
	if len(p) < 3 {
		w.WriteHeader(http.StatusOK)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kind, ref := p[len(p)-2], p[len(p)-1]
	d := digest.Digest(ref)
	if kind == "manifests" && !strings.Contains(ref, ":") {
		d = r.tags[strings.Join(p[:len(p)-2], "/")+":"+ref]
	}
	b, ok := r.blobs[d]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if q.Method == http.MethodGet {
		r.served[d]++
	}
	w.Header().Set("Content-Type", r.types[d])
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	if r.damage != nil && kind == "blobs" {
		b = r.damage(d, b)
	}
	if q.Method != http.MethodHead {
		_, _ = w.Write(b)
	}
}

func (r *registry) host() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *registry) put(mediaType string, b []byte) ocispec.Descriptor {
	d := digest.FromBytes(b)
	r.blobs[d], r.types[d] = b, mediaType
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func (r *registry) putJSON(mediaType string, v any) ocispec.Descriptor {
	b, _ := json.Marshal(v)
	return r.put(mediaType, b)
}

// image stores an image of gzip layers for a platform.
func (r *registry) image(t *testing.T, p ocispec.Platform, layers ...*bytes.Buffer) ocispec.Descriptor {
	t.Helper()
	spec := ocispec.Image{Platform: p, Config: ocispec.ImageConfig{Cmd: []string{p.Architecture}}, RootFS: ocispec.RootFS{Type: "layers"}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		spec.RootFS.DiffIDs = append(spec.RootFS.DiffIDs, digest.FromBytes(l.Bytes()))
		var z bytes.Buffer
		gz := gzip.NewWriter(&z)
		if _, err := gz.Write(l.Bytes()); err != nil {
			t.Fatal(err)
		}
		gz.Close()
		m.Layers = append(m.Layers, r.put(ocispec.MediaTypeImageLayerGzip, z.Bytes()))
	}
	m.Config = r.putJSON(ocispec.MediaTypeImageConfig, spec)
	d := r.putJSON(ocispec.MediaTypeImageManifest, m)
	d.Platform = &p
	return d
}

// sample puts an index of two platforms under library/sample:1. The image has
// two layers, the upper with deletions.
func (r *registry) sample(t *testing.T) (layers []digest.Digest) {
	t.Helper()
	upper := tarOf(t,
		dirEntry("etc/"), tarEntry{h: tar.Header{Name: "etc/.wh.gone"}},
		dirEntry("opaque/"), tarEntry{h: tar.Header{Name: "opaque/.wh..wh..opq"}}, tarEntry{h: tar.Header{Name: "opaque/new"}, content: "new"},
		tarEntry{h: tar.Header{Name: "three", Typeflag: tar.TypeLink, Linkname: "opaque/new"}},
	)
	// Data that does not compress, so that a layer can be cut in its middle.
	noise := make([]byte, 1<<20)
	x := uint32(1)
	for i := range noise {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	big := tarOf(t, tarEntry{h: tar.Header{Name: "noise"}, content: string(noise)})
	mine := r.image(t, hostPlatform(), smallRoot(t), upper, big)
	other := r.image(t, ocispec.Platform{OS: "linux", Architecture: "s390x"}, smallRoot(t))
	idx := r.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{other, mine}})
	r.tags["library/sample:1"] = idx.Digest
	r.tags["library/foreign:1"] = other.Digest
	var m ocispec.Manifest
	if err := json.Unmarshal(r.blobs[mine.Digest], &m); err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		layers = append(layers, l.Digest)
	}
	return layers
}

func checkSample(t *testing.T, s *Store, image string) {
	t.Helper()
	p := mustMount(t, s, RootSpec{ID: "check-" + image, Image: image})
	if readFile(t, p+"/opaque/new") != "new" || readFile(t, p+"/three") != "new" {
		t.Error("files of the upper layer are wrong")
	}
	for _, gone := range []string{"/etc/gone", "/opaque/old"} {
		if _, err := os.Lstat(p + gone); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", gone, err)
		}
	}
	if err := s.Delete(t.Context(), "check-"+image); err != nil {
		t.Fatal(err)
	}
}

func TestPull(t *testing.T) {
	r := newRegistry(t)
	r.sample(t)
	s := testStore(t, Config{Mirrors: map[string]string{"docker.io": r.URL}})
	var lines []string
	im, err := s.Pull(t.Context(), "direct", r.host()+"/library/sample:1", nil, func(l string) { lines = append(lines, l) })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{hostPlatform().Architecture}, im.Config.Cmd); d != "" {
		t.Error("wrong platform:", d)
	}
	if len(lines) == 0 {
		t.Error("no progress")
	}
	checkSample(t, s, "direct")
	// A short name goes to the mirror of its registry.
	if _, err := s.Pull(t.Context(), "mirrored", "sample:1", nil, nil); err != nil {
		t.Fatal(err)
	}
	checkSample(t, s, "mirrored")
	list, err := s.Images(t.Context())
	if err != nil || len(list) != 2 || list[0].Digest != list[1].Digest || list[0].SizeBytes < 1<<20 {
		t.Error(list, err)
	}
	for _, n := range []string{"direct", "mirrored"} {
		if err := s.RemoveImage(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := layersLeft(s); err != nil {
		t.Error(err)
	}
}

// A tag that has moved: with the digest that it stood for the same image comes
// again, and where the registry no longer has that, somebody is told what to do.
func TestPullPinned(t *testing.T) {
	r := newRegistry(t)
	r.sample(t)
	s := testStore(t, Config{})
	ref := r.host() + "/library/sample:1"
	first, err := s.Pull(t.Context(), "first", ref, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	was := r.tags["library/sample:1"]
	if first.Pulled != was.String() {
		t.Errorf("pulled %s, the tag stood for %s", first.Pulled, was)
	}
	if err := s.RemoveImage(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	r.tags["library/sample:1"] = r.image(t, hostPlatform(), smallRoot(t)).Digest
	again, err := s.Pull(t.Context(), "again", ref+"@"+first.Pulled, nil, nil)
	if err != nil || again.Digest != first.Digest || again.Pulled != first.Pulled {
		t.Errorf("again: %+v, %v", again, err)
	}
	checkSample(t, s, "again")
	if err := s.RemoveImage(t.Context(), "again"); err != nil {
		t.Fatal(err)
	}
	delete(r.blobs, was)
	_, err = s.Pull(t.Context(), "gone", ref+"@"+first.Pulled, nil, nil)
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "make a new snapshot") {
		t.Errorf("gone: %v", err)
	}
}

func TestPullTwiceAtOnce(t *testing.T) {
	r := newRegistry(t)
	r.sample(t)
	s := testStore(t, Config{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if _, err := s.Pull(t.Context(), fmt.Sprintf("p%d", i%2), r.host()+"/library/sample:1", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	checkSample(t, s, "p0")
	checkSample(t, s, "p1")
}

func TestPullDamaged(t *testing.T) {
	r := newRegistry(t)
	layers := r.sample(t)
	target := layers[2]
	for name, damage := range map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"flipped": func(b []byte) []byte {
			b = bytes.Clone(b)
			b[len(b)/2] ^= 1
			return b
		},
		"other data": func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t, Config{})
			r.mu.Lock()
			r.damage = func(d digest.Digest, b []byte) []byte {
				if d == target {
					return damage(b)
				}
				return b
			}
			r.mu.Unlock()
			if _, err := s.Pull(t.Context(), "x", r.host()+"/library/sample:1", nil, nil); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "damaged") {
				t.Error("damaged layer:", err)
			}
			if err := layersLeft(s); err != nil {
				t.Error("after the failure:", err)
			}
			if left, _ := filepath.Glob(s.path("content", "ingest", "*")); len(left) != 0 {
				t.Error("half a download is kept:", left)
			}
			// The same store gets it right as soon as the registry does.
			r.mu.Lock()
			r.damage = nil
			r.mu.Unlock()
			if _, err := s.Pull(t.Context(), "x", r.host()+"/library/sample:1", nil, nil); err != nil {
				t.Fatal("after the repair:", err)
			}
			checkSample(t, s, "x")
		})
	}
}

func TestPullWrongDiffID(t *testing.T) {
	r := newRegistry(t)
	r.sample(t)
	idx := r.blobs[r.tags["library/foreign:1"]]
	var m ocispec.Manifest
	if err := json.Unmarshal(idx, &m); err != nil {
		t.Fatal(err)
	}
	lie := ocispec.Image{Platform: hostPlatform(), RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("lie")}}}
	m.Config = r.putJSON(ocispec.MediaTypeImageConfig, lie)
	r.tags["library/lie:1"] = r.putJSON(ocispec.MediaTypeImageManifest, m).Digest
	s := testStore(t, Config{})
	if _, err := s.Pull(t.Context(), "x", r.host()+"/library/lie:1", nil, nil); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	if err := layersLeft(s); err != nil {
		t.Error(err)
	}
}

func TestPullRefused(t *testing.T) {
	r := newRegistry(t)
	r.sample(t)
	s := testStore(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ref  string
		ctx  context.Context
		want fault.Kind
	}{
		{ref: "UPPER CASE", want: fault.Invalid},
		{ref: r.host() + "/library/absent:1", want: fault.NotFound},
		{ref: r.host() + "/library/foreign:1", want: fault.Unprocessable},
		{ref: "127.0.0.1:1/library/sample:1", want: fault.Unavailable},
		{ref: r.host() + "/library/sample:1", ctx: ctx, want: fault.Internal},
	} {
		if c.ctx == nil {
			c.ctx = t.Context()
		}
		if _, err := s.Pull(c.ctx, "x", c.ref, nil, nil); !fault.Is(err, c.want) {
			t.Errorf("%s: %v; want %s", c.ref, err, c.want)
		}
	}
	for status, want := range map[int64]fault.Kind{401: fault.Forbidden, 403: fault.Forbidden, 404: fault.NotFound, 500: fault.Unavailable} {
		r.refuse.Store(status)
		if _, err := s.Pull(t.Context(), "x", r.host()+"/library/sample:1", nil, nil); !fault.Is(err, want) {
			t.Errorf("status %d: %v; want %s", status, err, want)
		}
	}
	if list, err := s.Images(t.Context()); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
}
