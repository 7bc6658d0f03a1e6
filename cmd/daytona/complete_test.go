//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// homeOfShells is a directory into which shells may go on writing for a moment
// after they have ended: they leave it to children.
func homeOfShells(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "daytona-shells-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var err error
		for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
			if err = os.RemoveAll(dir); err == nil {
				return
			}
		}
		t.Error(err)
	})
	return dir
}

// TestCompletion presses Tab in the shells that are installed here. Names of a
// server's things are tried in e2e.
func TestCompletion(t *testing.T) {
	bin, dir := filepath.Join(binDir(t), "daytona"), homeOfShells(t)
	scripts := map[string]string{}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		out, err := exec.CommandContext(t.Context(), bin, "completion", shell).Output()
		if err != nil || !bytes.Contains(out, []byte("__complete")) {
			t.Fatalf("%s: %v\n%s", shell, err, out)
		}
		scripts[shell] = filepath.Join(dir, shell)
		if err := os.WriteFile(scripts[shell], out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(t *testing.T, name string, args ...string) string {
		t.Helper()
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: scripts/deps.sh test", name)
		}
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for typed, want := range map[string]string{
		"daytona snap":                    "snapshot",
		"daytona sandbox list --format j": "json",
		"daytona mcp init w":              "windsurf",
		"daytona server --log-l":          "--log-level",
		"daytona admin us":                "user",
	} {
		whole := typed[:strings.LastIndexAny(typed, " ")+1] + want
		for _, shell := range []string{"bash", "zsh"} {
			t.Run(shell+"/"+want, func(t *testing.T) {
				if got := run(t, "zsh", "-f", "testdata/type.zsh", shell, scripts[shell], typed); got != whole {
					t.Errorf("%s became %q, want %q", typed, got, whole)
				}
			})
		}
		t.Run("fish/"+want, func(t *testing.T) {
			got := run(t, "fish", "--no-config", "-c", "source "+scripts["fish"]+"; complete -C '"+typed+"'")
			if word, _, _ := strings.Cut(got, "\t"); word != want {
				t.Errorf("%s became %q, want %q", typed, got, want)
			}
		})
	}
	t.Run("bash/after an equals sign", func(t *testing.T) {
		if got := run(t, "zsh", "-f", "testdata/type.zsh", "bash", scripts["bash"], "daytona sandbox list --format=y"); got != "daytona sandbox list --format=yaml" {
			t.Error(got)
		}
	})
}
