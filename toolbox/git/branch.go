package git

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

type branchesReply struct {
	Branches []string `json:"branches"`
	Current  *string  `json:"current,omitempty"` // "" when detached
}

// Branches answers GET /git/branches: the local branches by name, and which one
// is checked out.
func (s *Service) Branches(w http.ResponseWriter, r *http.Request) error {
	root, err := s.root(r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	out, err := s.run(r.Context(), command{dir: root, args: []string{"for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads"}})
	if err != nil {
		return problem(err)
	}
	reply := branchesReply{Branches: []string{}}
	for line := range strings.Lines(out.stdout) {
		reply.Branches = append(reply.Branches, text(strings.TrimSuffix(line, "\n")))
	}
	if !wire.DialectOf(r).Strict {
		current, err := s.current(r.Context(), root)
		if err != nil {
			return problem(err)
		}
		current = text(current)
		reply.Current = &current
	}
	return wire.JSON(w, http.StatusOK, reply)
}

// current returns the branch that is checked out, also one without a commit, or
// "" when HEAD is detached.
func (s *Service) current(ctx context.Context, root string) (string, error) {
	out, err := s.run(ctx, command{dir: root, args: []string{"symbolic-ref", "--quiet", "HEAD"}})
	if f, ok := errors.AsType[*failure](err); ok && f.exit == 1 {
		return "", nil
	}
	return strings.TrimPrefix(out.line(), "refs/heads/"), err
}

// unborn reports whether the branch that is checked out has no commit yet.
func (s *Service) unborn(ctx context.Context, root string) (bool, error) {
	branch, err := s.current(ctx, root)
	if err != nil || branch == "" {
		return false, err
	}
	exists, err := s.exists(ctx, root, "refs/heads/"+branch)
	return !exists, err
}

// exists reports whether a revision names a commit.
func (s *Service) exists(ctx context.Context, root, revision string) (bool, error) {
	_, err := s.run(ctx, command{dir: root, args: []string{"rev-parse", "--quiet", "--verify", revision + "^{commit}"}})
	if f, ok := errors.AsType[*failure](err); ok && (f.exit == 1 || f.exit == 128) {
		return false, nil
	}
	return err == nil, err
}

type branchRequest struct {
	Path string `json:"path"`
	Name string `json:"name"`
}

func (s *Service) branchRequest(r *http.Request) (req branchRequest, err error) {
	if err := wire.Decode(r, &req); err != nil {
		return req, err
	}
	return req, errors.Join(require("path", req.Path, "name", req.Name), checkBranch(req.Name))
}

// CreateBranch answers POST /git/branches: a new branch at HEAD, checked out.
func (s *Service) CreateBranch(w http.ResponseWriter, r *http.Request) error {
	return s.changeBranch(w, r, http.StatusCreated, "checkout", "--quiet", "--no-track", "-b")
}

// DeleteBranch answers DELETE /git/branches, whose body names the branch. One
// whose commits are nowhere else is deleted too.
func (s *Service) DeleteBranch(w http.ResponseWriter, r *http.Request) error {
	return s.changeBranch(w, r, http.StatusNoContent, "branch", "--quiet", "-D", "--")
}

// changeBranch runs git with args and then the branch that the request names,
// and answers with status.
func (s *Service) changeBranch(w http.ResponseWriter, r *http.Request, status int, args ...string) error {
	req, err := s.branchRequest(r)
	if err != nil {
		return err
	}
	root, release, err := s.locked(req.Path)
	if err != nil {
		return err
	}
	defer release()
	if err := s.do(r.Context(), command{dir: root, args: append(args, req.Name)}); err != nil {
		return err
	}
	return done(w, status)
}

type checkoutRequest struct {
	Path   string `json:"path"`
	Branch string `json:"branch"`
}

// Checkout answers POST /git/checkout: a branch, else a commit, which leaves
// HEAD detached. A branch that only the remote has is made here.
func (s *Service) Checkout(w http.ResponseWriter, r *http.Request) error {
	var req checkoutRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := require("path", req.Path, "branch", req.Branch); err != nil {
		return err
	}
	if err := word("branch", req.Branch); err != nil {
		return err
	}
	root, release, err := s.locked(req.Path)
	if err != nil {
		return err
	}
	defer release()
	_, err = s.run(r.Context(), command{dir: root, args: []string{"checkout", "--quiet", req.Branch, "--"}})
	if f, ok := errors.AsType[*failure](err); ok && strings.Contains(f.stderr, "is not a tree") {
		return fault.Wrap(err, fault.NotFound, "branch or commit not found: %s", req.Branch).WithCode(codeBranchNotFound)
	}
	if err != nil {
		return problem(err)
	}
	return done(w, http.StatusOK)
}
