//go:build root

package e2e

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestCLI drives the command line as people do, against the server. A script
// calls its sandboxes and snapshots $BOX and something; they are deleted at its
// end.
func TestCLI(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/cli",
		Setup: func(env *testscript.Env) error {
			box := "cli" + strings.TrimPrefix(filepath.Base(env.WorkDir), "script") + time.Now().Format("150405")
			env.Vars = append(env.Vars,
				"HOME="+env.WorkDir+"/home", "DAYTONA_CONFIG_DIR="+env.WorkDir+"/config",
				"DAYTONA_API_URL="+shared.api.url, "DAYTONA_API_KEY="+shared.api.key, "URL="+shared.api.url, "KEY="+shared.api.key,
				"PATH="+filepath.Join(repo, "bin")+":"+os.Getenv("PATH"), "BOX="+box,
				"TYPE="+filepath.Join(repo, "cmd", "daytona", "testdata", "type.zsh"))
			env.Defer(func() { cleanCLI(t, box) })
			return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o755)
		},
	})
}

func cleanCLI(t *testing.T, prefix string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, err := shared.api.list(ctx)
	for _, sb := range all {
		if strings.HasPrefix(sb.Name, prefix) {
			err = errors.Join(err, shared.api.delete(ctx, sb.ID))
		}
	}
	var snapshots struct {
		Items []struct{ ID, Name string }
	}
	err = errors.Join(err, shared.api.do(ctx, "GET", "/snapshots?limit=200", nil, &snapshots))
	for _, snap := range snapshots.Items {
		if strings.HasPrefix(snap.Name, prefix) {
			err = errors.Join(err, shared.api.do(ctx, "DELETE", "/snapshots/"+snap.ID, nil, nil))
		}
	}
	if err != nil && status(err) != http.StatusNotFound {
		t.Errorf("cleaning up: %v", err)
	}
}
