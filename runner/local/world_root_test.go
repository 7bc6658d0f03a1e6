//go:build root

package local_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"daytona/runner/netns"
)

// ids matches what names a sandbox.
var ids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// look lists everything on the host that belongs to single sandboxes of the
// data directory: processes, mounts, loop devices, cgroups, directories. The
// names of sandboxes are in the lines, so that they can be compared with the
// records. What a runner holds ready (networks, formatted disks) is not listed.
func look(t *testing.T, dir string) []string {
	t.Helper()
	seen := map[string]bool{}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if strings.HasPrefix(f[1], dir) {
			seen["mount "+f[1]] = true
		}
	}
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, name := range backing {
		if file, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(file), dir) {
			seen["loop "+strings.TrimSpace(string(file))] = true
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup" + cgroup + "/*", "/sys/fs/cgroup/*" + cgroup + "/*", "/sys/fs/cgroup/unified" + cgroup + "/*"} {
		groups, _ := filepath.Glob(pattern)
		for _, g := range groups {
			if st, err := os.Stat(g); err == nil && st.IsDir() {
				seen["cgroup "+g] = true
			}
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range procs {
		if pid := strings.Split(name, "/")[2]; pid == "self" {
			continue
		}
		cmd, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(cmd), dir) || strings.Contains(string(cmd), ".test") {
			continue
		}
		seen["process "+strings.ReplaceAll(string(cmd), "\x00", " ")] = true
	}
	for _, sub := range []string{"runner/sandboxes", "images/roots", "engines/*"} {
		names, _ := filepath.Glob(filepath.Join(dir, sub, "*"))
		for _, n := range names {
			if ids.MatchString(n) {
				seen["file "+n] = true
			}
		}
	}
	lines := make([]string, 0, len(seen))
	for l := range seen {
		lines = append(lines, l)
	}
	slices.Sort(lines)
	return lines
}

// sandboxesIn returns the ids that occur in lines.
func sandboxesIn(lines []string) []string {
	var found []string
	for _, l := range lines {
		for _, id := range ids.FindAllString(l, -1) {
			if !slices.Contains(found, id) {
				found = append(found, id)
			}
		}
	}
	slices.Sort(found)
	return found
}

// leaveHost removes what a runner of these tests keeps ready on the host.
func leaveHost(t *testing.T) {
	t.Helper()
	if err := netns.Destroy(context.Background(), prefix); err != nil {
		t.Error(err)
	}
	for _, pattern := range []string{"/sys/fs/cgroup" + cgroup, "/sys/fs/cgroup/*" + cgroup} {
		groups, _ := filepath.Glob(pattern)
		for _, g := range groups {
			if err := os.Remove(g); err != nil {
				t.Error(err)
			}
		}
	}
}

// sweepKilled removes what an earlier run left that was killed.
func sweepKilled(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup" + cgroup + "/*", "/sys/fs/cgroup/*" + cgroup + "/*"} {
		lists, _ := filepath.Glob(pattern + "/cgroup.procs")
		for _, list := range lists {
			eventually(t, "an old control group is empty", func() bool {
				pids, err := os.ReadFile(list)
				for p := range strings.FieldsSeq(string(pids)) {
					if pid, err := strconv.Atoi(p); err == nil {
						syscall.Kill(pid, syscall.SIGKILL)
					}
				}
				return err != nil || len(pids) == 0
			})
			os.Remove(filepath.Dir(list))
		}
	}
	own := filepath.Join(os.TempDir(), dirPrefix)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(mounts), "\n")
	for _, line := range slices.Backward(lines) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], own) {
			if err := syscall.Unmount(f[1], syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", f[1], err)
			}
		}
	}
	dirs, _ := filepath.Glob(own + "*")
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			t.Error(err)
		}
	}
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
