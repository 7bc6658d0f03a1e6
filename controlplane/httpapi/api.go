package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/proxyapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/fleet"
	"daytona/controlplane/gate"
	"daytona/controlplane/grant"
	"daytona/controlplane/org"
	"daytona/controlplane/registry"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/snapshot"
	"daytona/controlplane/upload"
	"daytona/controlplane/warmpool"
)

// Config is what an API needs. Every member is required unless it says so.
type Config struct {
	Auth       *auth.Service
	Orgs       *org.Service
	Snapshots  *snapshot.Service
	Registries *registry.Service
	WarmPools  *warmpool.Service
	Regions    *fleet.Regions
	Sandboxes  *sandbox.Manager
	Log        *slog.Logger
	// Metrics is where request metrics are registered and what /metrics shows.
	Metrics *prometheus.Registry
	// Sandbox returns a sandbox by id, whoever owns it. Preview tokens are
	// compared with what it returns.
	Sandbox func(ctx context.Context, id string) (sandbox.Sandbox, error)
	// Uploads gives credentials for object storage, which it serves; nil is none.
	Uploads *upload.Service
	// Checks are what readiness depends on, by name.
	Checks map[string]Check
	// Version of the server, shown in every answer.
	Version string
	// PublicURL is the origin at which clients reach the server, such as
	// http://127.0.0.1:3986, without a path.
	PublicURL *url.URL
	// Previews says where the ports of sandboxes can be reached.
	Previews proxyapi.Template
	Gate     *gate.Gate
	Grants   *grant.Service
	// SSH is where people log in to sandboxes; a Port of 0 is nowhere.
	SSH SSHAddress
	// Rates say how often the API may be called; the zero value is as often as
	// anybody likes.
	Rates RateLimits
	// TrustedProxies stand in front of the server; their word on whom they act
	// for is taken.
	TrustedProxies []netip.Prefix
}

// Check says whether a dependency works; nil is yes. The text of a fault is
// shown to everybody, its cause is not.
type Check func(ctx context.Context) error

// API serves the public interface.
type API struct {
	Config
	log     *slog.Logger
	metrics *metrics
	rates   *rates
	mux     *http.ServeMux
	handler http.Handler
}

// New returns an API.
func New(c Config) *API {
	a := &API{Config: c, log: c.Log, mux: http.NewServeMux(), metrics: newMetrics(c.Metrics), rates: newRates(c.Rates, c.Orgs.Any)}
	for _, rt := range routes() {
		a.mux.Handle(rt.method+" "+basePath+rt.path, a.serve(rt))
	}
	a.mux.HandleFunc(basePath+"/", func(w http.ResponseWriter, r *http.Request) { a.fail(w, r, errNoRoute(r)) })
	a.handler = a.middleware(http.HandlerFunc(a.dispatch))
	return a
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// basePath is where every route of routes.go lives.
const basePath = "/api"

// dispatch finds who answers a request: the toolbox of a sandbox, a route, or
// one of the few pages beside the API.
func (a *API) dispatch(w http.ResponseWriter, r *http.Request) {
	if a.Uploads != nil && upload.Serves(r.URL.Path) { // before paths are made tidy: these are signed
		infoOf(r).route = "/" + upload.BucketName + "/*"
		a.Uploads.Handler().ServeHTTP(w, r)
		return
	}
	if a.Uploads != nil && upload.ServesRegistry(r.URL.Path) {
		infoOf(r).route = "/v2/*"
		a.Uploads.RegistryHandler().ServeHTTP(w, r)
		return
	}
	path := collapse(r.URL.EscapedPath())
	if id, rest, ok := splitToolbox(path, basePath+"/toolbox/", "/toolbox"); ok {
		infoOf(r).route = basePath + "/toolbox/{sandboxId}/toolbox/*"
		a.toolboxByAPI(w, r, id, rest)
		return
	}
	if id, rest, ok := splitToolbox(path, "/toolbox/", ""); ok {
		infoOf(r).route = "/toolbox/{sandboxId}/*"
		a.toolboxByProxy(w, r, id, rest)
		return
	}
	path = strings.TrimRight(path, "/")
	switch {
	case path == basePath+"-json", path == basePath+"/openapi.json":
		infoOf(r).route = path
		a.only(w, r, a.openapiJSON)
	case path == basePath+"/openapi.yaml":
		infoOf(r).route = path
		a.only(w, r, a.openapiYAML)
	case path == basePath:
		infoOf(r).route = path
		a.only(w, r, a.docsPage)
	case path == "/metrics":
		infoOf(r).route = path
		a.only(w, r, a.metrics.serve)
	case path == "/health":
		infoOf(r).route = path
		a.only(w, r, a.live)
	case path == "":
		infoOf(r).route = "/"
		a.only(w, r, a.frontPage)
	case path == SignInPath:
		infoOf(r).route = path
		a.signIn(w, r)
	case path == eventsPath:
		infoOf(r).route = path
		a.only(w, r, a.refuseEvents)
	case strings.HasPrefix(path, basePath+"/"):
		a.serveRoute(w, r, path)
	default:
		a.fail(w, r, errNoRoute(r))
	}
}

// serveRoute hands a request to the route of its normalised, still escaped path.
// Names may contain escaped slashes, which the mux leaves inside a segment.
func (a *API) serveRoute(w http.ResponseWriter, r *http.Request, path string) {
	plain, err := url.PathUnescape(path)
	if err != nil || hasDots(path) {
		a.fail(w, r, errNoRoute(r))
		return
	}
	r.URL.Path, r.URL.RawPath = plain, path
	a.mux.ServeHTTP(w, r)
}

// collapse replaces runs of slashes at the start of a path's segments. Some
// people configure the API's address with a slash at its end.
func collapse(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// hasDots: "." and ".." segments are never part of a route.
func hasDots(path string) bool {
	for _, segment := range strings.Split(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// only refuses methods other than GET and HEAD.
func (a *API) only(w http.ResponseWriter, r *http.Request, h http.HandlerFunc) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		a.fail(w, r, errNoRoute(r))
		return
	}
	h(w, r)
}

// Server timeouts. There is none on writing or on reading a body: toolbox
// streams last as long as they last.
const (
	ReadHeaderTimeout = 10 * time.Second
	IdleTimeout       = 2 * time.Minute
	MaxHeaderBytes    = 64 << 10
)
