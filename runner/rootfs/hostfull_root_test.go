//go:build root

package rootfs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// smallHost mounts a file system that is smaller than the disks in it may become.
func smallHost(t *testing.T, size int64) string {
	t.Helper()
	top := testDir(t)
	img, mnt := filepath.Join(top, "host.img"), filepath.Join(top, "mnt")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfsCommand, "-q", "-F", "-m", "0", img).CombinedOutput(); err != nil {
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
	if err := unix.Mount(dev.Name(), mnt, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Error("unmount host:", err)
		}
		noLitter(t, top)
	})
	return filepath.Join(mnt, "store")
}

// TestFullHostKeepsWhatIsWritten fills the host's disk from inside one root.
// Writers get errors; nothing that was synced is lost, there or at a neighbour,
// and after room is made everything goes on.
func TestFullHostKeepsWhatIsWritten(t *testing.T) {
	s := testStore(t, Config{Dir: smallHost(t, 96<<20)})
	importSmall(t, s, "small")
	const disk = 128 << 20
	a := mustMount(t, s, RootSpec{ID: "a", Image: "small", DiskBytes: disk})
	b := mustMount(t, s, RootSpec{ID: "b", Image: "small", DiskBytes: disk})
	for _, p := range []string{a, b} {
		write(t, p+"/precious", "precious")
		if err := syncTree(p); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(a + "/big")
	if err != nil {
		t.Fatal(err)
	}
	var werr error
	for buf, n := bytes.Repeat([]byte("full"), 1<<18), 0; werr == nil; n += len(buf) {
		if n > disk {
			t.Fatal("more was written than the host has")
		}
		if _, werr = f.Write(buf); werr == nil {
			werr = f.Sync()
		}
	}
	t.Log("writer got:", werr)
	_ = f.Close()
	if readFile(t, b+"/precious") != "precious" {
		t.Error("the neighbour's file is lost")
	}
	if err := s.Create(t.Context(), RootSpec{ID: "c", Image: "small", DiskBytes: disk}); err == nil {
		t.Error("a root was made on a full host")
	}
	// Room comes back with the root that took it.
	_ = os.Remove(a + "/big")
	if err := s.Unmount(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if a, err = s.Mount(t.Context(), "a"); err != nil {
		t.Fatal("mount after the host was full:", err)
	}
	img, err := os.Open(s.path("roots", "a", loopImage))
	if err != nil {
		t.Fatal(err)
	}
	if bad, err := hasErrors(img); bad || err != nil {
		t.Error("the disk was not checked:", bad, err)
	}
	_ = img.Close()
	if readFile(t, a+"/precious") != "precious" {
		t.Error("the synced file is lost")
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if b, err = s.Mount(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	write(t, b+"/more", "more")
	if readFile(t, b+"/precious") != "precious" {
		t.Error("the neighbour's file is lost")
	}
}
