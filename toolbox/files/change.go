package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// CreateFolder answers POST /files/folder: a directory and its parents.
func (s *Service) CreateFolder(w http.ResponseWriter, r *http.Request) error {
	path, err := s.pathParam(r, "path")
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o755)
	if text := r.URL.Query().Get("mode"); text != "" {
		if mode, err = parseMode(text); err != nil {
			return err
		}
	}
	_, statErr := os.Stat(path)
	if err := os.MkdirAll(path, mode.Perm()|0o700); err != nil {
		return problem(err, path)
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		// The process's umask has taken its share of the mode.
		if err := os.Chmod(path, mode); err != nil {
			return problem(err, path)
		}
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// Delete answers DELETE /files: a file, or with recursive a directory and all
// below it.
func (s *Service) Delete(w http.ResponseWriter, r *http.Request) error {
	path, err := s.pathParam(r, "path")
	if err != nil {
		return err
	}
	recursive := false
	if text := r.URL.Query().Get("recursive"); text != "" {
		if recursive, err = strconv.ParseBool(text); err != nil {
			return fault.New(fault.Invalid, "recursive must be true or false, not %q", text)
		}
	}
	info, err := os.Lstat(path)
	if err != nil {
		return problem(err, path)
	}
	switch {
	case !info.IsDir():
		err = os.Remove(path)
	case recursive:
		err = os.RemoveAll(path)
	default:
		return fault.New(fault.Invalid, "cannot delete directory without recursive flag").WithCode(codeInvalidPath)
	}
	if err != nil {
		return problem(err, path)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Move answers POST /files/move: it renames a file or directory, never over an
// existing one.
func (s *Service) Move(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	if query.Get("source") == "" || query.Get("destination") == "" {
		return fault.New(fault.Invalid, "source and destination paths are required")
	}
	source, err := s.pathParam(r, "source")
	if err != nil {
		return err
	}
	destination, err := s.pathParam(r, "destination")
	if err != nil {
		return err
	}
	if _, err := os.Lstat(source); err != nil {
		return problem(err, source)
	}
	if _, err := os.Stat(filepath.Dir(destination)); err != nil {
		return problem(err, filepath.Dir(destination))
	}
	if err := move(r.Context(), source, destination); err != nil {
		if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
			return fault.Wrap(err, fault.Conflict, "destination already exists: %s", destination)
		}
		return problem(err, source)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func move(ctx context.Context, source, destination string) error {
	err := unix.Renameat2(unix.AT_FDCWD, source, unix.AT_FDCWD, destination, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// Either a directory into itself, or a file system that cannot
		// promise: then looking first is the best there is.
		if _, statErr := os.Lstat(destination); statErr == nil {
			return fs.ErrExist
		}
		err = unix.Rename(source, destination)
	}
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	if _, statErr := os.Lstat(destination); statErr == nil {
		return fs.ErrExist
	}
	if err := copyTree(ctx, source, destination); err != nil {
		return errors.Join(err, os.RemoveAll(destination))
	}
	return os.RemoveAll(source)
}

// copyTree copies a file or directory to a name that does not exist, with
// modes and times, links as links.
func copyTree(ctx context.Context, source, destination string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := os.Lstat(source)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(target, destination)
	case info.IsDir():
		if err := os.Mkdir(destination, 0o700); err != nil {
			return err
		}
		entries, err := os.ReadDir(source)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			name := entry.Name()
			if err := copyTree(ctx, filepath.Join(source, name), filepath.Join(destination, name)); err != nil {
				return err
			}
		}
	case info.Mode().IsRegular():
		if err := copyFile(source, destination); err != nil {
			return err
		}
	default:
		return fault.New(fault.Unprocessable, "cannot move a special file to another file system: %s", source)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = os.Lchown(destination, int(stat.Uid), int(stat.Gid)) // root's right alone
	}
	if err := os.Chmod(destination, info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(destination, info.ModTime(), info.ModTime())
}

func copyFile(source, destination string) error {
	from, _, err := openRegular(source)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(destination, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// Permissions answers POST /files/permissions: mode, owner and group of one
// file, each left as it is when not given.
func (s *Service) Permissions(w http.ResponseWriter, r *http.Request) error {
	path, err := s.pathParam(r, "path")
	if err != nil {
		return err
	}
	query := r.URL.Query()
	var mode fs.FileMode
	if text := query.Get("mode"); text != "" {
		if mode, err = parseMode(text); err != nil {
			return err
		}
	}
	uid, err := lookupID("user", query.Get("owner"), func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	if err != nil {
		return err
	}
	gid, err := lookupID("group", query.Get("group"), func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return problem(err, path)
	}
	// The owner first: a change of owner clears the set-id bits of the mode.
	if uid != -1 || gid != -1 {
		if err := os.Chown(path, uid, gid); err != nil {
			return problem(err, path)
		}
	}
	if query.Get("mode") != "" {
		if err := os.Chmod(path, mode); err != nil {
			return problem(err, path)
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// lookupID returns the number of a user or group that is given by name or by
// number, or -1 for "".
func lookupID(what, name string, lookup func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	id, err := lookup(name)
	if err != nil {
		return 0, fault.Wrap(err, fault.Invalid, "%s not found: %s", what, name)
	}
	n, err := strconv.Atoi(id)
	if err != nil {
		return 0, fmt.Errorf("%s %s has id %q: %w", what, name, id, err)
	}
	return n, nil
}
