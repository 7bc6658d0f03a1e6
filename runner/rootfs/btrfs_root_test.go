//go:build root

package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// btrfsDir mounts a small btrfs of the test's own.
func btrfsDir(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("mkfs.btrfs"); err != nil {
		t.Skip("mkfs.btrfs is not installed")
	}
	top := testDir(t)
	img, mnt := filepath.Join(top, "btrfs.img"), filepath.Join(top, "mnt")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 1<<30); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.btrfs", "-q", img).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Mkdir(mnt, 0o711); err != nil {
		t.Fatal(err)
	}
	dev, err := loopAttach(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if err := unix.Mount(dev.Name(), mnt, "btrfs", 0, ""); err != nil {
		t.Skip("btrfs cannot be mounted here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Error("unmount btrfs:", err)
		}
		noLitter(t, top)
	})
	return filepath.Join(mnt, "store")
}

func TestBtrfs(t *testing.T) {
	dir := btrfsDir(t)
	s := testStore(t, Config{Dir: dir, Disk: "btrfs"})
	if s.DiskKind() != "btrfs" {
		t.Fatal(s.DiskKind())
	}
	importSmall(t, s, "small")
	a := mustMount(t, s, RootSpec{ID: "a", Image: "small"})
	b := mustMount(t, s, RootSpec{ID: "b", Image: "small", UserNS: testUserNS})
	if n := fillDisk(t, a+"/big"); n < testDisk*90/100 || n > testDisk*105/100 {
		t.Errorf("%d bytes fit, want about %d", n, testDisk)
	}
	runMapped(t, b, 1000, "echo fine > home/daytona/f")
	if use, err := s.Usage(t.Context(), "a"); err != nil || use.TotalBytes != testDisk || use.UsedBytes < testDisk*85/100 || use.UsedBytes > testDisk {
		t.Errorf("usage %+v, %v", use, err)
	}
	if use, err := s.Usage(t.Context(), "b"); err != nil || use.UsedBytes > 1<<20 {
		t.Errorf("usage of the neighbour %+v, %v", use, err)
	}
	if err := s.Unmount(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), "b", "committed", nil); err != nil {
		t.Fatal(err)
	}
	c := mustMount(t, s, RootSpec{ID: "c", Image: "committed"})
	if readFile(t, c+"/home/daytona/f") != "fine\n" {
		t.Error("committed file differs")
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := s.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	emptyDir(t, s.path("trash"))
}

func TestDiskKinds(t *testing.T) {
	if s := testStore(t, Config{}); s.DiskKind() != "loop" {
		t.Error(s.DiskKind())
	}
	for _, kind := range []string{"btrfs", "zfs"} {
		if s, err := Open(t.Context(), Config{Dir: testDir(t), Disk: kind}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, %v", kind, s, err)
		}
	}
}

// TestOrphansAreFreed: files of containerd's stores that its database does not
// know are gone after the next start.
func TestOrphansAreFreed(t *testing.T) {
	dir := testDir(t)
	s, err := Open(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	importSmall(t, s, "small")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "content/blobs/sha256", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	// The number that the next layer gets; what Open seeds, the image's layer
	// and its pin had those before.
	layer := filepath.Join(dir, "snapshots/snapshots/4")
	if _, err := os.Stat(filepath.Join(dir, "snapshots/snapshots/3/fs")); err != nil {
		t.Fatal(err)
	}
	write(t, blob, "x")
	for _, d := range []string{layer + "/fs", filepath.Join(dir, "snapshots/snapshots/new-123"), filepath.Join(dir, "content/ingest/half"), filepath.Join(dir, "tmp/left")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s = testStore(t, Config{Dir: dir})
	for _, p := range []string{blob, layer + "/fs", filepath.Join(dir, "snapshots/snapshots/new-123"), filepath.Join(dir, "content/ingest/half"), filepath.Join(dir, "tmp/left")} {
		if _, err := os.Lstat(p); !os.IsNotExist(err) {
			t.Errorf("%s: %v", p, err)
		}
	}
	importSmall(t, s, "next")
	if im, err := s.Image(t.Context(), "small"); err != nil || im.SizeBytes == 0 {
		t.Error(im, err)
	}
}
