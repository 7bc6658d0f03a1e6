package git

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// defaultRemote is the remote of a clone, and of a request that names none.
const defaultRemote = "origin"

var remoteForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]*$`)

// remoteName returns the remote that a request names.
func remoteName(name string) (string, error) {
	if name == "" {
		return defaultRemote, nil
	}
	if !remoteForm.MatchString(name) || strings.Contains(name, "..") || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".") || strings.HasSuffix(name, ".lock") {
		return "", fault.New(fault.Invalid, "not a valid name of a remote: %q", name)
	}
	return name, nil
}

// remoteOf returns the address of one of the repository's remotes, as git will
// use it: for pushing, or for fetching.
func (s *Service) remoteOf(ctx context.Context, root, name string, push bool) (remote, error) {
	args := []string{"remote", "get-url"}
	if push {
		args = append(args, "--push")
	}
	out, err := s.run(ctx, command{dir: root, args: append(args, "--", name)})
	if f, ok := errors.AsType[*failure](err); ok && strings.Contains(f.stderr, "No such remote") {
		return remote{}, fault.Wrap(err, fault.NotFound, "remote not found: the repository has no remote %q; add one with POST /git/remotes", name).WithCode(codeRepoNotFound)
	}
	if err != nil {
		return remote{}, problem(err)
	}
	return parseRemote(out.line())
}

// reached returns where git goes for an address that a request names: the user
// may have set that addresses of one kind stand for others (url.*.insteadOf).
func (s *Service) reached(ctx context.Context, dir string, r remote) (remote, error) {
	out, err := s.run(ctx, command{dir: dir, args: []string{"ls-remote", "--get-url", "--", r.address}})
	if err != nil {
		return remote{}, problem(err)
	}
	return parseRemote(out.line())
}

// loginFor is newLogin for an address that a request names.
func (s *Service) loginFor(ctx context.Context, dir string, r remote, username, password string) (*login, error) {
	l, err := newLogin(r, username, password)
	if l == nil || err != nil {
		return nil, err
	}
	at, err := s.reached(ctx, dir, r)
	if err != nil || at.scope == "" {
		return nil, err
	}
	l.scope = at.scope
	return l, nil
}

type remoteInfo struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

type remotesReply struct {
	Remotes []remoteInfo `json:"remotes"`
}

// Remotes answers GET /git/remotes: each remote with its first address, as it is
// saved.
func (s *Service) Remotes(w http.ResponseWriter, r *http.Request) error {
	root, err := s.root(r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	if err := s.check(r.Context(), root); err != nil {
		return err
	}
	reply := remotesReply{Remotes: []remoteInfo{}}
	_, err = s.stream(r.Context(), command{dir: root, args: []string{"config", "--null", "--get-regexp", `^remote\..*\.url$`}},
		func(stdout io.Reader) error {
			reply.Remotes, err = parseRemotes(stdout)
			return err
		})
	if f, ok := errors.AsType[*failure](err); ok && f.exit == 1 {
		err = nil // there are none
	}
	if err != nil {
		return problem(err)
	}
	return wire.JSON(w, http.StatusOK, reply)
}

// parseRemotes reads settings of the form remote.NAME.url, each a record with
// its value on the next line.
func parseRemotes(r io.Reader) ([]remoteInfo, error) {
	remotes := []remoteInfo{}
	seen := map[string]bool{}
	for in := newRecords(r); ; {
		record, err := in.next()
		if errors.Is(err, io.EOF) {
			return remotes, nil
		}
		if err != nil {
			return nil, err
		}
		key, url, _ := strings.Cut(record, "\n")
		name := strings.TrimSuffix(strings.TrimPrefix(key, "remote."), ".url")
		if !seen[name] {
			seen[name] = true
			remotes = append(remotes, remoteInfo{Name: text(name), URL: text(url)})
		}
	}
}

// check returns a fault unless root is a repository.
func (s *Service) check(ctx context.Context, root string) error {
	return s.do(ctx, command{dir: root, args: []string{"rev-parse", "--git-dir"}})
}

type addRemoteRequest struct {
	Path      string `json:"path"`
	Name      string `json:"name"`
	URL       string `json:"url"`
	Fetch     bool   `json:"fetch,omitempty"`
	Overwrite bool   `json:"overwrite,omitempty"`
}

// AddRemote answers POST /git/remotes. With fetch the remote's branches are
// fetched first: a remote that cannot be reached is not added. Credentials in
// the address are used for that and not saved.
func (s *Service) AddRemote(w http.ResponseWriter, r *http.Request) error {
	var req addRemoteRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := require("path", req.Path, "name", req.Name, "url", req.URL); err != nil {
		return err
	}
	name, err := remoteName(req.Name)
	if err != nil {
		return err
	}
	to, err := parseRemote(req.URL)
	if err != nil {
		return err
	}
	root, release, err := s.locked(req.Path)
	if err != nil {
		return err
	}
	defer release()
	ctx := r.Context()
	if err := s.check(ctx, root); err != nil {
		return err
	}
	key := "remote." + name
	_, err = s.run(ctx, command{dir: root, args: []string{"config", "--get", key + ".url"}})
	failed, missing := errors.AsType[*failure](err)
	if missing = missing && failed.exit == 1; err != nil && !missing {
		return problem(err)
	}
	if !missing && !req.Overwrite {
		return fault.New(fault.Conflict, "remote already exists: %s", name)
	}
	refspec := "+refs/heads/*:refs/remotes/" + name + "/*"
	if req.Fetch {
		login, err := s.loginFor(ctx, root, to, "", "")
		if err != nil {
			return err
		}
		if err := s.do(ctx, command{dir: root, login: login,
			args: []string{"fetch", "--quiet", "--no-recurse-submodules", "--", to.address, refspec}}); err != nil {
			return err
		}
	}
	steps := [][]string{{"remote", "add", "--", name, to.address}}
	if !missing {
		steps = [][]string{
			{"config", "--replace-all", key + ".url", to.address},
			{"config", "--replace-all", key + ".fetch", refspec},
			{"config", "--unset-all", key + ".pushurl"},
		}
	}
	for _, args := range steps {
		_, err := s.run(ctx, command{dir: root, args: args})
		if f, ok := errors.AsType[*failure](err); ok && f.exit == 5 && args[1] == "--unset-all" {
			continue // it had none
		}
		if err != nil {
			return problem(err)
		}
	}
	return done(w, http.StatusCreated)
}
