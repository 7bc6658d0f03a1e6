package reaper

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// A Family is a child with all that it started: its descendants, and the
// processes that were cut off from it (started in the background, given a
// session of their own, their parents gone) and are recognised by an entry in
// the environment which they inherited.
type Family struct {
	Root *Child
	// Mark is the entry, as "NAME=VALUE". It must be in the environment of
	// the root, and in that of no other child.
	Mark string
}

// End asks every process of the family to end, and kills what is left after the
// grace. It returns how many it could not end: processes of other users. It
// returns early when ctx ends, after having killed without any grace.
//
// The environment can be shed: a process that has done so, has taken a session
// of its own and has lost its parents is not found.
func (f Family) End(ctx context.Context, grace time.Duration) (left int) {
	const killing = 2 * time.Second // a process of another user, or one that hangs in the kernel
	asked := map[int]bool{}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	pause := time.Millisecond
	for waiting := true; waiting; pause = min(2*pause, 20*time.Millisecond) {
		if f.ask(asked) == 0 {
			return 0
		}
		select {
		case <-limit.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		case <-time.After(pause):
		}
	}
	pause = time.Millisecond
	for deadline := time.Now().Add(killing); ; pause = min(2*pause, 20*time.Millisecond) {
		if left = f.kill(); left == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(pause)
	}
}

// ask sends SIGTERM to members that have not been asked. It returns how many
// members there are.
func (f Family) ask(asked map[int]bool) int {
	f.Root.table.mu.Lock()
	defer f.Root.table.mu.Unlock()
	all := f.membersLocked()
	for _, pid := range all {
		if !asked[pid] {
			asked[pid] = true
			_ = syscall.Kill(pid, syscall.SIGTERM)
			_ = syscall.Kill(pid, syscall.SIGCONT) // a stopped process would not see it
		}
	}
	return len(all)
}

// kill stops members until no new ones appear, and then kills them all. It
// returns how many there were.
func (f Family) kill() int {
	f.Root.table.mu.Lock()
	defer f.Root.table.mu.Unlock()
	stopped := map[int]bool{}
	var all []int
	for range 32 { // a fork bomb of another user's processes cannot be stopped
		fresh := false
		all = f.membersLocked()
		for _, pid := range all {
			if !stopped[pid] && syscall.Kill(pid, syscall.SIGSTOP) == nil {
				stopped[pid] = true
				fresh = true
			}
		}
		if !fresh {
			break
		}
	}
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return len(all)
}

// membersLocked looks the family's processes up. While the table is locked no
// child and no orphan of this process is waited for, so that their numbers stay
// theirs.
func (f Family) membersLocked() []int {
	// Children that others started are not ours, nor is what is below them:
	// theirs is most of the process table, which need not be looked at closely.
	others := make(map[int]bool, len(f.Root.table.children))
	for pid, child := range f.Root.table.children {
		if child != f.Root {
			others[pid] = true
		}
	}
	root := f.Root.pid
	if f.Root.ended {
		root = 0
	}
	return family(root, others, living(), func(pid int) bool { return marked(pid, f.Mark) })
}

// family picks the members out of the process table: root (unless 0), what is
// below it or shares a session with something below it, the processes that have
// the mark, and what is below those. Processes below one of others are left out,
// and they are not asked for their mark.
func family(root int, others map[int]bool, all []process, marked func(pid int) bool) []int {
	parents := make(map[int]int, len(all))
	for _, p := range all {
		parents[p.pid] = p.parent
	}
	const unknown, member, stranger, neither = 0, 1, 2, 3
	verdict := make(map[int]int, len(all))
	for pid := range others {
		verdict[pid] = stranger
	}
	if _, there := parents[root]; there && root != 0 {
		verdict[root] = member
	}
	self := os.Getpid()
	var judge func(pid, depth int) int
	judge = func(pid, depth int) int {
		if v := verdict[pid]; v != unknown {
			return v
		}
		parent, there := parents[pid]
		if !there || pid == self || pid <= 1 || depth > len(all) {
			return neither
		}
		v := judge(parent, depth+1)
		if v == neither && marked(pid) {
			v = member
		}
		verdict[pid] = v
		return v
	}
	var found []int
	sessions := map[int]bool{}
	for _, p := range all {
		if judge(p.pid, 0) == member {
			found = append(found, p.pid)
			if p.session == p.pid {
				sessions[p.session] = true
			}
		}
	}
	// A daemon's parent may have gone while the leader of its session stays.
	for _, p := range all {
		if verdict[p.pid] == neither && sessions[p.session] {
			found = append(found, p.pid)
		}
	}
	return found
}

// living reads the process table without the zombies.
func living() []process {
	return slices.DeleteFunc(processes(), func(p process) bool { return p.state == 'Z' || p.state == 'X' })
}

// marked reports whether a process was started with an entry in its environment.
// The environment of another user's process cannot be read.
func marked(pid int, mark string) bool {
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if string(entry) == mark {
			return true
		}
	}
	return false
}
