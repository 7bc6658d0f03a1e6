package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"daytona/runner"
)

// cpuPeriod is the period of a CPU quota, in microseconds.
const cpuPeriod = 100_000

// prepare1 makes a group in the hierarchies that limit. The engine adds the
// others.
func (c *cgroups) prepare1(path string, l runner.Limits) error {
	for _, ctrl := range []string{"cpu", "cpuacct", "memory", "pids"} {
		dir := filepath.Join(c.byCtrl[ctrl], path)
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		// Controllers may share a hierarchy.
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return c.limit1(path, l)
}

// limit1 sets the limits of a group, new or with processes in it.
func (c *cgroups) limit1(path string, l runner.Limits) error {
	if l.CPU > 0 {
		dir := filepath.Join(c.byCtrl["cpu"], path)
		if err := set(dir, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)); err != nil {
			return err
		}
		if err := set(dir, "cpu.cfs_quota_us", strconv.FormatInt(int64(l.CPU*cpuPeriod), 10)); err != nil {
			return err
		}
		if err := set(dir, "cpu.shares", strconv.FormatInt(cpuShares(l.CPU), 10)); err != nil {
			return err
		}
	}
	if l.MemoryBytes > 0 {
		dir := filepath.Join(c.byCtrl["memory"], path)
		if err := limitMemory1(dir, l.MemoryBytes); err != nil {
			return err
		}
	}
	if l.Pids > 0 {
		return set(filepath.Join(c.byCtrl["pids"], path), "pids.max", strconv.FormatInt(l.Pids, 10))
	}
	return nil
}

// limitMemory1 limits memory, and memory and swap together: nothing is swapped
// out. The second file is missing where the kernel does not count swap; it may
// never hold less than the first.
func limitMemory1(dir string, bytes int64) error {
	files := []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
	if now, err := number(dir, files[0]); err == nil && now < bytes {
		files[0], files[1] = files[1], files[0]
	}
	for _, f := range files {
		err := set(dir, f, strconv.FormatInt(bytes, 10))
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && f == "memory.memsw.limit_in_bytes") {
			return err
		}
	}
	return nil
}

func (c *cgroups) usage1(path string) (usage, error) {
	var u usage
	mem := filepath.Join(c.byCtrl["memory"], path)
	total, err := number(mem, "memory.usage_in_bytes")
	if err != nil {
		return u, err
	}
	stat, err := table(mem, "memory.stat")
	if err != nil {
		return u, err
	}
	// Shared memory counts as cache but cannot be dropped: it is use. gVisor
	// keeps all memory of its guests there.
	u.cache = max(0, stat["total_cache"]-stat["total_shmem"])
	u.memory = max(0, total-u.cache)
	oom, err := table(mem, "memory.oom_control")
	if err != nil {
		return u, err
	}
	u.oomKills = oom["oom_kill"]
	if u.oomHits, err = number(mem, "memory.failcnt"); err != nil {
		return u, err
	}
	ns, err := number(filepath.Join(c.byCtrl["cpuacct"], path), "cpuacct.usage")
	if err != nil {
		return u, err
	}
	u.cpu = time.Duration(ns)
	pids := filepath.Join(c.byCtrl["pids"], path)
	if u.pids, err = number(pids, "pids.current"); err != nil {
		return u, err
	}
	ev, err := table(pids, "pids.events")
	u.pidsHits = ev["max"]
	return u, err
}
