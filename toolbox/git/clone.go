package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

type cloneRequest struct {
	URL             string `json:"url"`
	Path            string `json:"path"`
	Username        string `json:"username,omitempty"`
	Password        string `json:"password,omitempty"`
	Branch          string `json:"branch,omitempty"`
	CommitID        string `json:"commit_id,omitempty"`
	InsecureSkipTLS bool   `json:"insecure_skip_tls,omitempty"`
	Depth           int    `json:"depth,omitempty"` // commits; 0 is all
}

var commitForm = regexp.MustCompile(`^[0-9a-fA-F]{4,64}$`)

// Clone answers POST /git/clone: one branch of a repository, the default one
// unless named, or one commit of it with a detached HEAD.
func (s *Service) Clone(w http.ResponseWriter, r *http.Request) error {
	var req cloneRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := require("url", req.URL, "path", req.Path); err != nil {
		return err
	}
	if err := checkBranch(req.Branch); err != nil {
		return err
	}
	if req.CommitID != "" && !commitForm.MatchString(req.CommitID) {
		return fault.New(fault.Invalid, "commit_id must be a commit's hash, not %q", req.CommitID)
	}
	if req.Depth < 0 {
		return fault.New(fault.Invalid, "depth must not be negative")
	}
	from, err := parseRemote(req.URL)
	if err != nil {
		return err
	}
	login, err := s.loginFor(r.Context(), s.Space.WorkDir, from, req.Username, req.Password)
	if err != nil {
		return err
	}
	target := filepath.Clean(s.Space.Dir(req.Path))
	release, err := s.locks.take(target)
	if err != nil {
		return err
	}
	defer release()
	site, err := openSite(target)
	if err != nil {
		return err
	}
	c := cloning{Service: s, req: req, from: from, login: login, dir: site.dir}
	if err := c.run(r.Context()); err != nil {
		return errors.Join(err, site.remove())
	}
	if err := site.settle(); err != nil {
		return errors.Join(err, site.remove())
	}
	return done(w, http.StatusOK)
}

// cloning is the work of one clone, in the empty directory dir.
type cloning struct {
	*Service
	req   cloneRequest
	from  remote
	login *login
	dir   string
}

// run fetches with the credentials and checks out without them.
func (c cloning) run(ctx context.Context) error {
	args := []string{"clone", "--quiet", "--no-checkout", "--single-branch", "--origin=" + defaultRemote}
	if c.req.Branch != "" {
		args = append(args, "--branch="+c.req.Branch)
	}
	if c.req.Depth > 0 {
		args = append(args, "--depth="+strconv.Itoa(c.req.Depth))
	}
	if err := c.remotely(ctx, c.Space.WorkDir, append(args, "--", c.from.address, c.dir)...); err != nil {
		return err
	}
	checkout := []string{"checkout", "--quiet", "--force"}
	if c.req.CommitID != "" {
		if err := c.obtain(ctx); err != nil {
			return err
		}
		checkout = append(checkout, "--detach", c.req.CommitID)
	} else {
		there, err := c.exists(ctx, c.dir, "HEAD")
		if err != nil {
			return problem(err)
		}
		if !there {
			return fault.New(fault.Unprocessable, "remote repository is empty, or its HEAD names a branch that does not exist: "+
				"name the branch, or begin a repository with POST /git/init and POST /git/remotes")
		}
	}
	env := map[string]string{}
	if c.login != nil {
		env["GIT_LFS_SKIP_SMUDGE"] = "1" // its contents would need the credentials too
	}
	return c.do(ctx, command{dir: c.dir, env: env, args: append(checkout, "--")})
}

func (c cloning) remotely(ctx context.Context, dir string, args ...string) error {
	return c.do(ctx, command{dir: dir, login: c.login, insecure: c.req.InsecureSkipTLS, args: args})
}

