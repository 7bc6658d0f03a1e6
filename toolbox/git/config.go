package git

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// keyForm is section.name or section.subsection.name, where the subsection may
// be anything.
var keyForm = regexp.MustCompile(`(?s)^[A-Za-z0-9][A-Za-z0-9-]*\.(?:[^\n\x00]*\.)?[A-Za-z][A-Za-z0-9-]*$`)

// scope is one of git's configuration files.
type scope struct {
	option string // "--global"
	dir    string // the repository, for the local one
}

// scope returns the file that a request is about; path counts for "local"
// alone.
func (s *Service) scope(name, path string) (scope, error) {
	switch name {
	case "", "global":
		return scope{"--global", s.Space.WorkDir}, nil
	case "system":
		return scope{"--system", s.Space.WorkDir}, nil
	case "local":
		if path == "" {
			return scope{}, fault.New(fault.Invalid, "path is required with scope local")
		}
		root, err := s.root(path)
		return scope{"--local", root}, err
	}
	return scope{}, fault.New(fault.Invalid, "scope must be global, local or system, not %q", name)
}

func checkKey(key string) error {
	if err := require("key", key); err != nil {
		return err
	}
	if !keyForm.MatchString(key) {
		return fault.New(fault.Invalid, "key must be of the form section.name, not %q", key)
	}
	return nil
}

type configReply struct {
	Value *string `json:"value,omitempty"` // missing when the key is not set
}

// GetConfig answers GET /git/config: the last value of a key in one file.
func (s *Service) GetConfig(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	if err := checkKey(query.Get("key")); err != nil {
		return err
	}
	at, err := s.scope(query.Get("scope"), query.Get("path"))
	if err != nil {
		return err
	}
	if at.option == "--local" {
		if err := s.check(r.Context(), at.dir); err != nil {
			return err
		}
	}
	out, err := s.run(r.Context(), command{dir: at.dir, args: []string{"config", at.option, "--null", "--get", query.Get("key")}})
	if f, ok := errors.AsType[*failure](err); ok && (f.exit == 1 || at.option != "--local" && strings.Contains(f.stderr, "unable to read config file")) {
		return wire.JSON(w, http.StatusOK, configReply{})
	}
	if err != nil {
		return problem(err)
	}
	value := text(strings.TrimSuffix(out.stdout, "\x00"))
	return wire.JSON(w, http.StatusOK, configReply{&value})
}

type setConfigRequest struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Path  string `json:"path,omitempty"`
	Scope string `json:"scope,omitempty"`
}

// SetConfig answers POST /git/config: it sets a key to one value, which may be
// empty.
func (s *Service) SetConfig(w http.ResponseWriter, r *http.Request) error {
	var req setConfigRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := checkKey(req.Key); err != nil {
		return err
	}
	if err := plain("value", req.Value); err != nil {
		return err
	}
	if err := s.set(r.Context(), req.Scope, req.Path, req.Key, req.Value); err != nil {
		return err
	}
	return done(w, http.StatusOK)
}

type setUserRequest struct {
	Name  string `json:"name"`
	Email string `json:"email"`
	Path  string `json:"path,omitempty"`
	Scope string `json:"scope,omitempty"`
}

// SetUser answers POST /git/config/user: the author of commits that name none.
func (s *Service) SetUser(w http.ResponseWriter, r *http.Request) error {
	var req setUserRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := require("name", req.Name, "email", req.Email); err != nil {
		return err
	}
	if err := s.set(r.Context(), req.Scope, req.Path, "user.name", req.Name, "user.email", req.Email); err != nil {
		return err
	}
	return done(w, http.StatusOK)
}

// set sets keys, given as key and value in turn, in one file.
func (s *Service) set(ctx context.Context, name, path string, pairs ...string) error {
	at, err := s.scope(name, path)
	if err != nil {
		return err
	}
	if at.option == "--local" {
		if err := s.check(ctx, at.dir); err != nil {
			return err
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if err := s.do(ctx, command{dir: at.dir, args: []string{"config", at.option, "--replace-all", pairs[i], pairs[i+1]}}); err != nil {
			return err
		}
	}
	return nil
}

type credentialsRequest struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Host     string `json:"host,omitempty"`     // github.com
	Protocol string `json:"protocol,omitempty"` // https
}

// StoreCredentials answers POST /git/credentials: from now on git uses them for
// that host. They are in plain text in ~/.git-credentials, for the user's eyes
// alone.
func (s *Service) StoreCredentials(w http.ResponseWriter, r *http.Request) error {
	var req credentialsRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := require("username", req.Username, "password", req.Password); err != nil {
		return err
	}
	if err := credentialText("username", req.Username, "password", req.Password); err != nil {
		return err
	}
	if req.Host == "" {
		req.Host = "github.com"
	}
	if req.Protocol == "" {
		req.Protocol = "https"
	}
	if !hostForm.MatchString(req.Host) {
		return fault.New(fault.Invalid, "host must be a name or an address, with a port if need be, not %q", req.Host)
	}
	if req.Protocol != "https" && req.Protocol != "http" {
		return fault.New(fault.Invalid, "protocol must be https or http, not %q", req.Protocol)
	}
	file := filepath.Join(s.Space.Home(), ".git-credentials")
	release, err := s.locks.take(file)
	if err != nil {
		return err
	}
	defer release()
	// Git keeps the mode of a file that is there.
	if err := os.Chmod(file, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pathProblem(err, file)
	}
	input := "protocol=" + req.Protocol + "\nhost=" + req.Host + "\nusername=" + req.Username + "\npassword=" + req.Password + "\n\n"
	if err := s.do(r.Context(), command{dir: s.Space.WorkDir, input: []byte(input),
		args: []string{"credential-store", "--file=" + file, "store"}}); err != nil {
		return err
	}
	// For this host only, beside what else the user has for it.
	key := "credential." + req.Protocol + "://" + req.Host + ".helper"
	if err := s.do(r.Context(), command{dir: s.Space.WorkDir,
		args: []string{"config", "--global", "--replace-all", key, "store", "^store$"}}); err != nil {
		return err
	}
	return done(w, http.StatusOK)
}
