// Package files lets a client read and change the sandbox's files, with the
// rights of the sandbox's user.
//
// There is no root to escape from: a path names what it names for every process
// of that user, and the kernel says what is allowed. What the package adds is
// that a request never hangs on a special file, never follows a loop of links,
// never holds a whole file in memory, and never leaves half a file behind.
package files

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// Codes that tell clients which of the usual things went wrong.
const (
	codeNotFound     = "FILE_NOT_FOUND"
	codeDenied       = "FILE_ACCESS_DENIED"
	codeInvalidPath  = "INVALID_FILE_PATH"
	codeReadFailed   = "FILE_READ_FAILED"
	codeDiskFull     = "DISK_FULL"
	codeFileTooLarge = "FILE_TOO_LARGE"
)

// Service answers the routes below /files.
type Service struct {
	WorkDir string // what relative paths start from
	Home    func() string
	Log     *slog.Logger
}

// Routes are the routes that the service answers.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{
		{Pattern: "GET /files", Handler: s.List},
		{Pattern: "GET /files/{$}", Handler: s.List},
		{Pattern: "DELETE /files", Handler: s.Delete},
		{Pattern: "DELETE /files/{$}", Handler: s.Delete},
		{Pattern: "GET /files/download", Handler: s.Download},
		{Pattern: "POST /files/bulk-download", Handler: s.BulkDownload},
		{Pattern: "GET /files/find", Handler: s.Find},
		{Pattern: "GET /files/search", Handler: s.Search},
		{Pattern: "GET /files/info", Handler: s.Info},
		{Pattern: "POST /files/folder", Handler: s.CreateFolder},
		{Pattern: "POST /files/move", Handler: s.Move},
		{Pattern: "POST /files/permissions", Handler: s.Permissions},
		{Pattern: "POST /files/replace", Handler: s.Replace},
		{Pattern: "POST /files/upload", Handler: s.Upload},
		{Pattern: "POST /files/upload-v2", Handler: s.UploadEntry},
		{Pattern: "POST /files/bulk-upload", Handler: s.BulkUpload},
	}
}

// Resolve returns the path that a client's path means.
func (s *Service) Resolve(path string) string {
	switch {
	case path == "~":
		return s.Home()
	case strings.HasPrefix(path, "~/"):
		return filepath.Join(s.Home(), path[2:])
	case filepath.IsAbs(path):
		return filepath.Clean(path)
	}
	return filepath.Join(s.WorkDir, path)
}

// pathParam returns the required query parameter as a path.
func (s *Service) pathParam(r *http.Request, name string) (string, error) {
	value := r.URL.Query().Get(name)
	if err := checkPath(name, value); err != nil {
		return "", err
	}
	return s.Resolve(value), nil
}

func checkPath(name, value string) error {
	if value == "" {
		return fault.New(fault.Invalid, "%s is required", name)
	}
	if strings.ContainsRune(value, 0) {
		return fault.New(fault.Invalid, "%s must not contain a NUL byte", name).WithCode(codeInvalidPath)
	}
	return nil
}

// problem turns an error of the file system into a fault that says which path
// and what.
func problem(err error, path string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(err, fault.NotFound, "file not found: %s", path).WithCode(codeNotFound)
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(err, fault.Forbidden, "permission denied: %s", path).WithCode(codeDenied)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Wrap(err, fault.Unprocessable, "no space left on the sandbox's disk: %s", path).WithCode(codeDiskFull)
	case errors.Is(err, syscall.EFBIG):
		return fault.Wrap(err, fault.Invalid, "file too large: %s", path).WithCode(codeFileTooLarge)
	case errors.Is(err, syscall.EROFS):
		return fault.Wrap(err, fault.Forbidden, "read-only file system: %s", path).WithCode(codeDenied)
	}
	reason := "input or output error"
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		reason = errno.Error()
	}
	return fault.Wrap(err, fault.Invalid, "%s: %s", reason, path).WithCode(codeInvalidPath)
}

// openRegular opens a regular file for reading. It never blocks: a pipe or a
// device is refused.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, problem(err, path)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fault.New(fault.Invalid, "path must be a file: %s", path).WithCode(codeInvalidPath)
	}
	if err != nil {
		f.Close()
		return nil, nil, problem(err, path)
	}
	return f, info, nil
}

// Info is what clients are told about a file.
type Info struct {
	Name        string `json:"name"`
	Path        string `json:"path,omitempty"` // only in listings of more than one level
	Size        int64  `json:"size"`
	Mode        string `json:"mode"`                 // "-rw-r--r--"
	ModTime     string `json:"modTime"`              // "2025-08-22 10:00:00.123456789 +0000 UTC"
	ModifiedAt  string `json:"modifiedAt,omitempty"` // RFC 3339
	IsDir       bool   `json:"isDir"`
	Owner       string `json:"owner"`       // number
	Group       string `json:"group"`       // number
	Permissions string `json:"permissions"` // "0644"
}

// describe returns the Info of a file. Strict clients know no modifiedAt.
func describe(info fs.FileInfo, d wire.Dialect) Info {
	out := Info{
		Name:        info.Name(),
		Size:        info.Size(),
		Mode:        info.Mode().String(),
		ModTime:     info.ModTime().UTC().String(),
		IsDir:       info.IsDir(),
		Permissions: permissions(info.Mode()),
	}
	if !d.Strict {
		out.ModifiedAt = info.ModTime().UTC().Format(time.RFC3339Nano)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		out.Owner = strconv.FormatUint(uint64(stat.Uid), 10)
		out.Group = strconv.FormatUint(uint64(stat.Gid), 10)
	}
	return out
}

func permissions(mode fs.FileMode) string {
	octal := strconv.FormatUint(uint64(mode.Perm()), 8)
	return strings.Repeat("0", max(0, 4-len(octal))) + octal
}

// parseMode reads an octal mode such as "755", "0644" or "4755".
func parseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || n > 0o7777 {
		return 0, fault.New(fault.Invalid, "invalid mode format: mode must be octal, such as 0644, not %q", s)
	}
	mode := fs.FileMode(n & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n&bit != 0 {
			mode |= flag
		}
	}
	return mode, nil
}
