//go:build root

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// browserKit installs what drives Debian's Chromium.
func browserKit(t *testing.T) (node, dir, chromium string) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no Chromium: run make deps-test")
	}
	installing.Lock()
	defer installing.Unlock()
	node, npm := findNode(t)
	src, dir := filepath.Join(repo, "e2e", "browser"), filepath.Join(cache, "browser")
	pinned := []string{filepath.Join(src, "package.json"), filepath.Join(src, "package-lock.json")}
	install(t, dir, pinned, func() error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, file := range pinned {
			if err := copyFile(file, filepath.Join(dir, filepath.Base(file))); err != nil {
				return err
			}
		}
		return command(dir, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
	})
	scripts, err := filepath.Glob(filepath.Join(src, "*.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range scripts {
		if err := copyFile(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	return node, dir, chromium
}

// TestBrowser uses the terminal and a preview in Chromium. Pictures of what it
// saw stay in the cache.
func TestBrowser(t *testing.T) {
	t.Parallel()
	node, dir, chromium := browserKit(t)
	p := mustPreview(t, nil)
	var terminal struct{ URL, Token string }
	if err := shared.api.do(t.Context(), "GET", "/sandbox/"+p.ID+"/ports/22222/preview-url", nil, &terminal); err != nil {
		t.Fatal(err)
	}
	shots := filepath.Join(dir, "pictures")
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	out := runProgram(t, dir, nil, node, filepath.Join(dir, "previews.mjs"), chromium,
		fmt.Sprintf("%s/?DAYTONA_SANDBOX_AUTH_KEY=%s", terminal.URL, terminal.Token), p.url, shared.api.key, shots)
	if !strings.HasSuffix(strings.TrimSpace(out), "ok") {
		t.Errorf("it did not come to its end:\n%s", out)
	}
}
