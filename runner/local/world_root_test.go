//go:build root

package local_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
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
