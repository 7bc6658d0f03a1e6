package git

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"daytona/internal/fault"
)

// site is where a clone is made: a directory beside its target, so that it
// appears there whole; or in the target, when that is an empty directory, which
// somebody may be standing in and which therefore stays the one that it is.
type site struct {
	dir    string   // where git works
	target string   // where the clone shall be
	inside bool     // dir is in target
	made   []string // directories that were missing above it, the innermost first
}

// unfinished begins the names of the directories in which git works. The rest
// is the same for every attempt at one place: what a clone left behind that
// ended together with the sandbox goes with the next one.
const unfinished = ".git-clone-unfinished"

// realPath returns a path without links, as far as it exists.
func realPath(path string) string {
	path = filepath.Clean(path)
	for dir, rest := path, ""; ; dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return path
		}
	}
}

// openSite returns a conflict when there is something at target, a path without
// links.
func openSite(target string) (st site, err error) {
	st = site{target: target}
	entries, err := os.ReadDir(target)
	switch {
	case err == nil:
		for _, e := range entries {
			if e.Name() != unfinished {
				return st, taken(nil, target)
			}
		}
		st.inside = true
		st.dir = filepath.Join(target, unfinished)
	case errors.Is(err, syscall.ENOTDIR):
		return st, taken(err, target)
	case !errors.Is(err, fs.ErrNotExist):
		return st, pathProblem(err, target)
	default:
		if _, err := os.Lstat(target); err == nil {
			return st, fault.New(fault.Conflict, "already exists: %s is a link that leads nowhere", target)
		}
		sum := sha256.Sum256([]byte(filepath.Base(target)))
		st.dir = filepath.Join(filepath.Dir(target), unfinished+"-"+hex.EncodeToString(sum[:8]))
		for dir := filepath.Dir(target); ; dir = filepath.Dir(dir) {
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			st.made = append(st.made, dir)
		}
	}
	err = os.RemoveAll(st.dir)
	if err == nil {
		err = os.MkdirAll(st.dir, 0o777)
	}
	if err != nil {
		return st, errors.Join(pathProblem(err, target), st.removeMade())
	}
	return st, nil
}

func taken(err error, target string) error {
	return fault.Wrap(err, fault.Conflict, "repository already exists: %s is there and is not an empty directory", target)
}

// settle puts the finished clone where it belongs.
func (st site) settle() error {
	if !st.inside {
		// A directory that has been made meanwhile gives way if it is empty.
		err := os.Rename(st.dir, st.target)
		if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) {
			return taken(err, st.target)
		}
		if err != nil {
			return pathProblem(err, st.target)
		}
		return nil
	}
	entries, err := os.ReadDir(st.dir)
	if err != nil {
		return pathProblem(err, st.dir)
	}
	// What makes it a repository comes last.
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int {
		switch {
		case a.Name() == ".git":
			return 1
		case b.Name() == ".git":
			return -1
		}
		return 0
	})
	var moved []string
	for _, e := range entries {
		to := filepath.Join(st.target, e.Name())
		if _, err = os.Lstat(to); err == nil {
			err = taken(nil, st.target)
		} else if err = os.Rename(filepath.Join(st.dir, e.Name()), to); err == nil {
			moved = append(moved, to)
			continue
		} else {
			err = pathProblem(err, to)
		}
		for _, path := range moved {
			err = errors.Join(err, os.RemoveAll(path))
		}
		return err
	}
	if err := os.Remove(st.dir); err != nil {
		return pathProblem(err, st.dir)
	}
	return nil
}

// remove takes back everything that was made.
func (st site) remove() error {
	return errors.Join(os.RemoveAll(st.dir), st.removeMade())
}

func (st site) removeMade() error {
	for _, dir := range st.made {
		if err := os.Remove(dir); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // it never came to that
			}
			if errors.Is(err, syscall.ENOTEMPTY) {
				return nil // somebody uses it by now
			}
			return err
		}
	}
	return nil
}
