package oci

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"daytona/runner"

	"golang.org/x/sys/unix"
)

// cgroups makes, reads, empties and removes the control groups of containers,
// in the unified hierarchy (version 2) or in one hierarchy for each controller
// (version 1). Groups are named by their path from a hierarchy's root.
type cgroups struct {
	unified string            // mount point of version 2, when it has the controllers
	byCtrl  map[string]string // mount points of version 1 by controller
	mounts  []string          // every hierarchy, in which an engine may leave a group
}

// usage is what a group's files say.
type usage struct {
	memory   int64         // bytes without page cache
	cache    int64         // bytes of page cache
	cpu      time.Duration // since the group was made
	pids     int64         // processes and threads
	oomKills int64         // processes killed for want of memory
	oomHits  int64         // how often the memory limit was met
	pidsHits int64         // how often a new process was refused
}

// findCgroups reads which hierarchies are mounted from the contents of
// /proc/self/mountinfo.
func findCgroups(mountinfo io.Reader) (*cgroups, error) {
	c := &cgroups{byCtrl: map[string]string{}}
	var v2 string
	sc := bufio.NewScanner(mountinfo)
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		at := left[4]
		switch right[0] {
		case "cgroup2":
			v2 = at
		case "cgroup":
			for opt := range strings.SplitSeq(right[2], ",") {
				switch opt {
				case "cpu", "cpuacct", "memory", "pids":
					c.byCtrl[opt] = at
				}
			}
		default:
			continue
		}
		c.mounts = append(c.mounts, at)
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(c.byCtrl) == 0 {
		if v2 == "" {
			return nil, errors.New("no control group hierarchy is mounted")
		}
		c.unified = v2
		return c, nil
	}
	for _, ctrl := range []string{"cpu", "cpuacct", "memory", "pids"} {
		if c.byCtrl[ctrl] == "" {
			return nil, fmt.Errorf("no hierarchy of the control group controller %q is mounted", ctrl)
		}
	}
	return c, nil
}

// prepare makes a group with limits, which must not exist yet.
func (c *cgroups) prepare(path string, l runner.Limits) error {
	if c.unified != "" {
		return c.prepare2(path, l)
	}
	return c.prepare1(path, l)
}

// yield says whether a group leaves the processors to the other groups of its
// parent whenever these can use them, or has its share by cpus.
func (c *cgroups) yield(path string, cpus float64, on bool) error {
	dir, share := filepath.Join(c.byCtrl["cpu"], path), setting{name: "cpu.shares", value: strconv.FormatInt(cpuShares(cpus), 10)}
	least := "2"
	if c.unified != "" {
		dir, share = filepath.Join(c.unified, path), setting{name: "cpu.weight", value: strconv.FormatInt(cpuWeight(cpus), 10)}
		least = "1"
	}
	idle := "0"
	if on {
		idle, share.value = "1", least
	}
	// An idle group is interrupted as soon as another wants to run, which one of
	// small weight is not. Kernels before 5.15 have only the weight; later ones
	// refuse to set the weight of an idle group.
	err := set(dir, "cpu.idle", idle)
	if on && err == nil {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if cpus <= 0 && !on {
		return nil // without a limit it had no weight of its own
	}
	return set(dir, share.name, share.value)
}

// resize gives a group that exists other limits.
func (c *cgroups) resize(path string, l runner.Limits) error {
	if c.unified == "" {
		return c.limit1(path, l)
	}
	return c.limit2(filepath.Join(c.unified, path), l)
}

// usage reads what a group uses.
func (c *cgroups) usage(path string) (usage, error) {
	if c.unified != "" {
		return usage2(filepath.Join(c.unified, path))
	}
	return c.usage1(path)
}

// pidsIn returns the processes in a group and below it, in any hierarchy.
func (c *cgroups) pidsIn(path string) ([]int, error) {
	seen := map[int]bool{}
	var pids []int
	for _, m := range c.mounts {
		err := filepath.WalkDir(filepath.Join(m, path), func(dir string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if !d.IsDir() {
				return nil
			}
			b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
				return nil
			}
			if err != nil {
				return err
			}
			for f := range strings.FieldsSeq(string(b)) {
				// 0 stands for a process that this pid namespace cannot name.
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 && !seen[pid] {
					seen[pid] = true
					pids = append(pids, pid)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return pids, nil
}

// kill kills every process in a group and returns when none is left.
func (c *cgroups) kill(ctx context.Context, path string) error {
	for {
		pids, err := c.pidsIn(path)
		if err != nil || len(pids) == 0 {
			return err
		}
		if c.unified != "" {
			// One write kills also what forks faster than it can be listed.
			// Kernels before 5.14 lack the file; the loop does it there.
			_ = os.WriteFile(filepath.Join(c.unified, path, "cgroup.kill"), []byte("1"), 0)
		}
		var procs []*proc
		for _, pid := range pids {
			p, err := openProc(pid, 0)
			if errors.Is(err, errDead) {
				continue
			}
			if err != nil {
				return err
			}
			defer p.close()
			switch {
			case c.member(pid, path):
				if err := p.signal(unix.SIGKILL); err != nil {
					return err
				}
				procs = append(procs, p)
			case exiting(pid):
				// Version 1 shows a process that is on its way out in the
				// root group. It needs no signal, but has not ended yet.
				procs = append(procs, p)
			default:
				// It is a later process with the pid of one that was listed.
			}
		}
		for _, p := range procs {
			if err := p.wait(ctx); err != nil {
				return fmt.Errorf("processes of %s do not end: %w", path, err)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// member reports whether a process is in a group or below it.
func (c *cgroups) member(pid int, path string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && (parts[2] == path || strings.HasPrefix(parts[2], path+"/")) {
			return true
		}
	}
	return false
}

// remove removes a group, and those below it, from every hierarchy.
func (c *cgroups) remove(ctx context.Context, path string) error {
	var errs []error
	for _, m := range c.mounts {
		errs = append(errs, removeGroup(ctx, filepath.Join(m, path)))
	}
	return errors.Join(errs...)
}

func removeGroup(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(ctx, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	// A killed process leaves its group a moment after it can be waited for,
	// and no event tells when.
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		select {
		case <-ctx.Done():
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// set writes a value to a group's file. It is an fs.ErrNotExist when the kernel
// does not have that file.
func set(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("setting %s to %s: %w", file, value, err)
	}
	return nil
}

// number reads a file that holds one number; "max" reads as -1.
func number(dir, file string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, err
	}
	s := strings.TrimSpace(string(b))
	if s == "max" {
		return -1, nil
	}
	return strconv.ParseInt(s, 10, 64)
}

// table reads a file of lines "name number". A missing file is an empty table.
func table(dir, file string) (map[string]int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				t[f[0]] = n
			}
		}
	}
	return t, nil
}
