package toolbox

import (
	"crypto/sha256"
	"net/http"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// initRequest gives a sandbox its identity. Members that are absent leave
// things as they are.
type initRequest struct {
	Token          string            `json:"token,omitempty"` // replaces the toolbox's token
	SandboxID      string            `json:"sandboxId,omitempty"`
	OrganizationID string            `json:"organizationId,omitempty"`
	RegionID       string            `json:"regionId,omitempty"`
	Snapshot       string            `json:"snapshot,omitempty"`
	User           string            `json:"user,omitempty"`
	Env            map[string]string `json:"env,omitempty"`
}

// postInit answers POST /init. Every process that is started from now on has
// the identity and the variables in its environment; the image's own program is
// started by the first call. It may be repeated: the last call counts.
func (s *Server) postInit(w http.ResponseWriter, r *http.Request) error {
	var req initRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := checkVars(req.Env); err != nil {
		return err
	}
	vars := map[string]string{}
	for name, value := range map[string]string{
		"DAYTONA_SANDBOX_ID":       req.SandboxID,
		"DAYTONA_SANDBOX_SNAPSHOT": req.Snapshot,
		"DAYTONA_SANDBOX_USER":     req.User,
		"DAYTONA_ORGANIZATION_ID":  req.OrganizationID,
		"DAYTONA_REGION_ID":        req.RegionID,
	} {
		if value != "" {
			vars[name] = value
		}
	}
	// The user's variables come last: whoever sets one of these means it.
	for name, value := range req.Env {
		vars[name] = value
	}
	s.space.Env.Set(vars)
	if req.Token != "" {
		s.mu.Lock()
		s.token = sha256.Sum256([]byte(req.Token))
		s.mu.Unlock()
	}
	s.initOnce.Do(func() { close(s.ready) })
	if s.python != nil {
		s.python.Claim()
	}
	return wire.JSON(w, http.StatusOK, struct {
		Message string `json:"message"`
	}{"toolbox initialized"})
}

// checkVars is laxer than for one command: it takes whatever the kernel does,
// since a sandbox must not fail to start for the sake of an odd name.
func checkVars(vars map[string]string) error {
	for name, value := range vars {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return fault.New(fault.Invalid, "invalid environment variable name or value: %q", name)
		}
	}
	return nil
}

// envRequest changes the environment. What is to go goes before Set is applied.
type envRequest struct {
	Set              map[string]string `json:"set,omitempty"`
	Unset            []string          `json:"unset,omitempty"`
	UnsetValuePrefix string            `json:"unsetValuePrefix,omitempty"` // of the values of variables that go
}

// postEnv answers POST /env: processes that are started from now on have the new
// environment, those that run keep theirs.
func (s *Server) postEnv(w http.ResponseWriter, r *http.Request) error {
	var req envRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if err := checkVars(req.Set); err != nil {
		return err
	}
	s.space.Env.Change(req.Set, req.Unset, req.UnsetValuePrefix)
	return wire.JSON(w, http.StatusOK, struct {
		Message string `json:"message"`
	}{"environment updated"})
}

func (s *Server) getVersion(w http.ResponseWriter, _ *http.Request) error {
	return wire.JSON(w, http.StatusOK, struct {
		Version string `json:"version"`
	}{s.config.Version})
}

// dirReply is how directories are told.
type dirReply struct {
	Dir string `json:"dir"`
}

func (s *Server) getHome(w http.ResponseWriter, _ *http.Request) error {
	return wire.JSON(w, http.StatusOK, dirReply{s.space.Env.Get("HOME")})
}

func (s *Server) getWorkDir(w http.ResponseWriter, _ *http.Request) error {
	return wire.JSON(w, http.StatusOK, dirReply{s.config.WorkDir})
}
