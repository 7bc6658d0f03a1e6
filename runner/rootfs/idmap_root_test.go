//go:build root

package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

const testUserNS = 1 << 20

// runMapped runs a shell script as uid and gid of the user namespace that maps
// 0..65535 to testUserNS and on, with the root at path as its "/".
func runMapped(t *testing.T, path string, id uint32, script string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: testUserNS, Size: idRange}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		// Group 0 may pass through the directory of the root.
		Credential: &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{0}},
	}
	cmd.Dir = path
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid, st.Gid
}

func TestUserNamespaceIDs(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "u", Image: "small", UserNS: testUserNS})
	if mounts, err := mountsBelow(s.dir); err != nil || len(mounts) != 2 {
		t.Errorf("mounts %v, %v; want disk and merged", mounts, err)
	}

	// Inside, files have the ids that the image gave them.
	if got := runMapped(t, p, 0, "stat -c %u:%g . etc/passwd home/daytona"); got != "0:0\n0:0\n1000:1000" {
		t.Errorf("seen from inside: %q", got)
	}
	// Root inside can change what is root's and what is the user's: copy-up.
	runMapped(t, p, 0, "echo more >> etc/passwd && echo root > home/new && chown 1000:1000 home/new && rm etc/gone && rm -r opaque && mkdir opaque && touch opaque/new")
	// The user can in its home and nowhere else.
	runMapped(t, p, 1000, "echo hi > home/daytona/mine && mkdir home/daytona/dir && ! touch etc/no 2>/dev/null")
	if uid, gid := owner(t, p+"/home/daytona/mine"); uid != testUserNS+1000 || gid != testUserNS+1000 {
		t.Errorf("host sees %d:%d", uid, gid)
	}

	// On the disk ids are unshifted.
	disk := s.path("roots", "u", loopMount, "upper")
	for name, want := range map[string]uint32{
		"home/daytona/mine": 1000, "home/daytona/dir": 1000, "home/new": 1000, "etc/passwd": 0, "opaque/new": 0, ".": 0, "home": 0,
	} {
		if uid, gid := owner(t, filepath.Join(disk, name)); uid != want || gid != want {
			t.Errorf("%s is stored as %d:%d, want %d", name, uid, gid, want)
		}
	}
	if uid, _ := owner(t, filepath.Join(disk, "../work/work")); uid != 0 {
		t.Errorf("overlay's work directory belongs to %d", uid)
	}

	// The same disk committed and mounted without a namespace.
	if err := s.Unmount(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), "u", "committed", nil); err != nil {
		t.Fatal(err)
	}
	q := mustMount(t, s, RootSpec{ID: "plain", Image: "committed"})
	if uid, _ := owner(t, q+"/home/daytona/mine"); uid != 1000 {
		t.Errorf("committed file belongs to %d", uid)
	}
	if _, err := os.Stat(q + "/etc/gone"); !os.IsNotExist(err) {
		t.Error("deleted file is back:", err)
	}
	if _, err := os.Stat(q + "/opaque/old"); !os.IsNotExist(err) {
		t.Error("file of a replaced directory is back:", err)
	}
	// And once more with the namespace, after which it is as it was.
	if p, err := s.Mount(t.Context(), "u"); err != nil || runMapped(t, p, 1000, "cat home/daytona/mine") != "hi" {
		t.Error(err)
	}
	// Two roots with namespaces of their own over the same layers.
	r := mustMount(t, s, RootSpec{ID: "v", Image: "small", UserNS: testUserNS + idRange})
	if uid, _ := owner(t, r+"/home/daytona"); uid != testUserNS+idRange+1000 {
		t.Errorf("second namespace sees %d", uid)
	}
}

func TestUserNamespaceRange(t *testing.T) {
	err := RootSpec{ID: "x", Image: "x", DiskBytes: testDisk, UserNS: 1<<32 - 5}.check()
	if !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}
