package git

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

type syncRequest struct {
	Path        string `json:"path"`
	Username    string `json:"username,omitempty"`
	Password    string `json:"password,omitempty"`
	Branch      string `json:"branch,omitempty"`
	Remote      string `json:"remote,omitempty"`
	SetUpstream bool   `json:"set_upstream,omitempty"` // push alone
}

// decodeSync reads a request to pull or push, and checks what can be checked
// without the repository.
func decodeSync(r *http.Request) (req syncRequest, err error) {
	if err := wire.Decode(r, &req); err != nil {
		return req, err
	}
	if err := require("path", req.Path); err != nil {
		return req, err
	}
	if err := checkBranch(req.Branch); err != nil {
		return req, err
	}
	_, err = remoteName(req.Remote)
	return req, err
}

// checkBranch returns a fault for a name that could mean something else within
// a refspec. Whether it is a good name is for git to say. "" passes.
func checkBranch(name string) error {
	if strings.ContainsAny(name, ":*^~? \n") || strings.Contains(name, "@{") {
		return fault.New(fault.Invalid, "not a valid branch name: %q", name)
	}
	return word("branch", name)
}

// Pull answers POST /git/pull: it fetches a branch and brings the one that is
// checked out forward to it. When both have commits that the other lacks, the
// setting pull.rebase decides: true rebases, false merges, and without it the
// request is a conflict and nothing is changed.
func (s *Service) Pull(w http.ResponseWriter, r *http.Request) error {
	req, err := decodeSync(r)
	if err != nil {
		return err
	}
	root, release, err := s.locked(req.Path)
	if err != nil {
		return err
	}
	defer release()
	ctx := r.Context()
	local, err := s.current(ctx, root)
	if err != nil {
		return problem(err)
	}
	name, branch, err := s.source(ctx, root, req, local)
	if err != nil {
		return err
	}
	from, err := s.remoteOf(ctx, root, name, false)
	if err != nil {
		return err
	}
	login, err := newLogin(from, req.Username, req.Password)
	if err != nil {
		return err
	}
	if err := s.do(ctx, command{dir: root, login: login, set: []string{tracking(name) + refspec(name, branch)},
		args: []string{"fetch", "--quiet", "--no-recurse-submodules", "--", name, "refs/heads/" + branch}}); err != nil {
		return err
	}
	way, err := s.reconcile(ctx, root, local)
	if err != nil {
		return err
	}
	env := map[string]string{}
	if login != nil {
		env["GIT_LFS_SKIP_SMUDGE"] = "1" // its contents would need the credentials too
	}
	if err := s.do(ctx, command{dir: root, env: env, args: append(way, "FETCH_HEAD")}); err != nil {
		return err
	}
	return done(w, http.StatusOK)
}

// source returns the remote and the branch there that a pull is from: what the
// request names, else the upstream, else the namesake at origin.
func (s *Service) source(ctx context.Context, root string, req syncRequest, local string) (name, branch string, err error) {
	name, branch = req.Remote, req.Branch
	if local != "" && (name == "" || branch == "") {
		upstream, err := s.setting(ctx, root, "branch."+local+".remote")
		if err != nil {
			return "", "", err
		}
		if name == "" && remoteForm.MatchString(upstream) {
			name = upstream
		}
		if branch == "" && upstream == name {
			merge, err := s.setting(ctx, root, "branch."+local+".merge")
			if err != nil {
				return "", "", err
			}
			branch = strings.TrimPrefix(merge, "refs/heads/")
		}
		if branch == "" {
			branch = local
		}
	}
	if branch == "" {
		return "", "", fault.New(fault.Conflict, "HEAD is detached: check out a branch, or name one")
	}
	if name == "" {
		name = defaultRemote
	}
	return name, branch, checkBranch(branch)
}

// setting returns a setting of the repository or the user, or "".
func (s *Service) setting(ctx context.Context, root, key string) (string, error) {
	out, err := s.run(ctx, command{dir: root, args: []string{"config", "--get", key}})
	if f, ok := errors.AsType[*failure](err); ok && f.exit == 1 {
		return "", nil
	}
	return out.line(), problem(err)
}

// reconcile returns the command that brings a fetched branch in.
func (s *Service) reconcile(ctx context.Context, root, local string) ([]string, error) {
	rebase := ""
	for _, key := range []string{"branch." + local + ".rebase", "pull.rebase"} {
		var err error
		if rebase, err = s.setting(ctx, root, key); err != nil {
			return nil, err
		}
		if rebase != "" {
			break
		}
	}
	switch strings.ToLower(rebase) {
	case "":
		return []string{"merge", "--quiet", "--ff-only"}, nil
	case "false", "no", "off", "0":
		return []string{"merge", "--quiet", "--no-edit"}, nil
	}
	return []string{"rebase", "--quiet"}, nil
}

// refspec keeps a branch's image in the repository.
func refspec(name, branch string) string {
	return "+refs/heads/" + branch + ":refs/remotes/" + name + "/" + branch
}

// tracking is the beginning of the setting with which the images are brought up
// to date, also in a clone of another single branch.
func tracking(name string) string { return "remote." + name + ".fetch=" }

// Push answers POST /git/push: a branch to its namesake at the remote. That
// there is nothing to push is a success.
func (s *Service) Push(w http.ResponseWriter, r *http.Request) error {
	req, err := decodeSync(r)
	if err != nil {
		return err
	}
	root, release, err := s.locked(req.Path)
	if err != nil {
		return err
	}
	defer release()
	ctx := r.Context()
	name, err := remoteName(req.Remote)
	if err != nil {
		return err
	}
	branch := req.Branch
	if branch == "" {
		if branch, err = s.current(ctx, root); err != nil {
			return problem(err)
		}
		if branch == "" {
			return fault.New(fault.Conflict, "HEAD is detached: check out a branch, or name one")
		}
	}
	ref := "refs/heads/" + branch
	there, err := s.exists(ctx, root, ref)
	switch {
	case err != nil:
		return problem(err)
	case !there && req.Branch != "":
		return fault.New(fault.NotFound, "branch not found: %s", branch).WithCode(codeBranchNotFound)
	case !there:
		return fault.New(fault.Conflict, "nothing to push: branch %s has no commit yet", branch)
	}
	to, err := s.remoteOf(ctx, root, name, true)
	if err != nil {
		return err
	}
	login, err := newLogin(to, req.Username, req.Password)
	if err != nil {
		return err
	}
	args := []string{"push", "--porcelain", "--recurse-submodules=no"}
	if req.SetUpstream {
		args = append(args, "--set-upstream")
	}
	if err := s.do(ctx, command{dir: root, login: login, set: []string{tracking(name) + refspec(name, branch)},
		args: append(args, "--", name, ref+":"+ref)}); err != nil {
		return err
	}
	if req.SetUpstream {
		if err := s.follow(ctx, root, name, branch); err != nil {
			return err
		}
	}
	return done(w, http.StatusOK)
}

// follow makes the clone of a single branch keep an image of another one too:
// without it, git does not see the upstream that has been set.
func (s *Service) follow(ctx context.Context, root, name, branch string) error {
	_, err := s.run(ctx, command{dir: root, args: []string{"rev-parse", "--quiet", "--verify", branch + "@{upstream}"}})
	if _, failed := errors.AsType[*failure](err); !failed {
		return err
	}
	return s.do(ctx, command{dir: root, args: []string{"config", "--add", "remote." + name + ".fetch", refspec(name, branch)}})
}
