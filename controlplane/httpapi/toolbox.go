package httpapi

import (
	"bufio"
	"context"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/felixge/httpsnoop"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"daytona/api"
	"daytona/controlplane/auth"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

const (
	// headerToolboxPath tells the toolbox on which of the two paths a request
	// came: some routes and shapes differ.
	headerToolboxPath  = "X-Daytona-Toolbox-Path"
	headerSkipActivity = "X-Daytona-Skip-Last-Activity-Update"
	headerPreviewToken = "X-Daytona-Preview-Token"
	queryPreviewToken  = "DAYTONA_SANDBOX_AUTH_KEY"

	// toolboxPort is the port at which clients believe the toolbox to be.
	toolboxPort = 2280

	// activeEvery is how often a long request counts as activity.
	activeEvery = 50 * time.Second
)

// splitToolbox takes {prefix}{sandboxId}{middle}/{rest} apart. rest starts with
// a slash and is still escaped.
func splitToolbox(path, prefix, middle string) (id, rest string, ok bool) {
	tail, ok := strings.CutPrefix(path, prefix)
	if !ok {
		return "", "", false
	}
	id, rest, _ = strings.Cut(tail, "/")
	rest, ok = strings.CutPrefix("/"+rest, middle)
	if rest == "" {
		rest = "/"
	}
	return id, rest, ok && id != "" && strings.HasPrefix(rest, "/")
}

// toolboxByAPI serves the path of the first era, and of the CLI.
func (a *API) toolboxByAPI(w http.ResponseWriter, r *http.Request, id, rest string) {
	c, err := a.authenticate(r)
	if err == nil {
		err = c.Require(auth.WriteSandboxes)
	}
	if err == nil {
		err = a.toolbox(w, r, c.OrgID, id, rest, "api")
	}
	if err == nil {
		return
	}
	// A request that is passed on answers for a sandbox that is not started
	// in a shape of its own; process/execute, which the API used to carry out
	// itself, answers like any other route.
	if f, ok := asFault(err); ok && f.Code == codeNotStarted && rest != "/process/execute" {
		infoOf(r).err = err
		writeJSON(w, http.StatusBadRequest, rawException(f.Text))
		return
	}
	a.fail(w, r, err)
}

// toolboxByProxy serves the path of the present era.
func (a *API) toolboxByProxy(w http.ResponseWriter, r *http.Request, id, rest string) {
	orgID, err := a.proxyAccess(r, id)
	if err == nil {
		err = a.toolbox(w, r, orgID, id, rest, "proxy")
	}
	if err != nil {
		a.failAs(w, r, err, api.SourceProxy)
	}
}

// proxyAccess finds out for which organization a request on the proxy path is
// made: by a bearer token, or by the sandbox's preview token in a header or the
// query, which is then removed.
func (a *API) proxyAccess(r *http.Request, id string) (orgID string, err error) {
	token := r.Header.Get(headerPreviewToken)
	if query := r.URL.Query(); query.Has(queryPreviewToken) {
		if token == "" {
			token = query.Get(queryPreviewToken)
		}
		query.Del(queryPreviewToken)
		r.URL.RawQuery = query.Encode()
	}
	if r.Header.Get("Authorization") != "" {
		c, err := a.authenticate(r)
		if err == nil {
			return c.OrgID, c.Require(auth.WriteSandboxes)
		}
		if token == "" || !fault.Is(err, fault.Unauthenticated) && !fault.Is(err, fault.TooMany) {
			return "", proxyRefusal(err)
		}
	}
	infoOf(r).limited = nil
	if token == "" {
		return "", fault.New(fault.Unauthenticated,
			"missing authentication: provide a bearer token in the Authorization header or a preview token in %s", headerPreviewToken).WithCode("UNAUTHORIZED")
	}
	sb, err := a.Sandbox(r.Context(), id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return "", err
	}
	if err != nil || !same(sb.PreviewToken, token) {
		return "", proxyRefusal(fault.New(fault.Unauthenticated, "Invalid preview token"))
	}
	infoOf(r).orgID = sb.OrgID
	return sb.OrgID, nil
}

// same compares secrets; none is the same as nothing.
func same(secret, given string) bool {
	return secret != "" && subtle.ConstantTimeCompare([]byte(secret), []byte(given)) == 1
}

// proxyRefusal gives failed authentication the words and code of the proxy.
func proxyRefusal(err error) error {
	if f, ok := asFault(err); ok && f.Kind == fault.Unauthenticated {
		return fault.New(fault.Unauthenticated, "authentication failed: %s", f.Text).WithCode("UNAUTHORIZED")
	}
	return err
}

const codeNotStarted = "SANDBOX_NOT_STARTED"

// toolbox passes a request on to the toolbox of a sandbox and counts it as
// activity while it lasts.
func (a *API) toolbox(w http.ResponseWriter, r *http.Request, orgID, id, rest, by string) error {
	name, err := url.PathUnescape(id)
	if err != nil {
		return fault.New(fault.Invalid, "the path is malformed")
	}
	plain, err := url.PathUnescape(rest)
	if err != nil {
		return fault.New(fault.Invalid, "the path is malformed")
	}
	sb, runner, err := a.Sandboxes.ToolboxTarget(r.Context(), orgID, name)
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "Sandbox with ID %s not found", printable(name))
	}
	if err != nil {
		return err
	}
	infoOf(r).sandboxID = sb.ID
	if sb.Met() != sandbox.Started {
		return fault.New(fault.Invalid, "Sandbox is not running").WithCode(codeNotStarted)
	}
	if r.Header.Get(headerSkipActivity) != "true" {
		defer a.keepActive(sb.ID)()
	}
	out := r.Clone(r.Context())
	out.URL.Path, out.URL.RawPath = plain, ""
	if plain != rest {
		out.URL.RawPath = rest
	}
	for _, h := range []string{"Authorization", headerPreviewToken, headerOrganization, headerSkipActivity, "Cookie"} {
		out.Header.Del(h)
	}
	out.Header.Set(headerToolboxPath, by)
	out.Header.Set(headerRequestID, infoOf(r).requestID)
	otel.GetTextMapPropagator().Inject(r.Context(), propagation.HeaderCarrier(out.Header))
	runner.ServeToolbox(guard(w), out, sb.ID)
	return nil
}

