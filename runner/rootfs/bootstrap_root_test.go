//go:build root

package rootfs

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/internal/fault"
)

func needMmdebstrap(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(mmdebstrap); err != nil {
		t.Skip("mmdebstrap is not installed")
	}
}

// TestBootstrapDebian makes a real base; it needs Debian's packages from the
// network and half a minute, so it runs when asked for.
func TestBootstrapDebian(t *testing.T) {
	needMmdebstrap(t)
	if os.Getenv("ROOTFS_TEST_BOOTSTRAP") == "" {
		t.Skip("set ROOTFS_TEST_BOOTSTRAP=1 to bootstrap a Debian from the network")
	}
	s := testStore(t, Config{})
	lines := 0
	r, err := Bootstrap(t.Context(), BootstrapOptions{Include: []string{"ca-certificates"}, TempDir: s.TempDir(), Progress: func(l string) { lines++; t.Log(l) }})
	if err != nil {
		t.Fatal(err)
	}
	im, err := s.ImportTar(t.Context(), "base", r, ocispec.ImageConfig{}, func(l string) { t.Log(l) })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil || lines == 0 {
		t.Error(err, lines)
	}
	t.Logf("%+v", im)
	p := mustMount(t, s, RootSpec{ID: "d", Image: "base", DiskBytes: 1 << 30})
	out, err := exec.Command("chroot", p, "/bin/bash", "-c", ". /etc/os-release && echo $VERSION_CODENAME && ls /usr/share/man | wc -l").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "bookworm") {
		t.Errorf("%s, %v", out, err)
	}
	emptyDir(t, s.TempDir())
}

func TestBootstrapFailureIsAnError(t *testing.T) {
	needMmdebstrap(t)
	s := testStore(t, Config{})
	r, err := Bootstrap(t.Context(), BootstrapOptions{Mirror: "http://127.0.0.1:1/debian", TempDir: s.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); !fault.Is(err, fault.Unavailable) {
		t.Error("read:", err)
	}
	r.Close()
	emptyDir(t, s.TempDir())
	// Given up half way, nothing stays either.
	if r, err = Bootstrap(t.Context(), BootstrapOptions{TempDir: s.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	emptyDir(t, s.TempDir())
}

func emptyDir(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("%s holds %v, %v", dir, entries, err)
	}
}
