package git

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

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
	target := realPath(s.Space.Dir(req.Path))
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
