//go:build root

package rootfs

import (
	"fmt"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BenchmarkCreateMount is what a cold create pays for its root, with a formatted
// disk ready.
func BenchmarkCreateMount(b *testing.B) {
	for _, userns := range []uint32{0, 1 << 20} {
		b.Run(fmt.Sprintf("userns=%t", userns != 0), func(b *testing.B) {
			const size = 3 << 30
			dir := b.TempDir()
			s, err := Open(b.Context(), Config{Dir: dir, Ready: map[int64]int{size: 6}})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			defer s.Reconcile(b.Context(), nil)
			loop := s.disks["loop"].(*loopDisk)
			if _, err := s.ImportTar(b.Context(), "small", smallRoot(b), ocispec.ImageConfig{}, nil); err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				b.StopTimer()
				for loop.lacking() != 0 {
					time.Sleep(10 * time.Millisecond)
				}
				i++
				id := fmt.Sprint("r", i)
				b.StartTimer()
				if err := s.Create(b.Context(), RootSpec{ID: id, Image: "small", DiskBytes: size, UserNS: userns}); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Mount(b.Context(), id); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Delete(b.Context(), id); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
