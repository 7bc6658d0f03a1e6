//go:build root

package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

func export(t *testing.T, s *Store, id string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Export(t.Context(), id, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestExportedRootComesBackWhole(t *testing.T) {
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
			// What a layer of an image could not hold.
			write(t, p+"/.wh.etc", "a name like a deletion")
			write(t, p+"/.wh..wh..opq", "")
			write(t, p+"/holes", "begin")
			holes, err := os.OpenFile(p+"/holes", os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := holes.WriteAt([]byte("end"), 1<<33); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(holes.Truncate(1<<34), holes.Close()); err != nil {
				t.Fatal(err)
			}
			write(t, p+"/onehole", "")
			if err := os.Truncate(p+"/onehole", 1<<30); err != nil {
				t.Fatal(err)
			}
			digestSkips = map[string]bool{"/holes": true, "/onehole": true}
			defer func() { digestSkips = nil }()
			want := describe(t, p)
			if err := s.Unmount(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			files := export(t, s, "r")
			if !bytes.Equal(files, export(t, s, "r")) {
				t.Error("two exports of the same files differ, so that none could be resumed")
			}
			base, err := s.Base(t.Context(), "r")
			if err != nil {
				t.Fatal(err)
			}
			spec := RootSpec{ID: "copy", Image: "small", DiskBytes: testDisk}
			for range 2 { // the second finds it there
				if err := s.Import(t.Context(), spec, base, bytes.NewReader(files)); err != nil {
					t.Fatal(err)
				}
			}
			q := mustMount(t, s, spec)
			if d := cmp.Diff(want, describe(t, q)); d != "" {
				t.Errorf("the root came back different (-was +is):\n%s", d)
			}
			var st unix.Stat_t
			if err := unix.Lstat(q+"/holes", &st); err != nil || st.Size != 1<<34 || st.Blocks*512 > 1<<20 {
				t.Errorf("a file with holes takes %d bytes for %d: %v", st.Blocks*512, st.Size, err)
			}
			end := make([]byte, 3)
			if f, err := os.Open(q + "/holes"); err != nil {
				t.Error(err)
			} else {
				if _, err := f.ReadAt(end, 1<<33); err != nil || string(end) != "end" {
					t.Errorf("after the hole: %q %v", end, err)
				}
				f.Close()
			}
			if err := unix.Lstat(q+"/socket", &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
				t.Errorf("the socket: mode %o %v", st.Mode, err)
			}
			// The root itself, its deletions included.
			if err := unix.Lstat(q, &st); err != nil || st.Mode&0o777 != 0o755 {
				t.Errorf("the top directory: mode %o %v", st.Mode, err)
			}
		})
	}
}

func TestExportWhileMounted(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "r", Image: "small"})
	write(t, p+"/kept", "kept")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := filepath.Join(p, "comes-and-goes")
			_ = os.WriteFile(name, bytes.Repeat([]byte("x"), i%100_000), 0o600)
			_ = os.Truncate(name, int64(i%77))
			_ = os.Remove(name)
		}
	}()
	for i := range 20 {
		files := export(t, s, "r")
		spec := RootSpec{ID: "copy", Image: "small", DiskBytes: testDisk}
		if err := s.Import(t.Context(), spec, "", bytes.NewReader(files)); err != nil {
			t.Fatalf("copy %d: %v", i, err)
		}
		if got := readFile(t, mustMount(t, s, spec)+"/kept"); got != "kept" {
			t.Errorf("copy %d: %q", i, got)
		}
		if err := s.Delete(t.Context(), "copy"); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
}

func TestImportOntoAnotherImageIsRefused(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	spec := RootSpec{ID: "copy", Image: "small", DiskBytes: testDisk}
	err := s.Import(t.Context(), spec, "sha256:0123", bytes.NewReader(nil))
	if !fault.Is(err, fault.Unprocessable) {
		t.Error(err)
	}
	if err := s.Import(t.Context(), spec, "", bytes.NewReader(nil)); err != nil {
		t.Error("after that, without a demand:", err)
	}
}

