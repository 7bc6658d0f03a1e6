package git

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

type addRequest struct {
	Path  string   `json:"path"`
	Files []string `json:"files"`
}

// Add answers POST /git/add: it stages files as they are, also deleted ones.
// "." stands for everything.
func (s *Service) Add(w http.ResponseWriter, r *http.Request) error {
	var req addRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	paths, err := pathspecs(req.Files)
	if err != nil {
		return err
	}
	root, release, err := s.locked(req.Path)
	if err != nil {
		return err
	}
	defer release()
	if err := s.do(r.Context(), command{
		dir: root, input: paths,
		args: []string{"add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul"},
	}); err != nil {
		return err
	}
	return done(w, http.StatusOK)
}

// pathspecs is how git is given the names of files on its standard input, where
// there may be any number of them.
func pathspecs(files []string) ([]byte, error) {
	if len(files) == 0 {
		return nil, fault.New(fault.Invalid, "files is required")
	}
	var b strings.Builder
	for _, f := range files {
		if err := require("files", f); err != nil {
			return nil, err
		}
		b.WriteString(f)
		b.WriteByte(0)
	}
	return []byte(b.String()), nil
}

type commitRequest struct {
	Path       string `json:"path"`
	Message    string `json:"message"`
	Author     string `json:"author"`
	Email      string `json:"email"`
	AllowEmpty bool   `json:"allow_empty,omitempty"`
}

type commitReply struct {
	Hash string `json:"hash"`
}

// Commit answers POST /git/commit: it commits what is staged, in the name that
// the request gives, and returns the commit's hash. No name is saved.
func (s *Service) Commit(w http.ResponseWriter, r *http.Request) error {
	var req commitRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := require("path", req.Path, "message", req.Message, "author", req.Author, "email", req.Email); err != nil {
		return err
	}
	root, release, err := s.locked(req.Path)
	if err != nil {
		return err
	}
	defer release()
	args := []string{"commit", "--cleanup=verbatim", "--file=-"}
	if req.AllowEmpty {
		args = append(args, "--allow-empty")
	}
	_, err = s.run(r.Context(), command{dir: root, args: args, input: []byte(req.Message), env: map[string]string{
		"GIT_AUTHOR_NAME": req.Author, "GIT_AUTHOR_EMAIL": req.Email,
		"GIT_COMMITTER_NAME": req.Author, "GIT_COMMITTER_EMAIL": req.Email,
	}})
	if f, ok := errors.AsType[*failure](err); ok && f.exit == 1 && strings.Contains(f.stdout, "to commit") && strings.TrimSpace(f.stderr) == "" {
		return fault.Wrap(err, fault.Conflict, "cannot create empty commit: nothing is staged; add files first, or set allow_empty")
	}
	if err != nil {
		return problem(err)
	}
	out, err := s.run(r.Context(), command{dir: root, args: []string{"rev-parse", "--verify", "HEAD"}})
	if err != nil {
		return problem(err)
	}
	return wire.JSON(w, http.StatusOK, commitReply{Hash: out.line()})
}

// commitInfo is one commit of the history.
type commitInfo struct {
	Hash      string `json:"hash"`
	Author    string `json:"author"`
	Email     string `json:"email"`
	Message   string `json:"message"`
	Timestamp string `json:"timestamp"` // RFC 3339, of the author
}

// historyFormat makes git end each member of commitInfo with a NUL byte; the
// last one's comes from -z.
const historyFormat = "--format=tformat:%H%x00%an%x00%ae%x00%aI%x00%B"

// parseHistory reads commits in that form.
func parseHistory(r io.Reader, each func(commitInfo) error) error {
	in := newRecords(r)
	for {
		var c commitInfo
		for i, member := range []*string{&c.Hash, &c.Author, &c.Email, &c.Timestamp, &c.Message} {
			record, err := in.next()
			switch {
			case err == nil:
			case errors.Is(err, io.EOF) && i == 0:
				return nil
			case errors.Is(err, io.EOF):
				return io.ErrUnexpectedEOF
			default:
				return err
			}
			*member = text(record)
		}
		if _, err := time.Parse(time.RFC3339, c.Timestamp); err != nil {
			c.Timestamp = "0001-01-01T00:00:00Z" // a commit may say anything
		}
		if err := each(c); err != nil {
			return err
		}
	}
}

// History answers GET /git/history: the commits behind HEAD, the newest first;
// none when there is no commit yet.
func (s *Service) History(w http.ResponseWriter, r *http.Request) error {
	root, err := s.root(r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	out := &answer{w: w}
	if err := out.text("["); err != nil {
		return err
	}
	_, err = s.stream(r.Context(), command{
		dir:  root,
		set:  []string{"i18n.logOutputEncoding=UTF-8"},
		args: []string{"log", "-z", "--no-show-signature", "--no-notes", historyFormat, "HEAD", "--"},
	}, func(stdout io.Reader) error {
		return parseHistory(stdout, func(c commitInfo) error { return out.element(c) })
	})
	if f, ok := errors.AsType[*failure](err); ok && !out.more {
		if unborn, headErr := s.unborn(r.Context(), root); headErr == nil && unborn {
			s.Log.Debug("no history yet", "git", f)
			err = nil
		}
	}
	if err == nil {
		err = out.text("]\n")
	}
	return out.end(problem(err))
}