// guard keeps what a sandbox answers from acting on the origin of the API: its
// programs are not ours. A page from a sandbox gets no scripts, and headers that
// tell a browser about the origin are dropped.
func guard(w http.ResponseWriter) http.ResponseWriter {
	h := w.Header()
	ours := map[string][]string{}
	for name, values := range h {
		ours[name] = values
	}
	clean := func() {
		for name := range h {
			if strings.HasPrefix(name, "Access-Control-") {
				h.Del(name)
			}
		}
		for _, name := range []string{"Set-Cookie", "Clear-Site-Data", "Strict-Transport-Security", "Www-Authenticate", "Alt-Svc", "Service-Worker-Allowed"} {
			h.Del(name)
		}
		for name, values := range ours {
			h[name] = values
		}
		h.Set("Content-Security-Policy", "sandbox")
		h.Set("X-Content-Type-Options", "nosniff")
	}
	sent := false
	return httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(f httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(code int) {
				if !sent {
					clean()
					sent = code >= 200
				}
				f(code)
			}
		},
		Write: func(f httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(b []byte) (int, error) {
				if !sent {
					clean()
					sent = true
				}
				return f(b)
			}
		},
		Hijack: func(f httpsnoop.HijackFunc) httpsnoop.HijackFunc {
			return func() (net.Conn, *bufio.ReadWriter, error) {
				if !sent {
					clean()
					sent = true
				}
				return f()
			}
		},
	})
}

// keepActive counts a request as activity now and every so often until the
// function it returns is called.
func (a *API) keepActive(id string) (stop func()) {
	// Activity does not end with the request's context: it is what happened.
	ctx := context.Background()
	a.Sandboxes.Touch(ctx, id)
	var mu sync.Mutex
	stopped := false
	var timer *time.Timer
	mu.Lock()
	timer = time.AfterFunc(activeEvery, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			a.Sandboxes.Touch(ctx, id)
			timer.Reset(activeEvery)
		}
	})
	mu.Unlock()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// rawException is the body with which passed-on requests are answered for a
// sandbox that is not started. Old clients know this shape.
func rawException(text string) map[string]any {
	return map[string]any{
		"response": map[string]any{"message": text, "error": "Bad Request", "statusCode": http.StatusBadRequest},
		"status":   http.StatusBadRequest,
		"options":  map[string]any{},
		"message":  text,
		"name":     "BadRequestException",
	}
}
