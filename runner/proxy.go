package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// ServeToolbox forwards a request to the toolbox of a running sandbox.
func (r *Runner) ServeToolbox(w http.ResponseWriter, req *http.Request, id string) {
	l, err := r.linkOf(id)
	if err != nil {
		r.toolboxError(w, req, id, err)
		return
	}
	if !r.own(w, req, id) {
		r.forward(w, req, id, l)
	}
}

func (r *Runner) forward(w http.ResponseWriter, req *http.Request, id string, l *link) {
	// Without it net/http reads and closes the request's body before it sends
	// the first byte of the answer. The transport, which looks once more for
	// the body's end, would find it closed and give up the connection in the
	// middle of the answer. Writers that cannot (of HTTP/2) need not.
	_ = http.NewResponseController(w).EnableFullDuplex()
	proxy := httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { rewrite(p, l.token) },
		Transport:     watched{l, r.probes},
		FlushInterval: -1, // every byte as it comes: logs and sockets
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) {
			r.toolboxError(w, req, id, r.whyUnreachable(id, err))
		},
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(w, req)
}

// errNotRunning is said of a sandbox that exists but has no toolbox.
var errNotRunning = fault.New(fault.Invalid, "Sandbox is not running").WithCode("SANDBOX_NOT_RUNNING")

// linkOf returns the way to the toolbox of a running sandbox.
func (r *Runner) linkOf(id string) (*link, error) {
	sb, err := r.entry(id, false)
	if err != nil {
		return nil, err
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	switch {
	case sb.rec.Phase == "" || sb.rec.hidden():
		return nil, errUnknown(id)
	case sb.rec.Phase != phaseRunning || sb.link == nil:
		return nil, errNotRunning
	}
	return sb.link, nil
}

// whyUnreachable explains a request that failed on its way.
func (r *Runner) whyUnreachable(id string, err error) error {
	if sb, ierr := r.Inspect(context.Background(), id); ierr == nil && sb.State != runnerapi.StateRunning {
		if sb.End != nil {
			return fault.Wrap(err, fault.Unavailable, "the sandbox ended during the request (%s)", sb.End.Cause)
		}
		return fault.Wrap(err, fault.Unavailable, "the sandbox ended during the request")
	}
	if errors.Is(err, errSilent) {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "the sandbox's toolbox cannot be reached")
}

// Credentials of ours, which must not reach what runs in a sandbox.
const (
	previewHeader = "X-Daytona-Preview-Token"
	previewQuery  = "DAYTONA_SANDBOX_AUTH_KEY"
	cookiePrefix  = "daytona-"
)

// rewrite turns a caller's request into one to the toolbox.
func rewrite(p *httputil.ProxyRequest, token string) {
	p.Out.URL.Scheme = "http"
	p.Out.URL.Host = "toolbox"
	p.Out.Host = "toolbox"
	stripCredentials(p.Out)
	// Many hops may be in front of us; the toolbox sees what they saw.
	for _, h := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := p.In.Header.Values(h); len(v) > 0 {
			p.Out.Header[h] = v
		}
	}
	otel.GetTextMapPropagator().Inject(p.Out.Context(), propagation.HeaderCarrier(p.Out.Header))
	p.Out.Header.Set(tokenHeader, token)
	p.Out.Header.Set(forwardedHeader, "1")
}

// stripCredentials takes out everything by which a caller proves who they are.
func stripCredentials(req *http.Request) {
	req.Header.Del("Authorization")
	req.Header.Del("Proxy-Authorization")
	req.Header.Del(previewHeader)
	if lines := req.Header.Values("Cookie"); len(lines) > 0 {
		var keep []string
		for _, line := range lines {
			for c := range strings.SplitSeq(line, ";") {
				c = strings.TrimSpace(c)
				if c != "" && !strings.HasPrefix(strings.ToLower(c), cookiePrefix) {
					keep = append(keep, c)
				}
			}
		}
		req.Header.Del("Cookie")
		if len(keep) > 0 {
			req.Header.Set("Cookie", strings.Join(keep, "; "))
		}
	}
	if strings.Contains(req.URL.RawQuery, previewQuery) {
		// Pair by pair, so that the rest stays as it was written.
		var keep []string
		for pair := range strings.SplitSeq(req.URL.RawQuery, "&") {
			if name, _, _ := strings.Cut(pair, "="); name != previewQuery {
				keep = append(keep, pair)
			}
		}
		req.URL.RawQuery = strings.Join(keep, "&")
	}
}

// toolboxError answers in the shape of the toolbox's own errors.
func (r *Runner) toolboxError(w http.ResponseWriter, req *http.Request, id string, err error) {
	if req.Context().Err() != nil {
		return // nobody listens any more
	}
	status, text := http.StatusBadGateway, "the sandbox's toolbox cannot be reached"
	code := ""
	var f *fault.Error
	if errors.As(err, &f) {
		text, code = f.Text, f.Code
		switch f.Kind {
		case fault.NotFound:
			status = http.StatusNotFound
		case fault.Invalid:
			status = http.StatusBadRequest
		case fault.Unavailable:
			status = http.StatusBadGateway
		}
	}
	if errors.Is(err, errClosed) {
		status = http.StatusServiceUnavailable
	}
	if status >= 500 {
		r.log.Warn("a request did not reach its sandbox", "sandbox", id, "path", req.URL.Path, "request", req.Header.Get("X-Request-Id"), "error", err)
	}
	body, merr := json.Marshal(map[string]any{
		"statusCode": status,
		"message":    text,
		"error":      http.StatusText(status),
		"code":       or(code, strings.ToUpper(strings.ReplaceAll(http.StatusText(status), " ", "_"))),
		"source":     "DAYTONA_PROXY",
		"timestamp":  time.Now().UTC().Format(time.RFC3339Nano),
		"path":       req.URL.Path,
		"method":     req.Method,
	})
	if merr != nil {
		body = fmt.Appendf(nil, `{"statusCode":%d}`, status)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone when this fails
}
