package builder

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"daytona/internal/fault"
)

func roomy() *allowance {
	return &allowance{bytes: 1 << 20, entries: 100, room: func(int64) error { return nil }}
}

func openRoot(t testing.TB) (*os.Root, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "context")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, dir
}

func archive(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Size = 4
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := tw.Write([]byte("text")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpackKeepsModesLinksAndTimes(t *testing.T) {
	at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	plain := archive(t,
		&tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o500, ModTime: at},
		&tar.Header{Name: "d/f", Mode: 0o751, ModTime: at},
		&tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "/anywhere"},
		&tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "d/f"},
		&tar.Header{Name: "d/f", Mode: 0o640, ModTime: at}, // again: the last counts
	)
	var z bytes.Buffer
	gz := gzip.NewWriter(&z)
	if _, err := gz.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"plain": plain, "gzip": z.Bytes()} {
		t.Run(name, func(t *testing.T) {
			root, dir := openRoot(t)
			if err := unpack(root, "sub/x", bytes.NewReader(data), roomy()); err != nil {
				t.Fatal(err)
			}
			for path, mode := range map[string]os.FileMode{"d": os.ModeDir | 0o500, "d/f": 0o640, "h": 0o751} {
				info, err := os.Lstat(filepath.Join(dir, "sub/x", path))
				if err != nil || info.Mode() != mode || !info.ModTime().Equal(at) {
					t.Errorf("%s: %v, %v", path, info, err)
				}
			}
			if l, err := os.Readlink(filepath.Join(dir, "sub/x/d/l")); err != nil || l != "/anywhere" {
				t.Error(l, err)
			}
		})
	}
}

func TestUnpackIsBounded(t *testing.T) {
	root, _ := openRoot(t)
	data := archive(t, &tar.Header{Name: "a", Mode: 0o644}, &tar.Header{Name: "b", Mode: 0o644})
	for name, a := range map[string]*allowance{
		"bytes":   {bytes: 7, entries: 100, room: func(int64) error { return nil }},
		"entries": {bytes: 100, entries: 1, room: func(int64) error { return nil }},
	} {
		if err := unpack(root, "", bytes.NewReader(data), a); !fault.Is(err, fault.Unprocessable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, &tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, &tar.Header{Name: "l/out", Mode: 0o644}), "")
	f.Add(archive(f, &tar.Header{Name: "../out", Mode: 0o644}), "../up")
	f.Add(archive(f, &tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../.."}, &tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "l/etc"}), "x")
	f.Fuzz(func(t *testing.T, data []byte, dir string) {
		root, path := openRoot(t)
		_ = unpack(root, dir, bytes.NewReader(data), roomy()) // whatever it says
		around, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(around) != 1 {
			t.Fatalf("outside of the context: %v, %v", around, err)
		}
	})
}
