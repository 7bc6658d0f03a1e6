package lsp

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// A server costs 50 to 400 MB, so there is one for each perServer bytes of the
// sandbox's memory, and leastServers at least: with fewer, two languages in
// turns would each time wait for a start.
const (
	perServer    = 512 << 20
	leastServers = 2
	mostServers  = 8
)

// serversFor returns how many servers may run in so many bytes of memory; 0
// bytes stands for an unknown number.
func serversFor(memory uint64) int {
	return int(min(mostServers, max(leastServers, memory/perServer)))
}

// memory returns how many bytes the sandbox may use, or 0. Under gVisor the
// total says it, under runc the control group.
func memory() uint64 {
	total := meminfoTotal()
	text, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return total
	}
	limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || total != 0 && limit > total {
		return total
	}
	return limit
}

func meminfoTotal() uint64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseUint(fields[1], 10, 54)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
