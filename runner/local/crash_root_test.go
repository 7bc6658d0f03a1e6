//go:build root

package local_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/runner/local"
	"daytona/runner/runnertest"
)

// The test's program runs itself as the victim when this is set.
const (
	victimDir       = "RUNNER_RTEST_VICTIM"
	victimToolbox   = "RUNNER_RTEST_TOOLBOX"
	victimIsolation = "RUNNER_RTEST_ISOLATION"
)

func victim(dir string) int {
	r, err := local.Open(context.Background(), config(dir, os.Getenv(victimToolbox), 1, os.Getenv(victimIsolation)))
	if err != nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		return 1
	}
	go r.Run(context.Background())
	runnertest.Victim(r, tiny)
	return 0
}

// TestKilledAtAnyPoint kills the runner again and again while it makes and
// removes real sandboxes, and compares processes, mounts, loop devices, control
// groups and directories with what the runner says.
func TestKilledAtAnyPoint(t *testing.T) {
	for isolation, rounds := range map[string]int{local.Runc: 10, local.GVisor: 6} {
		t.Run(isolation, func(t *testing.T) {
			dir := dataDir(t)
			importTiny(t, dir)
			story := runnertest.Story{}
			for round := range rounds {
				self, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(self)
				cmd.Env = append(os.Environ(), victimDir+"="+dir, victimToolbox+"="+toolbox, victimIsolation+"="+isolation)
				story.Kill(t, cmd, time.Duration(rand.IntN(1500))*time.Millisecond)
				r := open(t, config(dir, toolbox, 0, isolation))
				story.Check(t, r)
				agrees(t, r, dir)
				story.Trim(t, r, 2)
				if err := r.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if t.Failed() {
					t.Fatalf("in round %d", round)
				}
			}
			r := open(t, config(dir, toolbox, 0, isolation))
			story.Trim(t, r, 0)
			if err := r.StopAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := look(t, dir); len(left) > 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
		})
	}
}

// agrees compares the host with what the runner says: every sandbox that runs
// has a control group and a mount, one that is stopped has a directory alone,
// and nothing names a sandbox that the runner does not know.
func agrees(t *testing.T, r interface {
	List(context.Context) ([]runnerapi.Sandbox, error)
	Waiting() []string
}, dir string) {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	running, known := r.Waiting(), r.Waiting()
	for _, sb := range list {
		if sb.State == runnerapi.StateRunning {
			running = append(running, sb.ID)
		}
		known = append(known, sb.ID)
	}
	lines := look(t, dir)
	var live, all []string
	for _, l := range lines {
		if !strings.HasPrefix(l, "file ") {
			live = append(live, l)
		}
		all = append(all, l)
	}
	slices.Sort(running)
	slices.Sort(known)
	if got := sandboxesIn(live); !slices.Equal(got, running) {
		t.Errorf("on the host there live %v, should be %v:\n%s", got, running, strings.Join(live, "\n"))
	}
	// Networks do not bear the sandbox's name, but there is one for each that
	// runs and a few that are ready.
	devices, _ := filepath.Glob("/sys/class/net/" + prefix + "[0-9]*")
	if spare := len(devices) - len(running); spare < 0 || spare > readyNetworks {
		t.Errorf("%d network devices for %d sandboxes: %v", len(devices), len(running), devices)
	}
	for _, id := range sandboxesIn(all) {
		if !slices.Contains(known, id) {
			t.Errorf("files of an unknown sandbox %s:\n%s", id, strings.Join(all, "\n"))
		}
	}
}
