//go:build root

package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

const testDisk = 64 << 20

// testStore opens a store in a directory of its own and checks at the end that
// it left nothing in the kernel.
func testStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = testDir(t)
	}
	cfg.Reserve = 1 << 20
	cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Reconcile(context.Background(), nil); err != nil {
			t.Error("reconcile:", err)
		}
		if err := s.Close(); err != nil {
			t.Error("close:", err)
		}
		noLitter(t, cfg.Dir)
	})
	return s
}

func testDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rootfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// noLitter waits until no mount and no loop device of dir is left: loop devices
// free themselves a moment after their mount.
func noLitter(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "mounts and loop devices are gone", func() error {
		mounts, err := mountsBelow(dir)
		if err != nil {
			return err
		}
		if len(mounts) > 0 {
			return fmt.Errorf("mounts left: %v", mounts)
		}
		loops, err := boundLoops()
		if err != nil {
			return err
		}
		for n, f := range loops {
			if strings.HasPrefix(f, dir+"/") {
				return fmt.Errorf("%s still bound to %s", n, f)
			}
		}
		return nil
	})
}

func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// tarOf builds a tar stream from headers; a body is given in content.
func tarOf(t testing.TB, entries ...tarEntry) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.h
		h.Size = int64(len(e.content))
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1700000000, 0)
		}
		h.Format = tar.FormatPAX
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

type tarEntry struct {
	h       tar.Header
	content string
}

