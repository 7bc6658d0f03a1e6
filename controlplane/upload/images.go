package upload

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"daytona/api/runnerapi"
	"daytona/controlplane/auth"
	"daytona/internal/fault"
	"daytona/internal/ociregistry"
)

// Project is the first part of the names of all repositories; an organization's
// begin with Project/<its id>/.
const Project = "daytona"

// Keys says whose an API key is.
type Keys interface {
	Authenticate(ctx context.Context, key string) (auth.Identity, error)
}

// RegistryAccess is what a client of the registry needs.
type RegistryAccess struct {
	Username, Secret string
	URL              string // host, with a port if need be
	Project          string // images are pushed to URL/Project/name:tag
	Expires          time.Time
}

// robot is what a temporary password of the registry says.
type robot struct {
	OrgID   string `json:"o"`
	Push    bool   `json:"w,omitempty"`
	Expires int64  `json:"e"` // seconds since 1970
}

// robotName begins the names of temporary accounts.
const robotName = "robot-"

// Registry gives credentials that push to an organization's part of the registry.
func (s *Service) Registry(orgID string) (RegistryAccess, error) {
	if s.registry == nil {
		return RegistryAccess{}, fault.New(fault.Unavailable, "This server has no registry of its own")
	}
	return s.registryAccess(robot{OrgID: orgID, Push: true, Expires: s.c.Now().Add(life).Unix()}, s.c.RegistryURL.Host)
}

func (s *Service) registryAccess(r robot, host string) (RegistryAccess, error) {
	if _, err := prefixOf(r.OrgID); err != nil {
		return RegistryAccess{}, err
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return RegistryAccess{}, err
	}
	encode := base64.RawURLEncoding.EncodeToString
	return RegistryAccess{
		Username: robotName + r.OrgID, Secret: encode(payload) + "." + encode(s.code(payload)),
		URL: host, Project: Project + "/" + strings.ToLower(r.OrgID), Expires: time.Unix(r.Expires, 0).UTC(),
	}, nil
}

func (s *Service) code(payload []byte) []byte {
	m := hmac.New(sha256.New, s.c.Key)
	m.Write([]byte("registry robot\n"))
	m.Write(payload)
	return m.Sum(nil)
}

// OwnAuths are the credentials with which a runner pulls what an organization
// has pushed: by the name that clients know the server by, and by the address at
// which this machine reaches it.
func (s *Service) OwnAuths(orgID string) ([]runnerapi.RegistryAuth, error) {
	if s.registry == nil {
		return nil, nil
	}
	var out []runnerapi.RegistryAuth
	for _, host := range []string{s.c.RegistryURL.Host, s.c.RunnerURL.Host} {
		a, err := s.registryAccess(robot{OrgID: orgID, Expires: s.c.Now().Add(runnerLife).Unix()}, host)
		if err != nil {
			return nil, err
		}
		if len(out) == 0 || host != s.c.RegistryURL.Host {
			out = append(out, runnerapi.RegistryAuth{Prefix: a.URL + "/" + a.Project, Username: a.Username, Password: a.Secret})
		}
	}
	return out, nil
}

// Authenticate says who shows a name and a password to the registry: a temporary
// account, or an API key under any name.
func (s *Service) Authenticate(ctx context.Context, name, password string) (ociregistry.Caller, error) {
	if orgID, ok := strings.CutPrefix(name, robotName); ok {
		return s.robot(orgID, password)
	}
	if s.Keys == nil {
		return nil, fault.New(fault.Unavailable, "The server is not ready")
	}
	id, err := s.Keys.Authenticate(ctx, password)
	if err != nil {
		return nil, err
	}
	return member(id), nil
}

func (s *Service) robot(orgID, password string) (ociregistry.Caller, error) {
	refused := fault.New(fault.Unauthenticated, "Invalid credentials")
	text, code, ok := strings.Cut(password, ".")
	if !ok {
		return nil, refused
	}
	payload, err1 := base64.RawURLEncoding.Strict().DecodeString(text)
	given, err2 := base64.RawURLEncoding.Strict().DecodeString(code)
	if err1 != nil || err2 != nil || !hmac.Equal(given, s.code(payload)) {
		return nil, refused
	}
	var r robot
	if err := json.Unmarshal(payload, &r); err != nil || r.OrgID != orgID {
		return nil, refused
	}
	if !s.c.Now().Before(time.Unix(r.Expires, 0)) {
		return nil, fault.New(fault.Unauthenticated, "The credentials have expired")
	}
	return r, nil
}

// owns says whether a repository is one of an organization's.
func owns(orgID, repository string) bool {
	return orgID != "" && strings.HasPrefix(repository, Project+"/"+strings.ToLower(orgID)+"/")
}

// ownerOf is the start of a repository's name that says whose it is.
func ownerOf(repository string) string {
	parts := strings.SplitN(repository, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// May implements ociregistry.Caller.
func (r robot) May(action ociregistry.Action, repository string) bool {
	return owns(r.OrgID, repository) && (action == ociregistry.Pull || action == ociregistry.Push && r.Push)
}

// member is a caller with an API key.
type member auth.Identity

// May implements ociregistry.Caller.
func (m member) May(action ociregistry.Action, repository string) bool {
	id := auth.Identity(m)
	if !owns(id.OrgID, repository) {
		return false
	}
	switch action {
	case ociregistry.Pull:
		return true
	case ociregistry.Push:
		return id.Can(auth.WriteSnapshots) || id.Can(auth.WriteRegistries)
	case ociregistry.Delete:
		return id.Can(auth.DelSnapshots) || id.Can(auth.DelRegistries)
	}
	return false
}

// RegistryHandler serves the registry, below /v2/.
func (s *Service) RegistryHandler() http.Handler {
	if s.registry == nil {
		return http.NotFoundHandler()
	}
	return s.registry
}

// ServesRegistry says whether a path is one of the registry.
func ServesRegistry(path string) bool { return path == "/v2" || strings.HasPrefix(path, "/v2/") }

// Run collects garbage until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if s.registry != nil {
		group.Go(func() error { return s.registry.Run(ctx) })
	}
	group.Go(func() error { return s.collectLoop(ctx) })
	return group.Wait()
}

// Close ends the registry.
func (s *Service) Close() error {
	if s.registry == nil {
		return nil
	}
	return s.registry.Close()
}
