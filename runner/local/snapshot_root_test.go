//go:build root

package local_test

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"daytona/api/runnerapi"
	"daytona/runner/local"
)

// TestDefaultSnapshot makes the default snapshot as a first start does. It
// needs the network and some minutes, so it runs only when asked for; the
// end-to-end tests make the same snapshot on their way.
func TestDefaultSnapshot(t *testing.T) {
	if os.Getenv("DAYTONA_TEST_SNAPSHOT") == "" {
		t.Skip("DAYTONA_TEST_SNAPSHOT is not set")
	}
	dir := os.Getenv("DAYTONA_TEST_SNAPSHOT_DATA") // keeps the result
	if dir == "" {
		dir = dataDir(t)
	}
	cfg := config(dir, toolbox, 0, local.GVisor, local.Runc)
	cfg.NoDefaultSnapshot = false
	if dir := os.Getenv("DAYTONA_TEST_SNAPSHOT_DATA"); dir != "" { // may run beside the other tests
		cfg.CgroupParent, cfg.NetworkPrefix = cgroup+"-snap", prefix+"s"
		cfg.Outer4, cfg.Outer6 = netip.MustParsePrefix("10.218.0.0/24"), netip.MustParsePrefix("fd64:6179:7403::/64")
	}
	cfg.Default.MemoryMiB, cfg.Default.DiskMiB = 1024, 3072
	r := open(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	start := time.Now()
	if err := r.EnsureSnapshots(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("made in %s", time.Since(start))
	for _, isolation := range []string{local.Runc, local.GVisor} {
		spec := runnerapi.Spec{ID: uuid.NewString(), OrgID: "org", Snapshot: "daytona-slim", Isolation: isolation}
		if _, err := r.Create(ctx, spec); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"node -v", "python3 -c 'import pandas, matplotlib.pyplot; print(pandas.__version__)'", "id -un", "pwd"} {
			start := time.Now()
			res := request(r, http.MethodPost, spec.ID, "/process/execute", `{"command":"`+command+`"}`)
			if res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `"exitCode":0`) {
				t.Errorf("%s: %s: %d %s", isolation, command, res.Code, res.Body)
			}
			t.Logf("%s: %s: %s (%s)", isolation, command, strings.TrimSpace(res.Body.String()), time.Since(start))
		}
		if err := r.Delete(ctx, spec.ID); err != nil {
			t.Error(err)
		}
	}
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
}