func dirEntry(name string) tarEntry {
	return tarEntry{h: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

func smallRoot(t testing.TB) *bytes.Buffer {
	return tarOf(t,
		dirEntry("./"), dirEntry("./etc/"), dirEntry("./home/"),
		tarEntry{h: tar.Header{Name: "./home/daytona/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 1000, Gid: 1000}},
		tarEntry{h: tar.Header{Name: "./etc/passwd"}, content: "root:x:0:0::/root:/bin/bash\ndaytona:x:1000:1000::/home/daytona:/bin/sh\n"},
		tarEntry{h: tar.Header{Name: "./etc/gone"}, content: "gone"},
		dirEntry("./opaque/"),
		tarEntry{h: tar.Header{Name: "./opaque/old"}, content: "old"},
		dirEntry("./dropped/"),
		tarEntry{h: tar.Header{Name: "./dropped/file"}, content: "x"},
		tarEntry{h: tar.Header{Name: "./one"}, content: "linked"},
		tarEntry{h: tar.Header{Name: "./two", Typeflag: tar.TypeLink, Linkname: "one"}},
	)
}

func importSmall(t *testing.T, s *Store, name string) Image {
	t.Helper()
	im, err := s.ImportTar(t.Context(), name, smallRoot(t), ocispec.ImageConfig{User: "daytona", Env: []string{"A=b"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func mustMount(t *testing.T, s *Store, spec RootSpec) string {
	t.Helper()
	if spec.DiskBytes == 0 {
		spec.DiskBytes = testDisk
	}
	if err := s.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	p, err := s.Mount(t.Context(), spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fillDisk writes until the disk is full and returns how much fit.
func fillDisk(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var n int64
	for {
		w, err := f.Write(buf)
		n += int64(w)
		if err == nil {
			err = f.Sync()
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if n > 4*testDisk {
			t.Fatalf("%d bytes fit on a disk of %d", n, testDisk)
		}
	}
}

func TestRootLifecycle(t *testing.T) {
	s := testStore(t, Config{})
	ctx := t.Context()
	im := importSmall(t, s, "small")
	if im.Config.User != "daytona" || im.SizeBytes == 0 || im.Digest == "" || im.CreatedAt.IsZero() {
		t.Fatalf("image %+v", im)
	}
	a := mustMount(t, s, RootSpec{ID: "a", Image: "small"})
	b := mustMount(t, s, RootSpec{ID: "b", Image: "small"})
	if again, err := s.Mount(ctx, "a"); err != nil || again != a {
		t.Fatalf("second mount: %q, %v", again, err)
	}
	if got := readFile(t, a+"/etc/gone"); got != "gone" {
		t.Fatalf("read %q", got)
	}

	// df inside shows the sandbox's own disk.
	var st unix.Statfs_t
	if err := unix.Statfs(a, &st); err != nil {
		t.Fatal(err)
	}
	if total := int64(st.Blocks) * st.Bsize; total < testDisk || total > testDisk*102/100 {
		t.Errorf("df shows %d bytes, want about %d", total, testDisk)
	}

	// One disk full: an error there, nothing at the neighbour.
	if n := fillDisk(t, a+"/big"); n < testDisk*95/100 || n > testDisk*102/100 {
		t.Errorf("%d bytes fit, want about %d", n, testDisk)
	}
	write(t, b+"/neighbour", "fine")
	use, err := s.Usage(ctx, "a")
	if err != nil || use.UsedBytes < use.TotalBytes*95/100 || use.TotalInodes == 0 {
		t.Errorf("usage of the full disk: %+v, %v", use, err)
	}
	if use, err := s.Usage(ctx, "b"); err != nil || use.UsedBytes > 4<<20 {
		t.Errorf("usage of the neighbour: %+v, %v", use, err)
	}

	// Deleted files give their space back to the host.
	img := filepath.Join(s.path("roots", "a"), loopImage)
	full := blocksOf(t, img)
	if err := os.Remove(a + "/big"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "space is given back", func() error {
		syncTree(a)
		if now := blocksOf(t, img); now > full/4 {
			return fmt.Errorf("%d of %d blocks", now, full)
		}
		return nil
	})

	// What was written is there after an unmount and a restart.
	write(t, a+"/kept", "kept")
	for range 2 {
		if err := s.Unmount(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if use, err := s.Usage(ctx, "a"); err != nil || use.TotalBytes < testDisk {
		t.Errorf("usage while unmounted: %+v, %v", use, err)
	}
	if ok, _ := isMounted(s.path("roots", "a", loopMount)); ok {
		t.Error("usage left the disk mounted")
	}
	if a, err = s.Mount(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, a+"/kept"); got != "kept" {
		t.Fatalf("read %q", got)
	}
	if err := s.Create(ctx, RootSpec{ID: "a", Image: "small", DiskBytes: testDisk}); err != nil {
		t.Error("create again:", err)
	}
	if err := s.Create(ctx, RootSpec{ID: "a", Image: "small", DiskBytes: 2 * testDisk}); !fault.Is(err, fault.Conflict) {
		t.Error("create with another size:", err)
	}
	for range 2 {
		if err := s.Delete(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Mount(ctx, "a"); !fault.Is(err, fault.NotFound) {
		t.Error("mount of a deleted root:", err)
	}
	roots, err := s.Roots(ctx)
	if err != nil || len(roots) != 1 || roots[0].ID != "b" {
		t.Errorf("roots %v, %v", roots, err)
	}
	if got := readFile(t, b+"/neighbour"); got != "fine" {
		t.Fatalf("read %q", got)
	}
}

func blocksOf(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

func TestInodesAreBounded(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "inodes", Image: "small"})
	limit := int(shapeFor(testDisk).inodes)
	for i := 0; ; i++ {
		f, err := os.OpenFile(fmt.Sprintf("%s/home/f%d", p, i), os.O_CREATE|os.O_WRONLY, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			if i < limit/2 {
				t.Errorf("only %d files fit", i)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if i > 2*limit {
			t.Fatalf("%d files fit; the limit is %d", i, limit)
		}
	}
}

func TestReopenKeepsMountedRoots(t *testing.T) {
	dir := testDir(t)
	s, err := Open(t.Context(), Config{Dir: dir, Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "r", Image: "small"})
	f, err := os.Create(p + "/open")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// A second process is refused, the same one after Close is not.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Config{Dir: dir}); !fault.Is(err, fault.Unavailable) {
		t.Fatal("second open:", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, Config{Dir: dir})
	if _, err := f.WriteString("still"); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Mount(t.Context(), "r"); err != nil || again != p {
		t.Fatal(again, err)
	}
	if got := readFile(t, p+"/open"); got != "still" {
		t.Fatalf("read %q", got)
	}
	// Its image may go; its layers may not.
	if err := s.RemoveImage(t.Context(), "small"); err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context(), "r"); err == nil {
		f.Close()
	}
	if p, err = s.Mount(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, p+"/etc/gone"); got != "gone" {
		t.Fatalf("read %q", got)
	}
	if err := s.Create(t.Context(), RootSpec{ID: "late", Image: "small", DiskBytes: testDisk}); !fault.Is(err, fault.NotFound) {
		t.Error("create from a removed image:", err)
	}
	// With the last root go the layers.
	if err := s.Delete(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "layers are freed", func() error { return layersLeft(s) })
}

// A store that is reached by a symbolic link finds its mounts again.
func TestStoreBehindALink(t *testing.T) {
	dir := testDir(t)
	link := dir + "-link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(link) })
	s, err := Open(t.Context(), Config{Dir: link, Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "r", Image: "small"})
	if !strings.HasPrefix(p, dir+"/") {
		t.Errorf("mounted at %s", p)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, Config{Dir: link})
	if err := s.Delete(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	if left, err := mountsBelow(dir); err != nil || len(left) > 0 {
		t.Errorf("mounts left: %v %v", left, err)
	}
}

func layersLeft(s *Store) error {
	entries, err := os.ReadDir(s.path("snapshots", "snapshots"))
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%d layers left", len(entries))
	}
	blobs, err := filepath.Glob(s.path("content", "blobs", "sha256", "*"))
	if err == nil && len(blobs) > 0 {
		return fmt.Errorf("%d blobs left", len(blobs))
	}
	return err
}

func TestRemoveImageFreesEverything(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "one")
	importSmall(t, s, "two") // the same layer
	if err := s.RemoveImage(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	p := mustMount(t, s, RootSpec{ID: "r", Image: "two"})
	if got := readFile(t, p+"/one"); got != "linked" {
		t.Fatal(got)
	}
	if err := s.Delete(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveImage(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	if err := layersLeft(s); err != nil {
		t.Error(err)
	}
	if err := s.RemoveImage(t.Context(), "two"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if list, err := s.Images(t.Context()); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
}

func TestImportDamagedTar(t *testing.T) {
	s := testStore(t, Config{})
	for name, r := range map[string]io.Reader{
		"empty":     strings.NewReader(""),
		"no tar":    strings.NewReader(strings.Repeat("no tar at all ", 1000)),
		"truncated": bytes.NewReader(smallRoot(t).Bytes()[:1100]),
		"failing":   io.MultiReader(bytes.NewReader(smallRoot(t).Bytes()[:2048]), failReader{}),
	} {
		if _, err := s.ImportTar(t.Context(), "bad", r, ocispec.ImageConfig{}, nil); !fault.Is(err, fault.Unprocessable) && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := layersLeft(s); err != nil {
		t.Error(err)
	}
}

type failReader struct{}

func (failReader) Read([]byte) (int, error) { return 0, errors.New("source failed") }

func TestHostileTarStaysInside(t *testing.T) {
	s := testStore(t, Config{})
	outside := filepath.Join(testDir(t), "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	r := tarOf(t,
		tarEntry{h: tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: outside}},
		tarEntry{h: tar.Header{Name: "link/through"}, content: "x"},
		tarEntry{h: tar.Header{Name: "../../../../../../../../" + outside + "/up"}, content: "x"},
	)
	_, err := s.ImportTar(t.Context(), "hostile", r, ocispec.ImageConfig{}, nil)
	t.Log("import:", err)
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Fatalf("written outside: %v", entries)
	}
}

func TestConcurrentCreate(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			id := fmt.Sprintf("c%d", i/4) // four at once for each of two ids
			if err := s.Create(t.Context(), RootSpec{ID: id, Image: "small", DiskBytes: testDisk}); err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Mount(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	roots, _ := s.Roots(t.Context())
	if len(roots) != 2 {
		t.Errorf("roots %v", roots)
	}
	mounts, err := mountsBelow(s.dir)
	if err != nil || len(mounts) != 4 {
		t.Errorf("mounts %v, %v", mounts, err)
	}
}

func TestFullHostIsRefused(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	s.reserve = 1 << 60
	if err := s.Create(t.Context(), RootSpec{ID: "r", Image: "small", DiskBytes: testDisk}); !fault.Is(err, fault.Unavailable) {
		t.Error("create:", err)
	}
	if _, err := s.ImportTar(t.Context(), "x", smallRoot(t), ocispec.ImageConfig{}, nil); !fault.Is(err, fault.Unavailable) {
		t.Error("import:", err)
	}
	s.reserve = 1 << 20
	if roots, _ := s.Roots(t.Context()); len(roots) != 0 {
		t.Error("a refused root is listed")
	}
}

func TestManyLayers(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "l0")
	const n = 45
	for i := 1; i <= n; i++ {
		id := fmt.Sprintf("r%d", i)
		p := mustMount(t, s, RootSpec{ID: id, Image: fmt.Sprintf("l%d", i-1), DiskBytes: minDiskBytes})
		write(t, fmt.Sprintf("%s/layer%d", p, i), fmt.Sprint(i))
		if _, err := s.Commit(t.Context(), id, fmt.Sprintf("l%d", i), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := s.RemoveImage(t.Context(), fmt.Sprintf("l%d", i-1)); err != nil {
			t.Fatal(err)
		}
	}
	p := mustMount(t, s, RootSpec{ID: "top", Image: fmt.Sprintf("l%d", n)})
	for i := 1; i <= n; i++ {
		if got := readFile(t, fmt.Sprintf("%s/layer%d", p, i)); got != fmt.Sprint(i) {
			t.Fatalf("layer %d: %q", i, got)
		}
	}
	// Older kernels take all layers in one option.
	if err := s.Unmount(t.Context(), "top"); err != nil {
		t.Fatal(err)
	}
	s.pin.Lock()
	lowers, err := s.lowersLocked(s.scope(t.Context()), s.roots["top"].Chain)
	s.pin.Unlock()
	if err != nil || len(lowers) != n+1 {
		t.Fatal(len(lowers), err)
	}
	base, rel, err := s.lowerBase(lowers)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := s.disks["loop"].attach(t.Context(), s.path("roots", "top"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		// oldOverlay changes its thread for good.
		runtime.LockOSThread()
		done <- oldOverlay(overlayMount{base: base, lowers: rel, upper: disk + "/upper", work: disk + "/work", target: s.path("roots", "top", "merged")})
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, p+"/layer7"); got != "7" || !slices.Contains(rel, filepath.Base(filepath.Dir(lowers[0]))+"/fs") {
		t.Fatal(got, rel)
	}
}
