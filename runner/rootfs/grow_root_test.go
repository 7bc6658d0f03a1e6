//go:build root

package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"daytona/internal/fault"
)

func TestResize(t *testing.T) {
	for _, kind := range []string{"loop", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			cfg := Config{Disk: kind}
			if kind == "btrfs" {
				cfg.Dir = btrfsDir(t)
			}
			s := testStore(t, cfg)
			importSmall(t, s, "small")
			p := mustMount(t, s, RootSpec{ID: "r", Image: "small"})
			everything(t, p)
			want := describe(t, p)
			if err := s.Resize(t.Context(), "r", 4*testDisk); !fault.Is(err, fault.Conflict) {
				t.Error("of a mounted root:", err)
			}
			if err := s.Unmount(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := s.Resize(t.Context(), "r", 4*testDisk); err != nil {
					t.Fatal(err)
				}
			}
			p, err := s.Mount(t.Context(), "r")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, describe(t, p)); d != "" {
				t.Errorf("its files changed (-was +is):\n%s", d)
			}
			u, err := s.Usage(t.Context(), "r")
			if err != nil || u.TotalBytes < 4*testDisk*95/100 || u.TotalBytes > 4*testDisk*105/100 {
				t.Errorf("it has %d bytes, want %d: %v", u.TotalBytes, 4*testDisk, err)
			}
			if n := fillDisk(t, p+"/full"); n < 3*testDisk || n > 4*testDisk*105/100 {
				t.Errorf("%d MiB fit, want nearly %d", n>>20, 4*testDisk>>20)
			}
			if err := s.Unmount(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			list, err := s.Roots(t.Context())
			if err != nil || len(list) != 1 || list[0].DiskBytes != 4*testDisk {
				t.Errorf("roots %+v %v", list, err)
			}
		})
	}
}

// TestResizeAfterAKill begins anew where a killed process has left half a copy.
func TestResizeAfterAKill(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "r", Image: "small"})
	write(t, p+"/kept", "kept")
	if err := s.Unmount(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	const more = 20 << 30 // more descriptors of groups than there was room for
	image := filepath.Join(s.path("roots", "r"), loopImage)
	if err := errors.Join(cloneSparse(image, image+".tmp"), os.Truncate(image+".tmp", 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := s.Resize(t.Context(), "r", more); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(image + ".tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Error("half a copy is left:", err)
	}
	p, err := s.Mount(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	if u, err := s.Usage(t.Context(), "r"); err != nil || u.TotalBytes < more || readFile(t, p+"/kept") != "kept" {
		t.Errorf("%+v %v", u, err)
	}
}
