// Package git works on the repositories of the sandbox with the git program of
// its image, with the rights of the sandbox's user.
//
// What a caller may rely on:
//   - A path names a repository's root. Repositories above it are not searched.
//   - No hook of a repository is run, and none of its submodules is touched.
//   - Credentials of a request go to the host of the remote that the request is
//     about and to nobody else, and are stored nowhere.
//   - A clone is there whole or not at all.
//   - When the client goes away, git and everything that it started are ended.
package git

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/wire"
)

// Codes that tell clients which of the usual things went wrong.
const (
	codeAuth           = "GIT_AUTH_FAILED"
	codeRepoNotFound   = "GIT_REPO_NOT_FOUND"
	codeBranchNotFound = "GIT_BRANCH_NOT_FOUND"
	codeBranchExists   = "GIT_BRANCH_EXISTS"
	codePushRejected   = "GIT_PUSH_REJECTED"
	codeDirty          = "GIT_DIRTY_WORKTREE"
	codeMergeConflict  = "GIT_MERGE_CONFLICT"
	codeTransport      = "GIT_TRANSPORT_FAILED"
	codeRemoteRejected = "GIT_REMOTE_REJECTED"
	codeNotInstalled   = "GIT_NOT_INSTALLED"
	codeFileNotFound   = "FILE_NOT_FOUND"
	codeDiskFull       = "DISK_FULL"
	codeNoMemory       = "OUT_OF_MEMORY"
)

// Service answers the routes below /git.
type Service struct {
	Space *launch.Space
	Log   *slog.Logger

	locks locks
}

// Routes are the routes that the service answers.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{
		{Pattern: "GET /git/status", Handler: s.Status},
		{Pattern: "GET /git/history", Handler: s.History},
		{Pattern: "GET /git/branches", Handler: s.Branches},
		{Pattern: "POST /git/branches", Handler: s.CreateBranch},
		{Pattern: "DELETE /git/branches", Handler: s.DeleteBranch},
		{Pattern: "POST /git/checkout", Handler: s.Checkout},
		{Pattern: "POST /git/add", Handler: s.Add},
		{Pattern: "POST /git/commit", Handler: s.Commit},
		{Pattern: "POST /git/clone", Handler: s.Clone},
		{Pattern: "POST /git/pull", Handler: s.Pull},
		{Pattern: "POST /git/push", Handler: s.Push},
		{Pattern: "POST /git/init", Handler: s.Init},
		{Pattern: "POST /git/reset", Handler: s.Reset},
		{Pattern: "POST /git/restore", Handler: s.Restore},
		{Pattern: "GET /git/remotes", Handler: s.Remotes},
		{Pattern: "POST /git/remotes", Handler: s.AddRemote},
		{Pattern: "GET /git/config", Handler: s.GetConfig},
		{Pattern: "POST /git/config", Handler: s.SetConfig},
		{Pattern: "POST /git/config/user", Handler: s.SetUser},
		{Pattern: "POST /git/credentials", Handler: s.StoreCredentials},
	}
}

// require returns a fault for the first empty value of pairs, which are names
// and values in turn, and for one that git could not be given.
func require(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return fault.New(fault.Invalid, "%s is required", pairs[i])
		}
	}
	return plain(pairs...)
}

// plain returns a fault for the first value of pairs with a NUL byte in it.
func plain(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if strings.ContainsRune(pairs[i+1], 0) {
			return fault.New(fault.Invalid, "%s must not contain a NUL byte", pairs[i])
		}
	}
	return nil
}

// word returns a fault for the first value of pairs that git would take for an
// option. Empty ones pass.
func word(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if strings.HasPrefix(pairs[i+1], "-") {
			return fault.New(fault.Invalid, "%s must not begin with '-': %q", pairs[i], pairs[i+1])
		}
	}
	return plain(pairs...)
}

// root returns the real path of the directory that a request names as the root
// of a repository.
func (s *Service) root(path string) (string, error) {
	if err := require("path", path); err != nil {
		return "", err
	}
	dir := filepath.Clean(s.Space.Dir(path))
	real, err := filepath.EvalSymlinks(dir)
	switch {
	case err == nil:
		return real, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return "", noRepository(err, dir)
	}
	return "", pathProblem(err, dir)
}

// locked is root for a request that changes the repository. It must be
// released; while it is held no other request can have it.
func (s *Service) locked(path string) (root string, release func(), err error) {
	if root, err = s.root(path); err != nil {
		return "", nil, err
	}
	release, err = s.locks.take(root)
	return root, release, err
}

func noRepository(err error, dir string) error {
	return fault.Wrap(err, fault.NotFound, "repository does not exist: %s", dir).WithCode(codeRepoNotFound)
}

// pathProblem turns an error of the file system into a fault.
func pathProblem(err error, path string) error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.Wrap(err, fault.Forbidden, "permission denied: %s", path)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Wrap(err, fault.Unprocessable, "no space left on the sandbox's disk: %s", path).WithCode(codeDiskFull)
	}
	reason := "input or output error"
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		reason = errno.Error()
	}
	return fault.Wrap(err, fault.Invalid, "%s: %s", reason, path)
}

// done answers a request that has nothing to tell.
func done(w http.ResponseWriter, status int) error {
	w.WriteHeader(status)
	return nil
}
