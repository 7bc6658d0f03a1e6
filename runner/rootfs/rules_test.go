package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

func TestRecordCodec(t *testing.T) {
	r := record{Version: recordVersion, ID: "a-1", Image: "img:1", Config: "sha256:x", Chain: "c", DiffIDs: []string{"d"}, Disk: "loop", Bytes: 1 << 30, UserNS: 65536, Created: time.Unix(5, 6).UTC()}
	b, err := encodeRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Error(d)
	}
	for name, bad := range map[string]string{
		"half":     string(b[:len(b)/2]),
		"empty":    "",
		"version":  strings.Replace(string(b), `"version": 1`, `"version": 9`, 1),
		"hostile":  strings.Replace(string(b), `"a-1"`, `"../x"`, 1),
		"no disk":  strings.Replace(string(b), `1073741824`, `0`, 1),
		"negative": strings.Replace(string(b), `1073741824`, `-1073741824`, 1),
	} {
		if _, err := decodeRecord([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNames(t *testing.T) {
	for id, ok := range map[string]bool{
		"a": true, "6f2c-11": true, "A.b_c": true, "": false, ".": false, "..": false, "a/b": false, "-a": false,
		"a\n": false, "a b": false, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false,
	} {
		if err := checkID(id); (err == nil) != ok || (err != nil && !fault.Is(err, fault.Invalid)) {
			t.Errorf("id %q: %v", id, err)
		}
	}
	for name, ok := range map[string]bool{
		"daytona-slim": true, "host:5000/a/b:tag": true, "a@sha256:00": true, "": false, "a/../b": false, "/a": false,
		"a b": false, "a\x00": false, "ü": false, strings.Repeat("x", 255): true, strings.Repeat("x", 256): false,
	} {
		if err := checkName(name); (err == nil) != ok || (err != nil && !fault.Is(err, fault.Invalid)) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestReadyNames(t *testing.T) {
	for name, want := range map[string]struct {
		size int64
		ok   bool
	}{
		"ext4-1.100.7-1.ready":     {100, true},
		"ext4-1.100.template":      {0, true},
		"ext4-1.100.7-1.ready.tmp": {100, false},
		"ext4-1.100.template.tmp":  {100, false},
		"ext4-0.100.7-1.ready":     {0, false},
		"ext4-1.-5.7-1.ready":      {0, false},
		"ext4-1..ready":            {0, false},
		"else":                     {0, false},
	} {
		size, ok := parseReadyName(name)
		if ok != want.ok || (ok && size != want.size) {
			t.Errorf("%s: %d %t", name, size, ok)
		}
	}
	if size, ok := parseReadyName(templateName(5)); size != 0 || !ok {
		t.Error("template's own name is not known")
	}
}

// upperTar runs writeUpper over a tree and returns the entries by name.
func upperTar(t *testing.T, upper string, limit int64) (map[string]*tar.Header, error) {
	t.Helper()
	var b bytes.Buffer
	if err := writeUpper(t.Context(), upper, &b, limit); err != nil {
		return nil, err
	}
	out := map[string]*tar.Header{}
	tr := tar.NewReader(&b)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = h
	}
}

func TestWriteUpper(t *testing.T) {
	dir := t.TempDir()
	for p, c := range map[string]string{"a": "aa", "d/x": "x", "d/.hidden": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p), []byte(c), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Link(dir+"/a", dir+"/b"), os.Symlink("/etc/passwd", dir+"/s"), unix.Mkfifo(dir+"/p", 0o600)); err != nil {
		t.Fatal(err)
	}
	got, err := upperTar(t, dir, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for name, typ := range map[string]byte{"a": tar.TypeReg, "b": tar.TypeLink, "d/": tar.TypeDir, "d/x": tar.TypeReg, "d/.hidden": tar.TypeReg, "s": tar.TypeSymlink, "p": tar.TypeFifo} {
		if h := got[name]; h == nil || h.Typeflag != typ {
			t.Errorf("%s: %+v", name, h)
		}
	}
	if len(got) != 7 {
		t.Errorf("%d entries", len(got))
	}
	if _, err := upperTar(t, dir, 1); !fault.Is(err, fault.Unprocessable) {
		t.Error("limit:", err)
	}
	if err := os.WriteFile(dir+"/d/.wh.x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := upperTar(t, dir, 1000); !fault.Is(err, fault.Unprocessable) {
		t.Error("whiteout name:", err)
	}
	if got, err := upperTar(t, dir+"/none", 1000); err != nil || len(got) != 0 {
		t.Error("no upper directory:", got, err)
	}
}

func TestWhiteoutRule(t *testing.T) {
	for _, c := range []struct {
		mode uint32
		dev  uint64
		want bool
	}{
		{unix.S_IFCHR, 0, true},
		{unix.S_IFCHR | 0o644, 0, true},
		{unix.S_IFCHR, unix.Mkdev(1, 3), false},
		{unix.S_IFBLK, 0, false},
		{unix.S_IFREG, 0, false},
	} {
		if got := isWhiteout(c.mode, c.dev); got != c.want {
			t.Errorf("%o %d: %t", c.mode, c.dev, got)
		}
	}
	for name, want := range map[string]bool{
		"user.x": true, "security.capability": true, "system.posix_acl_default": true,
		"trusted.overlay.opaque": false, "trusted.overlay.origin": false, "security.selinux": false,
	} {
		if keepXattr(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

func TestCloneSparse(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(dir + "/a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range []int64{0, 5 << 20, 9<<20 + 77} {
		if _, err := f.WriteAt([]byte("data"), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if err := cloneSparse(dir+"/a", dir+"/b"); err != nil {
		t.Fatal(err)
	}
	a, errA := os.ReadFile(dir + "/a")
	b, errB := os.ReadFile(dir + "/b")
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Error("copy differs", errA, errB)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/b", &st); err != nil || st.Blocks*512 > 8<<20 {
		t.Errorf("copy takes %d bytes, %v", st.Blocks*512, err)
	}
}

func TestKeyedMutex(t *testing.T) {
	var k keyedMutex
	var wg sync.WaitGroup
	n := map[string]int{"a": 0, "b": 0}
	var guard sync.Mutex // the map's; what is counted is guarded by k
	for i := range 64 {
		key := []string{"a", "b"}[i%2]
		wg.Go(func() {
			unlock, err := k.lock(t.Context(), key)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			guard.Lock()
			v := n[key]
			guard.Unlock()
			guard.Lock()
			n[key] = v + 1
			guard.Unlock()
		})
	}
	wg.Wait()
	if n["a"] != 32 || n["b"] != 32 {
		t.Error(n)
	}
	unlock, _ := k.lock(t.Context(), "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unlock()
	if len(k.held) != 0 {
		t.Errorf("%d locks kept", len(k.held))
	}
}

func TestMountinfoEscapes(t *testing.T) {
	if got := unescapeMount(`/a\040b\011c\134d`); got != "/a b\tc\\d" {
		t.Errorf("%q", got)
	}
}
