// Package ociregistry is a registry of container images in a directory: the
// library of CNCF Distribution in our process, with our rules on who may what,
// and a collection of garbage that goes on while clients push.
package ociregistry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"daytona/internal/fault"
	"daytona/internal/patience"
)

// Action is what is done with a repository.
type Action string

// The actions.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
)

// Caller is who showed credentials.
type Caller interface {
	// May says whether the caller may do something with a repository.
	May(action Action, repository string) bool
}

// Config is what a Registry needs.
type Config struct {
	Dir string // made when something is pushed
	// Key is secret; uploads go on after a restart when it is the same.
	Key []byte
	// Authenticate returns who shows a name and a password. An error is a
	// fault: Unauthenticated, or that somebody cannot be asked.
	Authenticate func(ctx context.Context, name, password string) (Caller, error)
	// Keep names manifests that are needed without a tag; nil is none.
	Keep func(ctx context.Context) (map[digest.Digest]bool, error)
	// Limit is how many bytes one owner may have; 0 is no limit. Owner is the
	// start of a repository's name that says whose it is; nil is all of it.
	Limit int64
	Owner func(repository string) string
	// Reserve is how many bytes of the disk pushes leave alone. Defaults to 1 GiB.
	Reserve int64
	Log     *slog.Logger
	Now     func() time.Time
}

// Registry serves below /v2/.
type Registry struct {
	c      Config
	app    *handlers.App
	driver driver.StorageDriver
	names  distribution.Namespace

	// manifests is held for reading by requests that change what is referred
	// to, and for writing by a collection.
	manifests sync.RWMutex
	leases    leases
	room      room
}

// idle is how long a client may leave an upload without a byte.
const idle = 2 * time.Minute

// controllerName is that of our rules in the library's list.
const controllerName = "daytona"

func init() {
	// The library finds rules by name.
	if err := auth.Register(controllerName, func(options map[string]any) (auth.AccessController, error) {
		c, ok := options["controller"].(auth.AccessController)
		if !ok {
			return nil, errors.New("no controller")
		}
		return c, nil
	}); err != nil {
		panic(err) // a name that is taken
	}
}

// quiet keeps the library from writing to standard error; it has no other
// logger than the process's.
var quiet = sync.OnceFunc(func() { logrus.SetOutput(io.Discard) })

// New returns a registry.
func New(c Config) (r *Registry, err error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Reserve == 0 {
		c.Reserve = 1 << 30
	}
	quiet()
	defer func() {
		if caught := recover(); caught != nil { // how the library reports errors here
			r, err = nil, fmt.Errorf("the registry could not be opened: %v", caught)
		}
	}()
	r = &Registry{c: c, driver: filesystem.New(filesystem.DriverParameters{RootDirectory: c.Dir, MaxThreads: 100})}
	r.leases.started = c.Now()
	config := &configuration.Configuration{
		Version: "0.1",
		Storage: configuration.Storage{
			"filesystem":  {"rootdirectory": c.Dir},
			"delete":      {"enabled": true},
			"redirect":    {"disable": true},
			"maintenance": {"uploadpurging": map[any]any{"enabled": false}}, // see Collect
		},
		Auth: configuration.Auth{controllerName: {"controller": (*rules)(r)}},
	}
	config.HTTP.Secret = hex.EncodeToString(c.Key)
	config.HTTP.RelativeURLs = true // whatever name a client knows the server by
	config.Catalog.MaxEntries = 1000
	// Layers that may not be handed on are named by where they lie.
	config.Validation.Manifests.URLs.Allow = []string{"^https://"}
	r.app = handlers.NewApp(context.Background(), config)
	if r.names, err = storage.NewRegistry(context.Background(), r.driver, storage.EnableDelete); err != nil {
		return nil, err
	}
	return r, nil
}

