package reaper

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// KillTree kills the child's process group and all its descendants, also those
// that moved to a group or session of their own. Descendants are first stopped,
// until no new ones appear: a running one could start others behind our back,
// and the children of a killed one could not be told from other orphans. A
// process that another user owns cannot be killed.
func (c *Child) KillTree() {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if c.ended {
		return
	}
	_ = syscall.Kill(-c.pid, syscall.SIGSTOP)
	stopped := map[int]bool{c.pid: true}
	const rounds = 32 // a fork bomb of another user's processes cannot be stopped
	for range rounds {
		fresh := 0
		for _, pid := range descendants(c.pid, processes()) {
			if !stopped[pid] && syscall.Kill(pid, syscall.SIGSTOP) == nil {
				stopped[pid] = true
				fresh++
			}
		}
		if fresh == 0 {
			break
		}
	}
	for pid := range stopped {
		if pid != c.pid {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	_ = syscall.Kill(c.pid, syscall.SIGKILL)
}

// process is what a row of the process table says.
type process struct {
	pid, parent, session int
	state                byte // as /proc shows it
}

// descendants returns the processes below root, and those that are in the same
// session as one of them: a daemon's parent may have gone already.
func descendants(root int, all []process) []int {
	in := map[int]bool{root: true}
	sessions := map[int]bool{root: true}
	var found []int
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if in[p.pid] || (!in[p.parent] && !sessions[p.session]) {
				continue
			}
			in[p.pid] = true
			if p.session == p.pid {
				sessions[p.session] = true
			}
			found = append(found, p.pid)
			grown = true
		}
	}
	return found
}

// processes reads the process table.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var all []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		if p, ok := parseStat(pid, stat); ok {
			all = append(all, p)
		}
	}
	return all
}

// parseStat reads a line of /proc/PID/stat. The program's name, in brackets,
// may itself contain brackets and spaces.
func parseStat(pid int, stat []byte) (process, bool) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return process{}, false
	}
	fields := bytes.Fields(stat[end+1:]) // state, parent, group, session, …
	if len(fields) < 4 {
		return process{}, false
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	session, err2 := strconv.Atoi(string(fields[3]))
	return process{pid, parent, session, fields[0][0]}, err1 == nil && err2 == nil
}
