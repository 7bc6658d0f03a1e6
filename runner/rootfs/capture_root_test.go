//go:build root

package rootfs

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var capturedConfig = ocispec.ImageConfig{User: "daytona", Env: []string{"A=b"}}

func capture(t *testing.T, s *Store, id, name string) Image {
	t.Helper()
	im, err := s.Capture(t.Context(), id, name, capturedConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// TestCapture makes an image of a root, a root of that, and an image again: what
// is in it must be the same, whatever became of the first.
func TestCapture(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "r", Image: "small"})
	everything(t, p)
	want := describe(t, p)
	mounted := capture(t, s, "r", "mounted")
	if err := s.Unmount(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	first := capture(t, s, "r", "first")
	if first.Digest != mounted.Digest {
		t.Error("the same files are two images")
	}
	if d := cmp.Diff(capturedConfig, first.Config); d != "" {
		t.Error(d)
	}
	if err := s.Delete(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveImage(t.Context(), "small"); err != nil {
		t.Fatal(err)
	}
	q := mustMount(t, s, RootSpec{ID: "q", Image: "first"})
	if d := cmp.Diff(want, describe(t, q)); d != "" {
		t.Errorf("a root of the image differs (-was +is):\n%s", d)
	}
	write(t, q+"/more", "more")
	if err := os.Remove(q + "/opaque/new"); err != nil {
		t.Fatal(err)
	}
	want = describe(t, q)
	if err := s.Unmount(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	capture(t, s, "q", "second")
	if d := cmp.Diff(want, describe(t, mustMount(t, s, RootSpec{ID: "z", Image: "second"}))); d != "" {
		t.Errorf("a root of the image of a root of an image differs (-was +is):\n%s", d)
	}
}

// TestCaptureThatIsCutOff leaves no layer behind.
func TestCaptureThatIsCutOff(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "r", Image: "small"})
	everything(t, p)
	layers := func() []string {
		list, err := filepath.Glob(s.path("snapshots", "snapshots", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	before := layers()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := s.Capture(ctx, "r", "x", capturedConfig, func(string) { cancel() }); err == nil {
		t.Fatal("it went through")
	}
	if d := cmp.Diff(before, layers()); d != "" {
		t.Errorf("layers (-before +after):\n%s", d)
	}
	capture(t, s, "r", "x")
}
