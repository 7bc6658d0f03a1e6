//go:build root

package local_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"daytona/api/runnerapi"
	"daytona/runner/local"
)

// diskUse is how many bytes the files below a directory take.
func diskUse(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) { // it is being removed
			return nil
		}
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestBuildCacheKeepsItsBudget: what no image needs goes, the least recently used
// first, until the cache holds what it may; what an image needs does not count and
// does not go.
func TestBuildCacheKeepsItsBudget(t *testing.T) {
	const part, parts = 16 << 20, 3 // bytes of a step, and how many of them are kept
	w := newImageWorld(t, local.Runc, func(c *local.Config) { c.BuildCacheBytes = parts*part + part/2 })
	layers := filepath.Join(w.dir, "images", "snapshots")
	dockerfile := func(i int) string {
		return fmt.Sprintf("FROM busybox:1\nRUN echo %d > /number && dd if=/dev/urandom of=/data bs=1M count=%d\n", i, part>>20)
	}
	build := func(name string, i int) {
		t.Helper()
		if s := w.build(name, dockerfile(i)); s.State != runnerapi.SnapshotReady {
			t.Fatalf("%+v\n%s", s, w.log(name))
		}
	}
	build("kept", 0)
	least := diskUse(t, layers)
	const made = 7
	for i := 1; i <= made; i++ {
		build("gone", i)
		if err := w.RemoveImage(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the cache keeps its budget", func() bool { return diskUse(t, layers) < least+(parts+1)*part })
	if use := diskUse(t, layers); use < least+part {
		t.Errorf("%d MiB are left of the cache; it may hold %d", (use-least)>>20, parts*part>>20)
	}
	// The step has the same number in each log, and says alone whether it was cached.
	build("again", made)
	if log := w.log("again"); !strings.Contains(log, "#5 CACHED") {
		t.Errorf("what was used last is gone:\n%s", log)
	}
	build("first", 1)
	if log := w.log("first"); strings.Contains(log, "#5 CACHED") {
		t.Errorf("what was used first is still there:\n%s", log)
	}
	if out := w.run("kept", "cat /number; wc -c < /data"); !strings.Contains(out, "0\n"+fmt.Sprint(part)) {
		t.Errorf("an image that is needed holds %q", out)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
