//go:build root

package toolbox_test

import (
	"os"
	"syscall"
	"testing"
)

// A full disk is a clear error; the old file stays and no part of the new one.
func TestDiskFull(t *testing.T) {
	s := newSandbox(t)
	disk := s.dir + "/disk"
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("toolbox-test", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	s.write("disk/kept", "old")
	s.wantError(422, "DISK_FULL", "no space left", "POST", "/files/upload-v2?path=disk/kept", &zeros{4 << 20})
	var reply struct{ Errors []string }
	body, kind := form(t, "files[0].path", "disk/kept", "files[0].file", string(make([]byte, 4<<20)), "files[1].path", "disk/small", "files[1].file", "fits")
	s.want(400, "POST", "/files/bulk-upload", body, &reply, "Content-Type", kind)
	if len(reply.Errors) != 1 {
		t.Errorf("%v", reply.Errors)
	}
	entries, err := os.ReadDir(disk)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 || s.read("disk/kept") != "old" || s.read("disk/small") != "fits" {
		t.Errorf("%v, kept %q", entries, s.read("disk/kept"))
	}
}
