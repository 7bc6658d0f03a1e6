// Package launch is what every process in the sandbox is started with: the
// sandbox's environment, its user's directories and shell, and the table of
// children.
package launch

import (
	"path/filepath"
	"sync/atomic"

	"daytona/toolbox/reaper"
)

// Space is where the sandbox's processes live. The zero value of a field that
// says so means its default.
type Space struct {
	Table   *reaper.Table
	Env     *Environ
	WorkDir string // where processes start, and what relative paths start from
	// ShellList is the list of registered shells. Defaults to /etc/shells.
	ShellList string

	shells   shells
	stopping atomic.Bool
}

// Stop says that the sandbox is about to end: what ends from now on ends for
// that reason.
func (s *Space) Stop() { s.stopping.Store(true) }

// Stopping reports whether the sandbox is about to end.
func (s *Space) Stopping() bool { return s.stopping.Load() }

// Home returns the user's home directory.
func (s *Space) Home() string { return s.Env.Get("HOME") }

// Dir returns the absolute path that a client's path means: "" is the work
// directory, "~" the home directory.
func (s *Space) Dir(path string) string {
	switch {
	case path == "":
		return s.WorkDir
	case path == "~":
		return s.Home()
	case len(path) > 1 && path[:2] == "~/":
		return filepath.Join(s.Home(), path[2:])
	case filepath.IsAbs(path):
		return path
	}
	return filepath.Join(s.WorkDir, path)
}

// Shell returns the path of the user's shell.
func (s *Space) Shell(env Vars) string {
	list := s.ShellList
	if list == "" {
		list = "/etc/shells"
	}
	return s.shells.find(list, env)
}
