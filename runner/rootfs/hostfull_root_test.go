//go:build root

package rootfs

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

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
// Writers wait until there is room; nothing that was written is lost, there or at
// a neighbour, synced or not, and a root can be deleted meanwhile.
func TestFullHostKeepsWhatIsWritten(t *testing.T) {
	dir := smallHost(t, 4<<30)
	s := testStore(t, Config{Dir: dir, Reserve: 1 << 20})
	importSmall(t, s, "small")
	const disk = 1 << 30
	a := mustMount(t, s, RootSpec{ID: "a", Image: "small", DiskBytes: disk})
	b := mustMount(t, s, RootSpec{ID: "b", Image: "small", DiskBytes: disk})
	c := mustMount(t, s, RootSpec{ID: "c", Image: "small", DiskBytes: disk})
	mustMount(t, s, RootSpec{ID: "d", Image: "small", DiskBytes: disk})
	if err := s.Unmount(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	until(t, "the ballast is held", func() bool {
		st, err := os.Stat(s.guard.ballast)
		return err == nil && st.Size() == s.guard.bytes
	})
	filler := filepath.Join(filepath.Dir(dir), "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	free, err := s.guard.free()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, free-200<<20); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()

	write(t, b+"/precious", "precious") // only in memory
	big := bytes.Repeat([]byte("full"), 1<<20)
	const pieces = 100
	written := make(chan error, 1)
	go func() {
		f, err := os.Create(a + "/big")
		for range pieces {
			if err == nil {
				_, err = f.Write(big)
			}
			if err == nil {
				err = f.Sync()
			}
		}
		written <- errors.Join(err, f.Close())
	}()
	full := func() bool {
		s.guard.mu.Lock()
		defer s.guard.mu.Unlock()
		return s.guard.full
	}
	until(t, "the host is full", full)
	select {
	case err := <-written:
		t.Fatal("everything was written to a full host:", err)
	default:
	}
	if readFile(t, b+"/precious") != "precious" {
		t.Error("the neighbour's file cannot be read")
	}
	// Attached for a moment, and frozen in it: noLitter finds its device if it is
	// let go so.
	if err := s.withDisk(t.Context(), "d", func(r record, disk string) error {
		s.guard.look(0)
		return nil
	}); err != nil {
		t.Error("looking into a root at rest:", err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- os.WriteFile(c+"/late", []byte("late"), 0o600) }()
	if err := s.Thaw(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error("writing to a root that shall end:", err)
	}
	if err := s.Delete(t.Context(), "c"); err != nil {
		t.Fatal("deleting on a full host:", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Error("the writer that waited got", err)
	}
	until(t, "there is room again", func() bool { return !full() })
	for _, id := range []string{"a", "b"} {
		if err := s.Unmount(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		img, err := os.Open(s.path("roots", id, loopImage))
		if err != nil {
			t.Fatal(err)
		}
		if bad, err := hasErrors(img); bad || err != nil {
			t.Error("the disk has met errors:", bad, err)
		}
		_ = img.Close()
		if _, err := s.Mount(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if readFile(t, b+"/precious") != "precious" {
		t.Error("the neighbour's file is lost")
	}
	if got := readFile(t, a+"/big"); got != string(bytes.Repeat(big, pieces)) {
		t.Errorf("%d bytes of the writer are there, and not what it wrote", len(got))
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within a minute: " + what)
		}
	}
}
