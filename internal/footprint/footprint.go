//go:build linux

// Package footprint takes stock of what a server has on its host: processes,
// mounts, cgroups, loop devices, network devices and namespaces, rules, and
// directories of sandboxes. Whoever looks before and after knows what was left
// behind.
package footprint

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

// Server says by which names a server's things are known.
type Server struct {
	Data          string // data directory
	CgroupParent  string
	NetworkPrefix string
	PID           int // of the server's own process, which does not count; 0: it doesn't run
}

// Footprint is what a server has: kind of thing to names. Names that change
// from sandbox to sandbox are fine; the number of them counts as well.
type Footprint map[string][]string

// Look takes stock.
func (s Server) Look() (Footprint, error) {
	f := Footprint{}
	for kind, list := range map[string]func() ([]string, error){
		"processes": s.Processes, "mounts": s.mounts, "cgroups": s.cgroups, "loop devices": s.loopDevices,
		"network devices":    func() ([]string, error) { return s.named("/sys/class/net") },
		"network namespaces": func() ([]string, error) { return s.named("/run/netns") },
		"nft rules":          s.rules, "directories": s.directories,
	} {
		names, err := list()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		slices.Sort(names)
		f[kind] = names
	}
	return f, nil
}

// maxNamed is how many new things of a kind are named.
const maxNamed = 8

// More lists what now has and before had not, kind by kind. Pools may refill
// with other names, so kinds of equal length count as equal.
func (before Footprint) More(now Footprint) []string {
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
		if len(extra) > maxNamed {
			extra = append(extra[:maxNamed], fmt.Sprintf("and %d more", len(extra)-maxNamed))
		}
		all = append(all, fmt.Sprintf("%s: %d, were %d; new: %s", kind, len(names), len(before[kind]), strings.Join(extra, "; ")))
	}
	slices.Sort(all)
	return all
}

// Processes are those of engines and sandboxes, "PID command line": named after
// the data directory, or in a cgroup of the server's. The server itself and its
// object store, which end together, do not count.
func (s Server) Processes() ([]string, error) {
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
		if bytes.Contains(cmdline, []byte("\x00object-store\x00")) || dir == fmt.Sprintf("/proc/%d", s.PID) {
			continue
		}
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		if bytes.Contains(cmdline, []byte(s.Data)) || bytes.Contains(groups, []byte("/"+s.CgroupParent+"/")) {
			text := strings.TrimSpace(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
			found = append(found, filepath.Base(dir)+" "+text)
		}
	}
	return found, nil
}

func (s Server) mounts() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], s.Data+"/") {
			found = append(found, fields[4])
		}
	}
	return found, nil
}

// cgroups of either version.
func (s Server) cgroups() ([]string, error) {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + s.CgroupParent)
	if err != nil {
		return nil, err
	}
	roots = append(roots, "/sys/fs/cgroup/"+s.CgroupParent)
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

func (s Server) loopDevices() ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		backing, err := os.ReadFile(file)
		if err == nil && strings.HasPrefix(string(backing), s.Data+"/") {
			found = append(found, strings.TrimSpace(string(backing)))
		}
	}
	return found, nil
}

// named lists the entries whose name is the prefix and a number.
func (s Server) named(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), s.NetworkPrefix); ok && rest != "" && (rest[0] == '-' || rest[0] >= '0' && rest[0] <= '9') {
			found = append(found, e.Name())
		}
	}
	return found, nil
}

// rules are the lines of the server's nft tables, elements of sets one by one.
func (s Server) rules() ([]string, error) {
	out, err := exec.CommandContext(context.Background(), "nft", "-s", "-y", "list", "ruleset").Output()
	if err != nil {
		return nil, err
	}
	var found []string
	table := ""
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "table ") {
			table = ""
			if fields := strings.Fields(line); strings.HasPrefix(fields[2], s.NetworkPrefix) {
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

// ID matches the id of a sandbox.
var ID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// directories are those that carry the id of a sandbox in their name, with
// their files not looked at.
func (s Server) directories() ([]string, error) {
	var found []string
	err := filepath.WalkDir(s.Data, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if ID.MatchString(d.Name()) {
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
