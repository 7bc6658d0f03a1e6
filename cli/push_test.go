package cli

import (
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func anImage(t *testing.T, architecture string) v1.Image {
	t.Helper()
	image, err := random.Image(1024, 2)
	var config *v1.ConfigFile
	if err == nil {
		config, err = image.ConfigFile()
	}
	if err == nil {
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", architecture
		image, err = mutate.ConfigFile(image, config)
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// TestImagesArePushed reads archives and layouts, and puts them into a registry.
func TestImagesArePushed(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	image := anImage(t, "amd64")
	want, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	archive, folder := filepath.Join(t.TempDir(), "a.tar"), t.TempDir()
	tag, err := name.NewTag("tools:1.0")
	if err == nil {
		err = tarball.WriteToFile(archive, tag, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layout.Write(folder, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image})); err != nil {
		t.Fatal(err)
	}
	for what, source := range map[string]string{"archive": archive, "layout": folder} {
		read, release, err := localImage(t.Context(), source)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := checkPlatform(read, source); err != nil {
			t.Error(err)
		}
		a, _ := testApp()
		a.Err = io.Discard
		target := host + "/project/" + what + ":1"
		if err := a.sendImage(t.Context(), read, target, "user", "secret"); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		release()
		ref, err := name.ParseReference(target, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		there, err := remote.Head(ref)
		if err != nil {
			t.Fatal(err)
		}
		if what == "layout" && there.Digest != want {
			t.Errorf("%s: %s arrived, want %s", what, there.Digest, want)
		}
	}
	if err := checkPlatform(anImage(t, "arm64"), "x"); err == nil || !strings.Contains(err.Error(), "not compatible with AMD architecture") {
		t.Errorf("an image for ARM: %v", err)
	}
	if _, _, err := localImage(t.Context(), "push_test.go"); err == nil {
		t.Error("a file that is no image was taken")
	}
}

func TestRepository(t *testing.T) {
	for source, want := range map[string]string{"tools:1.0": "tools", "localhost:5000/a/My_App:2": "my_app", "push_test.go": "the-snapshot"} {
		if got := repository(source, "The snapshot"); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}
