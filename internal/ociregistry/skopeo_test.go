package ociregistry_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A client that is nobody's of ours pushes, lists, pulls and deletes.
func TestSkopeo(t *testing.T) {
	program, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed: scripts/deps.sh test")
	}
	w := newWorld(t, t.TempDir())
	host := strings.TrimPrefix(w.url, "http://")
	layout, back := t.TempDir(), filepath.Join(t.TempDir(), "back")
	want := writeLayout(t, layout)
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), program, append([]string{"--insecure-policy"}, args...)...).CombinedOutput()
		return string(out), err
	}
	image := "docker://" + host + "/p/a/tools:1"
	if out, err := run("copy", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds", "a:good", "oci:"+layout+":1", image); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	for name, creds := range map[string]string{"another": "b:good", "a wrong password": "a:bad"} {
		if out, err := run("inspect", "--tls-verify=false", "--creds", creds, image); err == nil {
			t.Errorf("%s: %s", name, out)
		}
		if out, err := run("copy", "--dest-tls-verify=false", "--dest-creds", creds, "oci:"+layout+":1", image); err == nil {
			t.Errorf("%s pushes: %s", name, out)
		}
	}
	if out, err := run("copy", "--preserve-digests", "--src-tls-verify=false", "--src-creds", "a:good", image, "oci:"+back+":1"); err != nil {
		t.Fatalf("pull: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(back, "blobs/sha256", want.Encoded()))
	if err != nil || digest.FromBytes(data) != want {
		t.Errorf("pulled: %v", err)
	}
	if out, err := run("delete", "--tls-verify=false", "--creds", "a:good", image); err != nil {
		t.Errorf("delete: %v\n%s", err, out)
	}
	if out, err := run("inspect", "--tls-verify=false", "--creds", "a:good", image); err == nil {
		t.Errorf("after the delete: %s", out)
	}
}

// writeLayout writes an image of one layer with the tag 1, and returns the
// digest of its manifest.
func writeLayout(t *testing.T, dir string) digest.Digest {
	t.Helper()
	put := func(mediaType string, data []byte) v1.Descriptor {
		d := digest.FromBytes(data)
		path := filepath.Join(dir, "blobs/sha256", d.Encoded())
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	content := layer(t)
	config := put(v1.MediaTypeImageConfig, encode(v1.Image{Platform: v1.Platform{Architecture: "amd64", OS: "linux"}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(content)}}}))
	m := put(v1.MediaTypeImageManifest, encode(v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: config, Layers: []v1.Descriptor{put(v1.MediaTypeImageLayer, content)}}))
	m.Annotations = map[string]string{v1.AnnotationRefName: "1"}
	for name, data := range map[string][]byte{
		v1.ImageLayoutFile: encode(v1.ImageLayout{Version: v1.ImageLayoutVersion}),
		v1.ImageIndexFile:  encode(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{m}}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m.Digest
}
