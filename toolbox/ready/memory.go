package ready

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"strings"
)

// limits under which no interpreter is kept ready. One takes some 120 MiB with
// the modules of the default snapshot, and its copy that waits for a program as
// much again.
const (
	leastTotal     = 1 << 30   // of the sandbox
	leastAvailable = 256 << 20 // at the moment
)

// enoughMemory reports whether there is memory for a ready interpreter, by what
// the kernel and the control group of the sandbox say.
func enoughMemory() bool {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return false
	}
	total, available := parseMeminfo(info)
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if text, err := os.ReadFile(file); err == nil {
			if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				total = min(total, limit)
			}
		}
	}
	return enough(total, available)
}

func enough(total, available int64) bool {
	// A limit in round numbers is shown a little smaller.
	return total >= leastTotal-leastTotal/16 && available >= leastAvailable
}

// parseMeminfo returns the bytes that /proc/meminfo tells. One that does not
// tell what is available counts as having enough.
func parseMeminfo(b []byte) (total, available int64) {
	available = math.MaxInt64
	for line := range bytes.Lines(b) {
		name, rest, _ := bytes.Cut(line, []byte(":"))
		fields := bytes.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		kib, err := strconv.ParseInt(string(fields[0]), 10, 53)
		if err != nil {
			continue
		}
		switch string(name) {
		case "MemTotal":
			total = kib << 10
		case "MemAvailable":
			available = kib << 10
		}
	}
	return total, available
}
