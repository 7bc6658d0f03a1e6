package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"daytona/runner"
)

// prepare2 makes a group in the unified hierarchy. Its parents pass the
// controllers on, so they must hold no process themselves.
func (c *cgroups) prepare2(path string, l runner.Limits) error {
	dir := c.unified
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if err := set(dir, "cgroup.subtree_control", "+cpu +memory +pids"); err != nil {
			return fmt.Errorf("passing controllers on in %s: %w", dir, err)
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return c.limit2(dir, l)
}

func (c *cgroups) limit2(dir string, l runner.Limits) error {
	for _, f := range limits2(l) {
		err := set(dir, f.name, f.value)
		if f.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type setting struct {
	name, value string
	optional    bool // the kernel may have been built without it
}

func limits2(l runner.Limits) []setting {
	var s []setting
	if l.CPU > 0 {
		s = append(s, setting{"cpu.max", fmt.Sprintf("%d %d", int64(l.CPU*cpuPeriod), cpuPeriod), false},
			setting{"cpu.weight", strconv.FormatInt(cpuWeight(l.CPU), 10), false})
	}
	if l.MemoryBytes > 0 {
		s = append(s, setting{"memory.max", strconv.FormatInt(l.MemoryBytes, 10), false},
			setting{"memory.swap.max", "0", true})
	}
	if l.Pids > 0 {
		s = append(s, setting{"pids.max", strconv.FormatInt(l.Pids, 10), false})
	}
	return s
}

// cpuShares is the weight of a group beside others, in version 1's measure.
func cpuShares(cpus float64) int64 { return min(max(2, int64(cpus*1024)), 262144) }

// cpuWeight is version 2's form of version 1's shares: the ranges [2, 262144] and
// [1, 10000] map onto each other.
func cpuWeight(cpus float64) int64 {
	return 1 + (cpuShares(cpus)-2)*9999/262142
}

func usage2(dir string) (usage, error) {
	var u usage
	total, err := number(dir, "memory.current")
	if err != nil {
		return u, err
	}
	stat, err := table(dir, "memory.stat")
	if err != nil {
		return u, err
	}
	// Shared memory is part of "file", but it is use: see usage1.
	u.cache = max(0, stat["file"]-stat["shmem"])
	u.memory = max(0, total-u.cache)
	ev, err := table(dir, "memory.events")
	if err != nil {
		return u, err
	}
	u.oomKills, u.oomHits = ev["oom_kill"], ev["max"]
	cpu, err := table(dir, "cpu.stat")
	if err != nil {
		return u, err
	}
	u.cpu = time.Duration(cpu["usage_usec"]) * time.Microsecond
	if u.pids, err = number(dir, "pids.current"); err != nil {
		return u, err
	}
	pe, err := table(dir, "pids.events")
	u.pidsHits = pe["max"]
	return u, err
}
