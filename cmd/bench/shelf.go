package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// shelf is a registry to read from, over files in a directory: all subjects pull
// from the same one.
type shelf struct {
	dir, host string
	server    *http.Server
	manifests map[string][]byte // by name/tag and by digest
}

// openShelf serves from an empty directory, which Close removes.
func openShelf(ctx context.Context, dir string) (*shelf, error) {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &shelf{dir: dir, host: l.Addr().String(), manifests: map[string][]byte{}}
	s.server = &http.Server{Handler: s} //nolint:gosec // its clients are on this machine, and ours
	go func() { _ = s.server.Serve(l) }()
	return s, nil
}

func (s *shelf) Close() error { return errors.Join(s.server.Close(), os.RemoveAll(s.dir)) }

// ServeHTTP implements http.Handler.
func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	if len(parts) < 3 {
		return // "is this a registry?"
	}
	name, kind, ref := strings.Join(parts[:len(parts)-2], "/"), parts[len(parts)-2], parts[len(parts)-1]
	if kind == "blobs" {
		_, sum, _ := strings.Cut(ref, ":")
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Docker-Content-Digest", ref)
		http.ServeFile(w, r, filepath.Join(s.dir, filepath.Base(sum)))
		return
	}
	m, ok := s.manifests[ref]
	if !ok {
		if m, ok = s.manifests[name+":"+ref]; !ok {
			http.NotFound(w, r)
			return
		}
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(m).String())
	w.Header().Set("Content-Length", fmt.Sprint(len(m)))
	_, _ = w.Write(m)
}

// push makes an image of layers and returns its reference.
func (s *shelf) push(nameTag string, layers ...func(*tar.Writer) error) (string, error) {
	spec := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Cmd: []string{"sleep", "infinity"}},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, fill := range layers {
		desc, diffID, err := s.layer(fill)
		if err != nil {
			return "", err
		}
		m.Layers = append(m.Layers, desc)
		spec.RootFS.DiffIDs = append(spec.RootFS.DiffIDs, diffID)
	}
	config, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	if err := os.WriteFile(filepath.Join(s.dir, m.Config.Digest.Encoded()), config, 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(m)
	s.manifests[nameTag], s.manifests[digest.FromBytes(text).String()] = text, text
	return s.host + "/" + nameTag, err
}

func (s *shelf) layer(fill func(*tar.Writer) error) (desc ocispec.Descriptor, diffID digest.Digest, err error) {
	f, err := os.CreateTemp(s.dir, "layer")
	if err != nil {
		return desc, "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	packed, plain := &counted{Hash: sha256.New()}, sha256.New()
	z, err := gzip.NewWriterLevel(io.MultiWriter(f, packed), gzip.BestSpeed)
	if err != nil {
		return desc, "", err
	}
	tw := tar.NewWriter(io.MultiWriter(z, plain))
	if err := errors.Join(fill(tw), tw.Close(), z.Close()); err != nil {
		return desc, "", err
	}
	sum := hex.EncodeToString(packed.Sum(nil))
	desc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.NewDigestFromEncoded(digest.SHA256, sum), Size: packed.n}
	return desc, digest.NewDigestFromBytes(digest.SHA256, plain.Sum(nil)), os.Rename(f.Name(), filepath.Join(s.dir, sum))
}

// counted is a hash that counts what it is given.
type counted struct {
	hash.Hash
	n int64
}

func (c *counted) Write(p []byte) (int, error) { c.n += int64(len(p)); return c.Hash.Write(p) }

// system is a layer with a shell and the usual tools.
func system(tw *tar.Writer) error {
	program, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		return fmt.Errorf("busybox is missing: run make deps-bench (%w)", err)
	}
	for _, dir := range strings.Fields("bin/ etc/ proc/ dev/ sys/ usr/ usr/local/ usr/local/bin/ root/ tmp/ run/ var/") {
		if err := entry(tw, tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil); err != nil {
			return err
		}
	}
	const passwd, group = "root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\n"
	errs := []error{
		entry(tw, tar.Header{Name: "bin/busybox", Mode: 0o755}, program),
		entry(tw, tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte(passwd)), entry(tw, tar.Header{Name: "etc/group", Mode: 0o644}, []byte(group)),
	}
	for _, tool := range strings.Fields("sh cat ls mkdir rm echo id sleep true seq touch") {
		errs = append(errs, entry(tw, tar.Header{Name: "bin/" + tool, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil))
	}
	return errors.Join(errs...)
}

// noise is a layer of files of 64 KiB, half of which gzip makes small, as it does
// with programs. The same seed is the same layer.
func noise(seed uint64, size int64) func(*tar.Writer) error {
	return func(tw *tar.Writer) error {
		source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
		file := bytes.Repeat([]byte("what compresses well "), 64<<10/21+1)[:64<<10]
		dir := fmt.Sprintf("data-%d/", seed)
		if err := entry(tw, tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil); err != nil {
			return err
		}
		for i := range size / int64(len(file)) {
			_, _ = source.Read(file[:len(file)/2]) // never fails
			if err := entry(tw, tar.Header{Name: fmt.Sprintf("%sfile-%d", dir, i), Mode: 0o644}, file); err != nil {
				return err
			}
		}
		return nil
	}
}

func entry(tw *tar.Writer, h tar.Header, data []byte) error {
	h.Size = int64(len(data))
	if err := tw.WriteHeader(&h); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}
