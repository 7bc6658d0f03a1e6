//go:build root

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// pyKit is an environment with one version of the Python SDK.
type pyKit struct{ dir, python string }

// tsKit is a directory with one version of the TypeScript SDK installed, in
// which programs can be written.
type tsKit struct{ dir, node string }

var installing sync.Mutex

// pythonKit installs the SDK of an era, "old" or "new", unless it is there.
func pythonKit(t *testing.T, era string) pyKit {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	requirements := filepath.Join(repo, "e2e", "py", era+".txt")
	dir := filepath.Join(cache, "py-"+era)
	install(t, dir, []string{requirements}, func() error {
		if err := command("", "python3", "-m", "venv", dir); err != nil {
			return err
		}
		return command("", filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements)
	})
	return pyKit{dir, filepath.Join(dir, "bin", "python")}
}

// nodeKit does the same for TypeScript, and copies the scenarios beside the
// SDK, since a module is resolved from where the importing file lies.
func nodeKit(t *testing.T, era string) tsKit {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	node, npm := findNode(t)
	src := filepath.Join(repo, "e2e", "ts", era)
	dir := filepath.Join(cache, "ts-"+era)
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
		return command(dir, npm, "ci", "--no-audit", "--no-fund", "--loglevel=error")
	})
	to := filepath.Join(dir, "scenarios")
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(repo, "e2e", "ts", "scenarios", "*.mjs"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		if err := copyFile(file, filepath.Join(to, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	return tsKit{dir, node}
}

// findNode gives the programs node and npm. The SDK's dependencies want Node 20;
// where the system has an older one, or none, a newer one is installed beside.
func findNode(t *testing.T) (node, npm string) {
	t.Helper()
	node, errNode := exec.LookPath("node")
	npm, errNPM := exec.LookPath("npm")
	if errNode == nil && errNPM == nil {
		out, err := exec.CommandContext(t.Context(), node, "-p", "process.versions.node.split('.')[0]").Output()
		major, _ := strconv.Atoi(strings.TrimSpace(string(out)))
		if err == nil && major >= 20 {
			return node, npm
		}
	}
	dir := filepath.Join(cache, "node")
	requirements := filepath.Join(repo, "e2e", "ts", "node.txt")
	install(t, dir, []string{requirements}, func() error {
		if err := command("", "python3", "-m", "venv", dir); err != nil {
			return err
		}
		return command("", filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements)
	})
	// npm runs the node that it finds first.
	bin := filepath.Join(dir, "bin")
	if path := os.Getenv("PATH"); !strings.HasPrefix(path, bin+":") {
		if err := os.Setenv("PATH", bin+":"+path); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(bin, "node"), filepath.Join(bin, "npm")
}

// install calls make for a directory that was not made from these inputs.
func install(t *testing.T, dir string, inputs []string, make func() error) {
	t.Helper()
	sum := sha256.New()
	for _, file := range inputs {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(data)
	}
	want := hex.EncodeToString(sum.Sum(nil))
	stamp := filepath.Join(dir, ".installed")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := make(); err != nil {
		t.Fatalf("installing %s: %v", filepath.Base(dir), err)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func command(dir, name string, args ...string) error {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
