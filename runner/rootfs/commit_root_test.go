//go:build root

package rootfs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// digestSkips names files that are too long to be read whole.
var digestSkips map[string]bool

// describe lists a tree with all that an image must keep.
func describe(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK || path == root {
			return nil
		}
		name := strings.TrimPrefix(path, root)
		d := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			var b []byte
			if digestSkips[name] {
				d += fmt.Sprintf(" size %d", st.Size)
			} else if b, err = os.ReadFile(path); err != nil {
				return err
			}
			d += fmt.Sprintf(" %d %x", len(b), sha256.Sum256(b))
			if st.Nlink > 1 {
				if first[st.Ino] == "" {
					first[st.Ino] = name
				}
				d += " link " + first[st.Ino]
			}
		case unix.S_IFLNK:
			l, err := os.Readlink(path)
			if err != nil {
				return err
			}
			d += " -> " + l
		case unix.S_IFCHR, unix.S_IFBLK:
			d += fmt.Sprintf(" dev %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		x, err := layerXattrs(path)
		if err != nil {
			return err
		}
		for k, v := range x {
			d += fmt.Sprintf(" %s=%q", k, v)
		}
		out[name] = d
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// everything writes files of every kind into a mounted root of importSmall's.
func everything(t *testing.T, p string) {
	t.Helper()
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	// Deletions, and names that come back as something else.
	must(os.Remove(p+"/etc/gone"), os.RemoveAll(p+"/dropped"), os.RemoveAll(p+"/opaque"), os.Mkdir(p+"/opaque", 0o750))
	write(t, p+"/opaque/new", "new")
	must(os.RemoveAll(p+"/home/daytona"), os.Symlink("/etc", p+"/home/daytona"))
	// Modes, owners, times.
	write(t, p+"/suid", "#!")
	must(os.Chown(p+"/suid", 7, 8), unix.Chmod(p+"/suid", 0o6755))
	must(os.Mkdir(p+"/sticky", 0o700), unix.Chmod(p+"/sticky", 0o1777))
	write(t, p+"/old", "old")
	must(os.Chtimes(p+"/old", time.Unix(1, 5), time.Unix(86400*365*5, 123456789)))
	// Links: hard ones among new files, and one to a file of the image.
	write(t, p+"/h1", "hard")
	must(os.Link(p+"/h1", p+"/h2"), os.Link(p+"/h1", p+"/etc/h3"))
	must(os.Symlink("../nowhere\nwith newline", p+"/dangling"))
	// Odd names.
	for _, n := range []string{"new\nline", "tab\t", "ünïcödé", "bytes\xff\xfe", " spaces ", "-dash", "back\\slash", strings.Repeat("n", 255), "a=b", "\"quoted\""} {
		write(t, filepath.Join(p, "opaque", n), n)
	}
	deep := p + "/deep"
	for range 12 {
		deep += "/" + strings.Repeat("d", 60)
	}
	must(os.MkdirAll(deep, 0o755))
	write(t, deep+"/bottom", "bottom")
	// Attributes: a user's, a capability, an access list.
	must(unix.Setxattr(p+"/h1", "user.note", []byte("a\x00b"), 0))
	must(unix.Setxattr(p+"/etc/passwd", "user.changed", []byte("yes"), 0))
	must(unix.Setxattr(p+"/suid", "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	acl := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff")
	must(unix.Setxattr(p+"/old", "system.posix_acl_access", acl, 0))
	// Special files; a layer keeps no sockets.
	must(unix.Mkfifo(p+"/fifo", 0o600), unix.Mknod(p+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	l, err := net.Listen("unix", p+"/socket")
	must(err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	must(l.Close())
	// A sparse file of sensible size, an empty one, one that only has a new mode.
	must(os.Truncate(p+"/h2", 1<<20))
	write(t, p+"/empty", "")
	must(os.Chmod(p+"/one", 0o600))
}

func TestCommitEqualsRoot(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "r", Image: "small"})
	everything(t, p)
	want := describe(t, p)
	im, err := s.Commit(t.Context(), "r", "new", func(c *ocispec.ImageConfig) { c.Cmd = []string{"x"} })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(im.Config.Cmd, []string{"x"}) || im.Config.User != "daytona" {
		t.Errorf("configuration %+v", im.Config)
	}
	got := describe(t, mustMount(t, s, RootSpec{ID: "copy", Image: "new"}))
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("image differs from root (-root +image):\n%s", d)
	}
	// Old image unchanged.
	orig := mustMount(t, s, RootSpec{ID: "orig", Image: "small"})
	if readFile(t, orig+"/etc/gone") != "gone" || readFile(t, orig+"/opaque/old") != "old" {
		t.Error("the old image changed")
	}
	// A second commit on top: deletion of what the first added.
	if err := os.Remove(s.path("roots", "copy", "merged", "h1")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), "copy", "newer", nil); err != nil {
		t.Fatal(err)
	}
	again := mustMount(t, s, RootSpec{ID: "again", Image: "newer"})
	if d := cmp.Diff(describe(t, s.path("roots", "copy", "merged")), describe(t, again)); d != "" {
		t.Errorf("second image differs (-root +image):\n%s", d)
	}
}

func TestCommitRefusesWhatALayerCannotHold(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "r", Image: "small"})
	write(t, p+"/.wh.etc", "")
	if _, err := s.Commit(t.Context(), "r", "x", nil); !fault.Is(err, fault.Unprocessable) {
		t.Error("file that looks like a deletion:", err)
	}
	if err := os.Remove(p + "/.wh.etc"); err != nil {
		t.Fatal(err)
	}
	write(t, p+"/sparse", "")
	if err := os.Truncate(p+"/sparse", 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), "r", "x", nil); !fault.Is(err, fault.Unprocessable) {
		t.Error("huge sparse file:", err)
	}
	if err := os.Remove(p + "/sparse"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Image(t.Context(), "x"); !fault.Is(err, fault.NotFound) {
		t.Error("a failed commit left an image:", err)
	}
	if err := s.Unmount(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), "r", "x", nil); err != nil {
		t.Error("after the obstacles are gone:", err)
	}
}

func TestCommitOfUntouchedRoot(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	if err := s.Create(t.Context(), RootSpec{ID: "r", Image: "small", DiskBytes: testDisk}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), "r", "same", nil); err != nil {
		t.Fatal(err)
	}
	a := describe(t, mustMount(t, s, RootSpec{ID: "a", Image: "small"}))
	b := describe(t, mustMount(t, s, RootSpec{ID: "b", Image: "same"}))
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
}