// Close ends what the library has running.
func (r *Registry) Close() error { return r.app.Shutdown() }

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if strings.Contains(req.URL.Path, "sha512:") || strings.Contains(req.URL.RawQuery, "sha512") {
		// The library would keep such content under another digest, by which
		// nothing refers to it.
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"errors":[{"code":"DIGEST_INVALID","message":"this registry takes sha256 digests alone"}]}`)
		return
	}
	r.lease(req)
	w, done := r.bounded(w, req)
	defer done()
	if req.Body != nil {
		req.Body = patience.Body(w, req, idle)
	}
	if changesManifests(req) {
		r.manifests.RLock()
		defer r.manifests.RUnlock()
	}
	r.app.ServeHTTP(w, req)
}

// changesManifests: what a manifest refers to must not be swept away between the
// look whether it is there and the write of the manifest.
func changesManifests(req *http.Request) bool {
	return (req.Method == http.MethodPut || req.Method == http.MethodDelete) && strings.Contains(req.URL.Path, "/manifests/")
}

// rules are the library's view of who may what.
type rules Registry

// Authorized implements auth.AccessController.
func (r *rules) Authorized(req *http.Request, wanted ...auth.Access) (*auth.Grant, error) {
	name, password, ok := req.BasicAuth()
	if !ok {
		return nil, challenge{errors.New("no credentials")}
	}
	caller, err := r.c.Authenticate(req.Context(), name, password)
	if err != nil {
		if !fault.Is(err, fault.Unauthenticated) && !fault.Is(err, fault.Forbidden) {
			r.c.Log.WarnContext(req.Context(), "the registry cannot tell who is calling", "error", err)
		}
		return nil, challenge{err}
	}
	for _, w := range wanted {
		if w.Type != "repository" || !caller.May(Action(w.Action), w.Name) {
			return nil, challenge{fmt.Errorf("%s of %s %s is not allowed", w.Action, w.Type, w.Name)}
		}
	}
	return &auth.Grant{User: auth.UserInfo{Name: name}}, nil
}

// challenge is a refusal. It looks the same for repositories that exist and
// those that do not.
type challenge struct{ error }

// SetHeaders implements auth.Challenge.
func (challenge) SetHeaders(_ *http.Request, w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="Daytona registry"`)
}

// Untag removes a tag, or with a digest a manifest; the next collection removes
// what nothing refers to any more. What is not there is no error.
func (r *Registry) Untag(ctx context.Context, repository, tagOrDigest string) error {
	named, err := reference.WithName(repository)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "%q is not the name of a repository", repository)
	}
	r.manifests.RLock()
	defer r.manifests.RUnlock()
	repo, err := r.names.Repository(ctx, named)
	if err != nil {
		return err
	}
	if d, err := digest.Parse(tagOrDigest); err == nil {
		manifests, err := repo.Manifests(ctx)
		if err != nil {
			return err
		}
		return ignoreUnknown(manifests.Delete(ctx, d))
	}
	return ignoreUnknown(repo.Tags(ctx).Untag(ctx, tagOrDigest))
}

// Tag is a name for a manifest in a repository.
type Tag struct {
	Repository, Name string
	Digest           digest.Digest
	Pushed           time.Time // when it was last pointed at something
}

// Tags lists every tag.
func (r *Registry) Tags(ctx context.Context) ([]Tag, error) {
	repositories, err := r.repositories(ctx)
	if err != nil {
		return nil, err
	}
	var out []Tag
	for _, name := range repositories {
		named, err := reference.WithName(name)
		if err != nil {
			return nil, err
		}
		repo, err := r.names.Repository(ctx, named)
		if err != nil {
			return nil, err
		}
		tags := repo.Tags(ctx)
		all, err := tags.All(ctx)
		if ignoreUnknown(err) != nil {
			return nil, err
		}
		for _, tag := range all {
			d, err := tags.Get(ctx, tag)
			info, serr := r.driver.Stat(ctx, "/docker/registry/v2/repositories/"+name+"/_manifests/tags/"+tag+"/current/link")
			switch {
			case unknown(err), unknown(serr): // it was just removed
			case err != nil, serr != nil:
				return nil, errors.Join(err, serr)
			default:
				out = append(out, Tag{Repository: name, Name: tag, Digest: d.Digest, Pushed: info.ModTime()})
			}
		}
	}
	return out, nil
}

// Spoken says whether a client spoke of content within the time for which such
// content stays.
func (r *Registry) Spoken(d digest.Digest) bool { return r.leased(d, r.c.Now().Add(-Grace)) }

// repositories lists the names of all repositories.
func (r *Registry) repositories(ctx context.Context) ([]string, error) {
	lister, ok := r.names.(distribution.RepositoryEnumerator)
	if !ok {
		return nil, errors.New("the registry cannot list its repositories")
	}
	var names []string
	err := lister.Enumerate(ctx, func(name string) error { names = append(names, name); return nil })
	return names, ignoreUnknown(err)
}

func ignoreUnknown(err error) error {
	if unknown(err) {
		return nil
	}
	return err
}

func unknown(err error) bool {
	var path driver.PathNotFoundError
	var repo distribution.ErrRepositoryUnknown
	var tag distribution.ErrTagUnknown
	var revision distribution.ErrManifestUnknownRevision
	return errors.As(err, &path) || errors.As(err, &repo) || errors.As(err, &tag) || errors.As(err, &revision) ||
		errors.Is(err, distribution.ErrBlobUnknown)
}
