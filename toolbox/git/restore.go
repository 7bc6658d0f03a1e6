package git

import (
	"net/http"
	"slices"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

type initRequest struct {
	Path          string `json:"path"`
	Bare          bool   `json:"bare,omitempty"`
	InitialBranch string `json:"initial_branch,omitempty"`
}

// Init answers POST /git/init. A repository that is there already stays as it
// is.
func (s *Service) Init(w http.ResponseWriter, r *http.Request) error {
	var req initRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := require("path", req.Path); err != nil {
		return err
	}
	if err := word("initial_branch", req.InitialBranch); err != nil {
		return err
	}
	dir := realPath(s.Space.Dir(req.Path))
	release, err := s.locks.take(dir)
	if err != nil {
		return err
	}
	defer release()
	args := []string{"init", "--quiet"}
	if req.Bare {
		args = append(args, "--bare")
	}
	if req.InitialBranch != "" {
		args = append(args, "--initial-branch="+req.InitialBranch)
	}
	if err := s.do(r.Context(), command{dir: s.Space.WorkDir, args: append(args, "--", dir)}); err != nil {
		return err
	}
	return done(w, http.StatusCreated)
}

type resetRequest struct {
	Path   string   `json:"path"`
	Mode   string   `json:"mode,omitempty"`
	Target string   `json:"target,omitempty"`
	Files  []string `json:"files,omitempty"`
}

var resetModes = []string{"soft", "mixed", "hard", "merge", "keep"}

// Reset answers POST /git/reset: it moves the branch to target, HEAD unless
// named, or with files takes only these back to it in the index.
func (s *Service) Reset(w http.ResponseWriter, r *http.Request) error {
	var req resetRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := word("target", req.Target); err != nil {
		return err
	}
	if req.Mode != "" && !slices.Contains(resetModes, req.Mode) {
		return fault.New(fault.Invalid, "mode must be one of %s, not %q", strings.Join(resetModes, ", "), req.Mode)
	}
	c := command{args: []string{"reset", "--quiet"}}
	switch {
	case len(req.Files) == 0 && req.Mode != "":
		c.args = append(c.args, "--"+req.Mode)
	case len(req.Files) > 0 && req.Mode != "" && req.Mode != "mixed":
		return fault.New(fault.Invalid, "files can only be reset with mode mixed, not %s", req.Mode)
	}
	if len(req.Files) > 0 {
		paths, err := pathspecs(req.Files)
		if err != nil {
			return err
		}
		c.input = paths
		c.args = append(c.args, "--pathspec-from-file=-", "--pathspec-file-nul")
	}
	if req.Target != "" {
		c.args = append(c.args, req.Target)
	}
	root, release, err := s.locked(req.Path)
	if err != nil {
		return err
	}
	defer release()
	c.dir = root
	if len(req.Files) == 0 {
		c.args = append(c.args, "--")
	}
	if err := s.do(r.Context(), c); err != nil {
		return err
	}
	return done(w, http.StatusOK)
}

type restoreRequest struct {
	Path     string   `json:"path"`
	Files    []string `json:"files"`
	Staged   *bool    `json:"staged,omitempty"`
	Worktree *bool    `json:"worktree,omitempty"`
	Source   string   `json:"source,omitempty"`
}

// Restore answers POST /git/restore: files as they are in the index, or in the
// source that the request names; in the worktree unless it says otherwise.
func (s *Service) Restore(w http.ResponseWriter, r *http.Request) error {
	var req restoreRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	paths, err := pathspecs(req.Files)
	if err != nil {
		return err
	}
	if err := word("source", req.Source); err != nil {
		return err
	}
	given := func(b *bool) bool { return b != nil && *b }
	args := []string{"restore", "--quiet", "--pathspec-from-file=-", "--pathspec-file-nul"}
	if given(req.Staged) {
		args = append(args, "--staged")
	}
	switch {
	case given(req.Worktree), req.Worktree == nil && !given(req.Staged):
		args = append(args, "--worktree")
	case !given(req.Staged):
		return fault.New(fault.Invalid, "nothing to restore: staged and worktree are both false")
	}
	if req.Source != "" {
		args = append(args, "--source="+req.Source)
	}
	root, release, err := s.locked(req.Path)
	if err != nil {
		return err
	}
	defer release()
	if err := s.do(r.Context(), command{dir: root, input: paths, args: args}); err != nil {
		return err
	}
	return done(w, http.StatusOK)
}
