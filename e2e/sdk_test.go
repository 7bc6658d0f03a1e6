//go:build root

package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// scenarios are the files of py/scenarios and ts/scenarios.
var scenarios = []string{"create", "code", "charts", "exec", "sessions", "files", "bigfile", "lifecycle", "errors", "desktop", "interpreter", "lsp", "pty", "git", "metrics", "images", "archive", "resize", "preview", "network"}

func TestPython(t *testing.T) {
	for _, era := range []string{"old", "new"} {
		for _, mode := range []string{"sync", "async"} {
			for _, scenario := range scenarios {
				t.Run(era+"/"+mode+"/"+scenario, func(t *testing.T) {
					t.Parallel()
					kit := pythonKit(t, era)
					file := filepath.Join(repo, "e2e", "py", "scenarios", scenario+".py")
					name, args := prepare(t, scenario, kit.python, "-B", file)
					runProgram(t, kit.dir, []string{"E2E_MODE=" + mode}, name, args...)
				})
			}
		}
	}
}

func TestTypeScript(t *testing.T) {
	for _, era := range []string{"old", "new"} {
		for _, scenario := range scenarios {
			t.Run(era+"/"+scenario, func(t *testing.T) {
				t.Parallel()
				kit := nodeKit(t, era)
				name, args := prepare(t, scenario, kit.node, filepath.Join(kit.dir, "scenarios", scenario+".mjs"))
				runProgram(t, kit.dir, nil, name, args...)
			})
		}
	}
}

// turns bounds how many programs run at a time: more would measure the
// machine's patience, not the server.
var turns = make(chan struct{}, 2)

// runProgram runs a client program against the shared server, shows what it
// printed when it fails, and returns what it printed.
func runProgram(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	turns <- struct{}{}
	defer func() { <-turns }()

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(clientEnv(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	err := cmd.Run()
	t.Logf("%.1f s", time.Since(began).Seconds())
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		t.Fatalf("%s: %v\n%s", filepath.Base(args[len(args)-1]), err, tail(out.String(), 16<<10))
	}
	return out.String()
}

// clientEnv is the environment of a client program: the caller's, with nothing
// of Daytona's but URL and key.
func clientEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "DAYTONA_") {
			env = append(env, kv)
		}
	}
	return append(env,
		"DAYTONA_API_URL="+shared.api.url, "DAYTONA_API_KEY="+shared.api.key,
		"E2E_TESTDATA="+filepath.Join(repo, "e2e", "testdata"),
		"NO_PROXY=127.0.0.1,localhost,.localhost", "no_proxy=127.0.0.1,localhost,.localhost",
		"PYTHONDONTWRITEBYTECODE=1", "NO_COLOR=1")
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}
