// Package registrytest has a registry in memory for tests, which misbehaves
// when it is told to.
package registrytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry is a read-only OCI registry over plain HTTP.
type Registry struct {
	*httptest.Server

	mu     sync.Mutex
	blobs  map[digest.Digest][]byte
	types  map[digest.Digest]string
	tags   map[string]digest.Digest
	user   string // who may read, with pass; "" is everybody
	pass   string
	meddle func(w http.ResponseWriter, r *http.Request) bool
}

// New starts a registry that ends with the test.
func New(t testing.TB) *Registry {
	t.Helper()
	r := &Registry{blobs: map[digest.Digest][]byte{}, types: map[digest.Digest]string{}, tags: map[string]digest.Digest{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

// Host is the registry's name in references.
func (r *Registry) Host() string { return strings.TrimPrefix(r.URL, "http://") }

// Protect lets only one account read.
func (r *Registry) Protect(user, pass string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user, r.pass = user, pass
}

// Meddle has f see every request first; when it returns true it has answered.
func (r *Registry) Meddle(f func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.meddle = f
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	meddle, user, pass := r.meddle, r.user, r.pass
	r.mu.Unlock()
	if user != "" {
		if u, p, _ := q.BasicAuth(); u != user || p != pass {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	}
	if meddle != nil && meddle(w, q) {
		return
	}
	p := strings.Split(strings.TrimPrefix(q.URL.Path, "/v2/"), "/")
	if len(p) < 3 {
		w.WriteHeader(http.StatusOK)
		return
	}
	r.mu.Lock()
	kind, ref := p[len(p)-2], p[len(p)-1]
	d := digest.Digest(ref)
	if kind == "manifests" && !strings.Contains(ref, ":") {
		d = r.tags[strings.Join(p[:len(p)-2], "/")+":"+ref]
	}
	b, ok := r.blobs[d]
	mediaType := r.types[d]
	r.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	if q.Method != http.MethodHead {
		_, _ = w.Write(b)
	}
}

func (r *Registry) put(mediaType string, b []byte) ocispec.Descriptor {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := digest.FromBytes(b)
	r.blobs[d], r.types[d] = b, mediaType
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func (r *Registry) putJSON(t testing.TB, mediaType string, v any) ocispec.Descriptor {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return r.put(mediaType, b)
}

// Push stores an image of tar layers for this machine under "name:tag".
// change, which may be nil, edits its configuration.
func (r *Registry) Push(t testing.TB, nameTag string, change func(*ocispec.Image), layers ...[]byte) ocispec.Manifest {
	t.Helper()
	spec := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		spec.RootFS.DiffIDs = append(spec.RootFS.DiffIDs, digest.FromBytes(l))
		var z bytes.Buffer
		gz, err := gzip.NewWriterLevel(&z, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := gz.Write(l); err != nil {
			t.Fatal(err)
		}
		if err := gz.Close(); err != nil {
			t.Fatal(err)
		}
		m.Layers = append(m.Layers, r.put(ocispec.MediaTypeImageLayerGzip, z.Bytes()))
	}
	if change != nil {
		change(&spec)
	}
	m.Config = r.putJSON(t, ocispec.MediaTypeImageConfig, spec)
	r.Tag(nameTag, r.putJSON(t, ocispec.MediaTypeImageManifest, m).Digest)
	return m
}

// Tag gives a manifest a name.
func (r *Registry) Tag(nameTag string, d digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tags[nameTag] = d
}

// File is an entry of a layer.
type File struct {
	Name, Text, Link string
	Mode             int64
}

// Layer makes a tar of files; a name that ends with a slash is a directory.
func Layer(t testing.TB, files ...File) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: f.Mode, Size: int64(len(f.Text)), Typeflag: tar.TypeReg}
		switch {
		case strings.HasSuffix(f.Name, "/"):
			h.Typeflag = tar.TypeDir
		case f.Link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(f.Text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Busybox is a small system: a shell and the usual tools.
func Busybox(t testing.TB) []byte {
	t.Helper()
	program, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		t.Skip("busybox-static is not installed")
	}
	files := []File{
		{Name: "bin/"}, {Name: "etc/"}, {Name: "proc/"}, {Name: "dev/"}, {Name: "sys/"}, {Name: "usr/"}, {Name: "usr/local/"}, {Name: "usr/local/bin/"},
		{Name: "root/"}, {Name: "tmp/", Mode: 0o1777}, {Name: "run/"}, {Name: "var/"},
		{Name: "bin/busybox", Text: string(program)},
		{Name: "etc/passwd", Text: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", Mode: 0o644},
		{Name: "etc/group", Text: "root:x:0:\nnogroup:x:65534:\n", Mode: 0o644},
	}
	for _, tool := range strings.Fields("sh cat ls mkdir rm echo id sleep dd cp mv chmod chown wget nc env test true false stat find grep head tail wc touch ln sha256sum nslookup ip ps kill df mount hostname tar readlink") {
		files = append(files, File{Name: "bin/" + tool, Link: "busybox"})
	}
	return Layer(t, files...)
}
