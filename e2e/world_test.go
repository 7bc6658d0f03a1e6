//go:build root

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// world is what a server has on its host: kind of thing to names. Names that
// change from sandbox to sandbox are fine; the number of them counts as well.
type world map[string][]string

// look takes stock of what belongs to the server, by its data directory, its
// cgroup parent and its network prefix.
func look(s *server) (world, error) {
	w := world{}
	for kind, list := range map[string]func(*server) ([]string, error){
		"processes": processes, "mounts": mounts, "cgroups": cgroups, "loop devices": loopDevices,
		"network devices": devices, "network namespaces": namespaces, "nft rules": rules, "directories": directories,
	} {
		names, err := list(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		slices.Sort(names)
		w[kind] = names
	}
	return w, nil
}

// more lists what now has and before had not, kind by kind. Pools may refill
// with other names, so kinds of equal length count as equal.
func (before world) more(now world) []string {
	var all []string
	for kind, names := range now {
		if len(names) <= len(before[kind]) {
			continue
		}
		var extra []string
		for _, name := range names {
			if !slices.Contains(before[kind], name) {
				extra = append(extra, name)
			}
		}
		all = append(all, fmt.Sprintf("%s: %d, were %d; new: %s", kind, len(names), len(before[kind]), strings.Join(extra, "; ")))
	}
	slices.Sort(all)
	return all
}

// processes are those of engines and sandboxes: named after the data directory,
// or in a cgroup of ours. The server itself and its object store, which end together,
// do not count.
func processes(s *server) ([]string, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, dir := range dirs {
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue // gone meanwhile, or a thread of the kernel
		}
		if bytes.Contains(cmdline, []byte("\x00object-store\x00")) {
			continue
		}
		if s.cmd != nil && dir == fmt.Sprintf("/proc/%d", s.cmd.Process.Pid) {
			continue
		}
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		if bytes.Contains(cmdline, []byte(s.dir)) || bytes.Contains(groups, []byte("/"+cgroupParent+"/")) {
			text := strings.TrimSpace(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
			found = append(found, filepath.Base(dir)+" "+tail(text, 120))
		}
	}
	return found, nil
}

func mounts(s *server) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], s.dir+"/") {
			found = append(found, fields[4])
		}
	}
	return found, nil
}

// cgroups of either version.
func cgroups(*server) ([]string, error) {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + cgroupParent)
	if err != nil {
		return nil, err
	}
	roots = append(roots, "/sys/fs/cgroup/"+cgroupParent)
	var found []string
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err == nil && d.IsDir() && path != root {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func loopDevices(s *server) ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		backing, err := os.ReadFile(file)
		if err == nil && strings.HasPrefix(string(backing), s.dir+"/") {
			found = append(found, strings.TrimSpace(string(backing)))
		}
	}
	return found, nil
}

var ours = regexp.MustCompile(`^` + networkPrefix + `[-0-9]`)

func devices(*server) ([]string, error) { return named("/sys/class/net") }

func namespaces(*server) ([]string, error) { return named("/run/netns") }

func named(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if ours.MatchString(e.Name()) {
			found = append(found, e.Name())
		}
	}
	return found, nil
}

// rules are the lines of our nft tables, elements of sets one by one.
func rules(*server) ([]string, error) {
	out, err := exec.CommandContext(context.Background(), "nft", "-s", "-y", "list", "ruleset").Output()
	if err != nil {
		return nil, err
	}
	var found []string
	table := ""
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "table ") {
			table = ""
			if fields := strings.Fields(line); strings.HasPrefix(fields[2], networkPrefix) {
				table = fields[2]
			}
		}
		if table == "" {
			continue
		}
		for i, part := range strings.Split(strings.TrimSpace(line), ",") {
			found = append(found, fmt.Sprintf("%s[%d] %s", table, i, strings.TrimSpace(part)))
		}
	}
	return found, nil
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// directories are those that carry the id of a sandbox in their name, with
// their files not looked at.
func directories(s *server) ([]string, error) {
	var found []string
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if uuid.MatchString(d.Name()) {
			if d.IsDir() || strings.HasSuffix(path, ".img") {
				found = append(found, path)
			}
			if d.IsDir() {
				return fs.SkipDir
			}
		}
		return nil
	})
	return found, err
}
