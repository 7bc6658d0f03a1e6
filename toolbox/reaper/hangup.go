package reaper

import "syscall"

// HangUp tells what is left of the root's session that its terminal has gone,
// as an interactive shell does with its jobs when it gets to know first. What
// has taken a session of its own is left alone, and what ignores SIGHUP goes on.
func (f Family) HangUp() {
	f.Root.table.mu.Lock()
	defer f.Root.table.mu.Unlock()
	for _, p := range living() {
		// The mark tells our session from a later one of the same number.
		if p.session == f.Root.pid && p.pid != f.Root.pid && marked(p.pid, f.Mark) {
			_ = syscall.Kill(p.pid, syscall.SIGHUP)
			_ = syscall.Kill(p.pid, syscall.SIGCONT) // a stopped process would not see it
		}
	}
}
