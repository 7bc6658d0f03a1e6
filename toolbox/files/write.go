package files

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// copyBuffer is how much of a body is in memory at a time.
const copyBuffer = 256 << 10

// write stores what body holds at path and returns the number of bytes. The
// file appears whole or not at all: the bytes go to a new file beside it, which
// then takes its place with the mode and owner of the old one. Parents are made
// with dirMode.
func write(path string, body io.Reader, dirMode fs.FileMode) (int64, error) {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return 0, err
	}
	target, old, err := destination(path)
	if err != nil {
		return 0, err
	}
	if old != nil && !replaceable(old) {
		return overwrite(target, body)
	}
	temp, err := os.CreateTemp(filepath.Dir(target), ".upload-*")
	if old != nil && errors.Is(err, fs.ErrPermission) {
		// A file that may be written, in a directory that may not.
		return overwrite(target, body)
	}
	if err != nil {
		return 0, err
	}
	n, err := fill(temp, body, old)
	if err == nil {
		err = os.Rename(temp.Name(), target)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(temp.Name()))
	}
	return n, nil
}

// destination follows links to the file that is to be written, which may not
// exist yet. It refuses directories and special files.
func destination(path string) (string, fs.FileInfo, error) {
	const maxLinks = 40 // as the kernel
	for range maxLinks {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil, nil
		}
		if err != nil {
			return "", nil, err
		}
		switch {
		case info.IsDir():
			return "", nil, fault.New(fault.Invalid, "path is a directory: %s", path).WithCode(codeInvalidPath)
		case info.Mode().IsRegular():
			return path, info, nil
		case info.Mode()&fs.ModeSymlink == 0:
			return "", nil, fault.New(fault.Invalid, "path must be a file: %s", path).WithCode(codeInvalidPath)
		}
		link, err := os.Readlink(path)
		if err != nil {
			return "", nil, err
		}
		if !filepath.IsAbs(link) {
			// Not Join alone: ".." after a link to a directory means that
			// directory's parent.
			dir, err := filepath.EvalSymlinks(filepath.Dir(path))
			if err != nil {
				return "", nil, err
			}
			link = filepath.Join(dir, link)
		}
		path = link
	}
	return "", nil, syscall.ELOOP
}

// replaceable reports whether a new file can take the place of an old one
// without anybody noticing but by its content.
func replaceable(old fs.FileInfo) bool {
	stat, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	mine := int(stat.Uid) == os.Geteuid() || os.Geteuid() == 0
	return stat.Nlink == 1 && mine
}

// fill writes body to a new file and gives it the mode and owner of the old
// one, or those of any new file. It closes the file.
func fill(f *os.File, body io.Reader, old fs.FileInfo) (int64, error) {
	n, err := copyBody(f, body)
	if err == nil {
		mode := fs.FileMode(0o644)
		if old != nil {
			mode = old.Mode()
			if stat, ok := old.Sys().(*syscall.Stat_t); ok {
				_ = f.Chown(int(stat.Uid), int(stat.Gid)) // its group may be one that we are not in
			}
		}
		err = f.Chmod(mode)
	}
	return n, errors.Join(err, f.Close())
}

// overwrite writes into an existing file. It cannot be undone, so a failure
// leaves what was written.
func overwrite(path string, body io.Reader) (int64, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	n, err := copyBody(f, body)
	return n, errors.Join(err, f.Close())
}

// copyBody writes in large pieces whatever the size of those that arrive: the
// multipart parser hands out 4 KiB at a time, and a system call is dear in a
// sandbox.
func copyBody(f *os.File, body io.Reader) (int64, error) {
	buffer := bufio.NewWriterSize(struct{ io.Writer }{f}, copyBuffer)
	n, err := buffer.ReadFrom(body)
	return n, errors.Join(err, buffer.Flush())
}

// inLargePieces makes a body be read from the connection in large pieces.
func inLargePieces(body io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(body, copyBuffer), body}
}