// streamOf writes a stream with the given entries.
func streamOf(t *testing.T, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range entries {
		h.Format = tar.FormatPAX
		body := h.Size
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(tw, zeroes{}, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileStreamStaysInside(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	outside := testDir(t)
	top := &tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}
	for name, entries := range map[string][]*tar.Header{
		"up":                  {top, {Typeflag: tar.TypeReg, Name: "../evil"}},
		"absolute":            {top, {Typeflag: tar.TypeReg, Name: outside + "/evil"}},
		"through a link":      {top, {Typeflag: tar.TypeSymlink, Name: "a", Linkname: outside}, {Typeflag: tar.TypeReg, Name: "a/evil"}},
		"over a link":         {top, {Typeflag: tar.TypeSymlink, Name: "a", Linkname: outside + "/evil"}, {Typeflag: tar.TypeReg, Name: "a"}},
		"directory of a link": {top, {Typeflag: tar.TypeSymlink, Name: "a", Linkname: outside}, {Typeflag: tar.TypeDir, Name: "a"}},
		"hard link up":        {top, {Typeflag: tar.TypeLink, Name: "a", Linkname: "../../root.json"}},
		"hard link through":   {top, {Typeflag: tar.TypeSymlink, Name: "a", Linkname: "/etc"}, {Typeflag: tar.TypeLink, Name: "b", Linkname: "a/passwd"}},
		"parts overlap":       {top, {Typeflag: tar.TypeReg, Name: "f", Size: 20, PAXRecords: map[string]string{paxHoles: "5+10,0+10", paxSize: "30"}}},
		"parts too long":      {top, {Typeflag: tar.TypeReg, Name: "f", Size: 20, PAXRecords: map[string]string{paxHoles: "0+20", paxSize: "10"}}},
		"parts missing":       {top, {Typeflag: tar.TypeReg, Name: "f", Size: 20, PAXRecords: map[string]string{paxHoles: "-", paxSize: "10"}}},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.Import(t.Context(), RootSpec{ID: "r", Image: "small", DiskBytes: testDisk}, "", bytes.NewReader(streamOf(t, entries...)))
			if err == nil {
				t.Error("taken")
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
				t.Error("outside:", left, err)
			}
		})
	}
	for _, cut := range []int{100, 700, 1100} {
		whole := streamOf(t, top, &tar.Header{Typeflag: tar.TypeReg, Name: "f", Size: 3000})
		if err := s.Import(t.Context(), RootSpec{ID: "r", Image: "small", DiskBytes: testDisk}, "", bytes.NewReader(whole[:cut])); err == nil {
			t.Errorf("a stream cut at %d is taken", cut)
		}
	}
}

func TestImportThatDoesNotFit(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	big := streamOf(t, &tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}, &tar.Header{Typeflag: tar.TypeReg, Name: "f", Size: 2 * testDisk})
	err := s.Import(t.Context(), RootSpec{ID: "r", Image: "small", DiskBytes: testDisk}, "", bytes.NewReader(big))
	if !fault.Is(err, fault.Unprocessable) || !strings.Contains(err.Error(), "do not fit") {
		t.Error(err)
	}
}

func TestExportInFlatMemory(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	spec := RootSpec{ID: "r", Image: "small", DiskBytes: 300 << 20}
	p := mustMount(t, s, spec)
	f, err := os.Create(p + "/large")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, zeroes{}, 200<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.GC() // of what tests before this one left
	most := &peak{}
	if err := s.Export(t.Context(), "r", most); err != nil {
		t.Fatal(err)
	}
	if most.n < 200<<20 || most.heap > 64<<20 {
		t.Errorf("%d MiB written, the heap grew to %d MiB", most.n>>20, most.heap>>20)
	}
}

// peak notes how large the heap gets while something is written.
type peak struct {
	n    int64
	next int64
	heap uint64
}

func (p *peak) Write(b []byte) (int, error) {
	if p.n += int64(len(b)); p.n >= p.next {
		p.next = p.n + 16<<20
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		p.heap = max(p.heap, m.HeapInuse)
	}
	return len(b), nil
}

func TestFork(t *testing.T) {
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
			spec := RootSpec{ID: "fork", Image: "small", DiskBytes: testDisk}
			if err := s.Fork(t.Context(), "r", spec); !fault.Is(err, fault.Conflict) {
				t.Error("fork of a mounted root:", err)
			}
			if err := s.Unmount(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := s.Fork(t.Context(), "r", spec); err != nil {
					t.Fatal(err)
				}
			}
			q := mustMount(t, s, spec)
			if d := cmp.Diff(want, describe(t, q)); d != "" {
				t.Errorf("the fork differs (-was +is):\n%s", d)
			}
			write(t, q+"/only-here", "x")
			fillDisk(t, q+"/full") // its limit is its own
			if _, err := os.Stat(mustMount(t, s, RootSpec{ID: "r", Image: "small"}) + "/only-here"); !errors.Is(err, os.ErrNotExist) {
				t.Error("what the fork writes is in the other one:", err)
			}
			if err := s.Delete(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			if readFile(t, q+"/only-here") != "x" {
				t.Error("the fork went with the other one")
			}
		})
	}
}
