package runner_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"daytona/runner"
	"daytona/runner/runnertest"
)

// The test's program runs itself as the victim when this is set.
const (
	victimDir     = "RUNNER_TEST_VICTIM"
	victimToolbox = "RUNNER_TEST_TOOLBOX"
)

func withPool(c *runner.Config) { c.Warm = map[string]int{snapshot: 2} }

func victim(dir string) int {
	w, err := openWorld(dir, os.Getenv(victimToolbox), withPool)
	if err != nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		return 1
	}
	go func() { _ = w.Run(context.Background()) }() // until it is killed
	runnertest.Victim(w, snapshot)
	return 0
}

// TestKilledAtAnyPoint kills the runner again and again while it makes and
// removes sandboxes. Each time all that it had promised must be found again,
// and nothing else.
func TestKilledAtAnyPoint(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	t.Cleanup(func() { // whatever the test came to
		d, err := openDriverOnly(dir)
		if err != nil {
			t.Fatal(err)
		}
		ids, _ := d.Containers()
		for _, id := range ids {
			if err := d.Delete(context.Background(), id); err != nil {
				t.Error(err)
			}
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	story := runnertest.Story{}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), victimDir+"="+dir, victimToolbox+"="+toolbox)
		story.Kill(t, cmd, time.Duration(random.IntN(250))*time.Millisecond)
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			probe, err := openDriverOnly(dir)
			if err != nil {
				t.Fatal(err)
			}
			before := pids(t, probe)
			w, err := openWorld(dir, toolbox, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.t = t
			story.Check(t, w)
			w.agrees()
			for id, pid := range pids(t, w.driver) {
				if was, known := before[id]; known && was != pid { // else it was just starting
					t.Errorf("the process of %s was touched: %d, now %d", id, was, pid)
				}
			}
			story.Trim(t, w, 3)
			w.close()
		})
		if t.Failed() {
			break
		}
	}
	w := reopen(t, dir, nil)
	story.Trim(t, w, 0)
	if err := w.StopAll(t.Context()); err != nil { // what is left is the pool's
		t.Fatal(err)
	}
	w.nothingLeft()
}

// agrees compares what there is with what the runner's records say.
func (w *world) agrees() {
	w.t.Helper()
	ctx := context.Background()
	live, rooted, known := w.Expected()
	equal := func(what string, got []string, err error, want []string) {
		w.t.Helper()
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			w.t.Errorf("%s: there are %v, should be %v (%v)", what, got, want, err)
		}
	}
	var containers []string
	list, err := w.driver.List(ctx)
	waiting := w.Waiting()
	for _, c := range list {
		if w.driver.Background(c.ID) && !slices.Contains(waiting, c.ID) {
			w.t.Errorf("container %s is in use and in the background", c.ID)
		}
		containers = append(containers, c.ID)
		if !c.Running {
			w.t.Errorf("container %s does not run", c.ID)
		}
	}
	equal("containers", containers, err, live)
	slots, err := w.net.Slots()
	equal("networks", slots, err, live)
	roots, err := w.roots.Roots(ctx)
	equal("roots", roots, err, rooted)
	var dirs []string
	entries, err := os.ReadDir(filepath.Join(w.dir, "runner", "sandboxes"))
	for _, e := range entries {
		dirs = append(dirs, e.Name())
	}
	equal("directories", dirs, err, known)
	processes, err := w.driver.Containers()
	equal("containers that have processes", processes, err, live)
}
