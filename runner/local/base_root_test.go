//go:build root

package local

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/runner/rootfs"
)

// debianRegistry serves one image as library/debian:bookworm-slim, and notes
// what is asked of it.
func debianRegistry(t *testing.T) (url string, asked map[string]int) {
	t.Helper()
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	const text = "the one from the registry\n"
	if err := tw.WriteHeader(&tar.Header{Name: "etc/debian_version", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}

	blobs, types := map[digest.Digest][]byte{}, map[digest.Digest]string{}
	put := func(mediaType string, b []byte) ocispec.Descriptor {
		d := digest.FromBytes(b)
		blobs[d], types[d] = b, mediaType
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
	}
	putJSON := func(mediaType string, v any) ocispec.Descriptor {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return put(mediaType, b)
	}
	l := put(ocispec.MediaTypeImageLayer, layer.Bytes())
	config := putJSON(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.Digest}},
	})
	manifest := putJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{l},
	})

	asked = map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		ref := digest.Digest(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		switch {
		case r.URL.Path == "/v2/":
			return
		case r.URL.Path == "/v2/library/debian/manifests/bookworm-slim":
			ref = manifest.Digest
		}
		b, ok := blobs[ref]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", types[ref])
		w.Header().Set("Docker-Content-Digest", ref.String())
		if _, err := w.Write(b); err != nil {
			t.Log(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func baseStore(t *testing.T, cfg Config) *rootfs.Store {
	t.Helper()
	store, err := rootfs.Open(t.Context(), rootfs.Config{Dir: filepath.Join(t.TempDir(), "images"), Disk: "loop", Mirrors: cfg.RegistryMirrors, Log: cfg.Log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestBaseIsPulledWhereARegistryCanBeReached(t *testing.T) {
	url, asked := debianRegistry(t)
	cfg := Config{RegistryMirrors: map[string]string{"docker.io": url}, Log: slog.New(slog.DiscardHandler)}
	store := baseStore(t, cfg)
	if err := makeBase(t.Context(), cfg, store, baseName, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if asked["/v2/library/debian/manifests/bookworm-slim"] == 0 {
		t.Errorf("asked of the registry: %v", asked)
	}
	img, err := store.Image(t.Context(), baseName)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Create(t.Context(), rootfs.RootSpec{ID: "base-test", Image: img.Name, DiskBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Delete(t.Context(), "base-test"); err != nil {
			t.Error(err)
		}
	}()
	root, err := store.Mount(t.Context(), "base-test")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "etc/debian_version")); err != nil || string(b) != "the one from the registry\n" {
		t.Errorf("the base holds %q, %v", b, err)
	}
}

// An image that somebody chose is not replaced by another one.
func TestChosenBaseIsNotReplaced(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	cfg := Config{
		BaseImage: "docker.io/library/chosen:1", RegistryMirrors: map[string]string{"docker.io": closed.URL},
		Log: slog.New(slog.DiscardHandler),
	}
	store := baseStore(t, cfg)
	if err := makeBase(t.Context(), cfg, store, baseName, func(string) {}); err == nil {
		t.Fatal("it was made from something else")
	}
	if _, err := store.Image(t.Context(), baseName); err == nil {
		t.Error("a base is in the store")
	}
}