// obtain sees to it that the commit is there: one that is not on the branch, or
// further back than the depth, is asked for by name; and if the remote does not
// give single commits, or the name is not whole, among all branches.
func (c cloning) obtain(ctx context.Context) error {
	there, err := c.exists(ctx, c.dir, c.req.CommitID)
	if there || err != nil {
		return problem(err)
	}
	if len(c.req.CommitID) >= 40 {
		args := []string{"fetch", "--quiet", "--no-tags", "--no-recurse-submodules"}
		if c.req.Depth > 0 {
			args = append(args, "--depth="+strconv.Itoa(c.req.Depth))
		}
		err := c.remotely(ctx, c.dir, append(args, "--", defaultRemote, strings.ToLower(c.req.CommitID))...)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		c.Log.Debug("the remote does not give the commit alone", "err", err)
	}
	args := []string{"fetch", "--quiet", "--no-recurse-submodules"}
	if _, err := os.Stat(filepath.Join(c.dir, ".git", "shallow")); err == nil {
		args = append(args, "--unshallow")
	}
	if err := c.remotely(ctx, c.dir, append(args, "--", defaultRemote,
		"+refs/heads/*:refs/remotes/"+defaultRemote+"/*", "+refs/tags/*:refs/tags/*")...); err != nil {
		return err
	}
	if there, err = c.exists(ctx, c.dir, c.req.CommitID); there || err != nil {
		return problem(err)
	}
	return fault.New(fault.NotFound, "commit not found in the remote repository: %s", c.req.CommitID)
}

// site is where a clone is made: beside its target, so that it appears there
// whole; or in the target, when that exists and nothing can be made beside it.
type site struct {
	dir    string   // where git works
	target string   // where the clone shall be
	made   []string // directories that were missing above it, the innermost first
}

// openSite returns a conflict when there is something at target.
func openSite(target string) (site, error) {
	st := site{target: target}
	entries, err := os.ReadDir(target)
	exists := err == nil
	switch {
	case exists && len(entries) > 0, errors.Is(err, syscall.ENOTDIR):
		return st, fault.Wrap(err, fault.Conflict, "repository already exists: %s is there and is not an empty directory", target)
	case exists:
		if st.target, err = filepath.EvalSymlinks(target); err != nil {
			return st, pathProblem(err, target)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return st, pathProblem(err, target)
	default:
		if _, err := os.Lstat(target); err == nil {
			return st, fault.New(fault.Conflict, "already exists: %s is a link that leads nowhere", target)
		}
		for dir := filepath.Dir(target); ; dir = filepath.Dir(dir) {
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			st.made = append(st.made, dir)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
			return st, errors.Join(pathProblem(err, target), st.removeMade())
		}
	}
	// The name is the same every time: what a clone left behind that ended
	// together with the sandbox goes with the next attempt.
	sum := sha256.Sum256([]byte(filepath.Base(st.target)))
	st.dir = filepath.Join(filepath.Dir(st.target), ".git-clone-unfinished-"+hex.EncodeToString(sum[:8]))
	err = os.RemoveAll(st.dir)
	if err == nil {
		err = os.Mkdir(st.dir, 0o777)
	}
	if err == nil && exists {
		err = st.replaceable()
	}
	if err == nil {
		return st, nil
	}
	if exists {
		st.dir = st.target
		return st, nil
	}
	return st, errors.Join(pathProblem(err, target), st.removeMade())
}

// replaceable returns why the target, an empty directory, cannot be exchanged
// for the clone, or nil. It gives the clone its mode.
func (st site) replaceable() error {
	var there, beside unix.Stat_t
	err := errors.Join(unix.Lstat(st.target, &there), unix.Lstat(st.dir, &beside))
	if err == nil && (there.Dev != beside.Dev || there.Uid != beside.Uid || there.Gid != beside.Gid) {
		err = unix.EXDEV // a mount, or somebody else's: it stays as it is
	}
	if err == nil {
		err = unix.Chmod(st.dir, there.Mode&0o7777)
	}
	if err != nil {
		return errors.Join(err, os.Remove(st.dir))
	}
	return nil
}

// settle puts the finished clone where it belongs.
func (st site) settle() error {
	if st.dir == st.target {
		return nil
	}
	err := unix.Rename(st.dir, st.target)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOTDIR):
		return fault.Wrap(err, fault.Conflict, "repository already exists: %s has been made meanwhile", st.target)
	}
	return pathProblem(err, st.target)
}

// remove takes back everything that was made.
func (st site) remove() error {
	if st.dir != st.target {
		return errors.Join(os.RemoveAll(st.dir), st.removeMade())
	}
	entries, err := os.ReadDir(st.dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(st.dir, entry.Name())))
	}
	return err
}

func (st site) removeMade() error {
	for _, dir := range st.made {
		if err := os.Remove(dir); err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) {
				return nil // never made, or somebody uses it by now
			}
			return err
		}
	}
	return nil
}
