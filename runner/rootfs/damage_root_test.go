//go:build root

package rootfs

import (
	"testing"

	"github.com/containerd/containerd/v2/core/images"

	"daytona/internal/fault"
)

// TestDamagedImageIsForgotten: an image whose layers are missing must not stay in
// the way of making it anew, and the others are not touched.
func TestDamagedImageIsForgotten(t *testing.T) {
	dir := testDir(t)
	s, err := Open(t.Context(), Config{Dir: dir, Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	importSmall(t, s, "whole")
	ctx := s.scope(t.Context())
	im, err := s.images.Get(ctx, "whole")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.images.Create(ctx, images.Image{Name: "damaged", Target: im.Target, Labels: map[string]string{chainLabel: "there is none"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Image(t.Context(), "damaged"); err == nil || fault.Is(err, fault.NotFound) {
		t.Fatalf("it is not damaged: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, Config{Dir: dir})
	if _, err := s.Image(t.Context(), "damaged"); !fault.Is(err, fault.NotFound) {
		t.Errorf("after the restart: %v", err)
	}
	importSmall(t, s, "damaged")
	for _, name := range []string{"whole", "damaged"} {
		mustMount(t, s, RootSpec{ID: "of-" + name, Image: name})
		if err := s.Delete(t.Context(), "of-"+name); err != nil {
			t.Error(err)
		}
	}
}
