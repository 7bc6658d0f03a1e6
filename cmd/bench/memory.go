package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ownMemory adds up what processes hold for themselves: anonymous memory and
// shared memory in proportion to how many share it. Memory that is backed by
// files (program text, page cache) is left out.
func ownMemory(pids []int) (int64, error) {
	var total int64
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			if os.IsNotExist(err) {
				continue
			}
			return 0, err
		}
		scan := bufio.NewScanner(bytes.NewReader(text))
		for scan.Scan() {
			name, rest, ok := strings.Cut(scan.Text(), ":")
			if !ok || name != "Pss_Anon" && name != "Pss_Shmem" {
				continue
			}
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("smaps_rollup of %d: %w", pid, err)
			}
			total += kib << 10
		}
	}
	return total, nil
}

// processesWith returns the processes whose command line holds text.
func processesWith(text string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && bytes.Contains(line, []byte(text)) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// cgroupProcesses returns the processes below a cgroup directory.
func cgroupProcesses(dir string) ([]int, error) {
	text, err := os.ReadFile(dir + "/cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
