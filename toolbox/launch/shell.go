package launch

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// shells finds the shell that commands run in.
type shells struct {
	mu      sync.Mutex // guards what follows
	changed time.Time  // the list's time of change when path was found
	path    string
}

// preferred are the shells to choose from, the best first.
var preferred = []string{"/usr/bin/zsh", "/bin/zsh", "/usr/bin/bash", "/bin/bash"}

// find returns the first preferred shell that is registered and present, else
// $SHELL, else sh. It reads the list again when that has changed.
func (s *shells) find(list string, env Vars) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changed time.Time
	if info, err := os.Stat(list); err == nil {
		changed = info.ModTime()
	}
	if s.path == "" || !changed.Equal(s.changed) {
		s.path, s.changed = chooseShell(list), changed
	}
	if s.path != "" {
		return s.path
	}
	for _, candidate := range []string{env["SHELL"], "sh"} {
		if path, err := LookPath(candidate, env["PATH"], "/"); err == nil {
			return path
		}
	}
	return "/bin/sh"
}

func chooseShell(list string) string {
	f, err := os.Open(list)
	if err != nil {
		return ""
	}
	defer f.Close()
	registered := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		registered[strings.TrimSpace(lines.Text())] = true
	}
	for _, path := range preferred {
		if registered[path] && Executable(path) == nil {
			return path
		}
	}
	return ""
}

var errNotInPath = errors.New("executable file not found in $PATH")

// LookPath finds a program as execvp does, in the given PATH; dir is what
// relative names and entries start from.
func LookPath(name, path, dir string) (string, error) {
	absolute := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	if name == "" {
		return "", &fs.PathError{Op: "exec", Path: name, Err: fs.ErrNotExist}
	}
	if strings.Contains(name, "/") {
		file := absolute(name)
		return file, Executable(file)
	}
	var denied error
	for _, entry := range filepath.SplitList(path) {
		file := filepath.Join(absolute(entry), name)
		err := Executable(file)
		if err == nil {
			return file, nil
		}
		if os.IsPermission(err) {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &fs.PathError{Op: "exec", Path: name, Err: errNotInPath}
}

// Executable returns why a file cannot be run as a program, or nil.
func Executable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return &fs.PathError{Op: "exec", Path: file, Err: fs.ErrPermission}
	}
	return nil
}
