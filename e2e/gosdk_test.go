//go:build root

package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// TestGoSDK runs the examples of the Go SDK's documentation, each of which says
// what it prints, against the server.
func TestGoSDK(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", "^Example", "./sdk/go")
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "DAYTONA_API_URL="+shared.api.url, "DAYTONA_API_KEY="+shared.api.key)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
