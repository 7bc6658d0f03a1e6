package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/felixge/httpsnoop"
	"github.com/google/uuid"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"daytona/internal/fault"
)

// info is what is learnt about a request while it is served. It belongs to the
// goroutine that serves it.
type info struct {
	requestID string
	uri       string // as it was asked for
	route     string // template of the route, "" for an unknown path
	orgID     string
	userID    string
	sandboxID string
	err       error
	limited   *limited // the rate limit that it ran into, or nil
}

type infoKey struct{}

// infoOf returns the info of a request that passed the middleware.
func infoOf(r *http.Request) *info {
	if i, ok := r.Context().Value(infoKey{}).(*info); ok {
		return i
	}
	return &info{uri: r.URL.RequestURI()}
}

func (i *info) attrs(r *http.Request) []slog.Attr {
	route := i.route
	if route == "" {
		route = "unmatched"
	}
	attrs := []slog.Attr{
		slog.String("request_id", i.requestID),
		slog.String("method", r.Method),
		slog.String("route", route),
	}
	for _, a := range []struct{ key, value string }{
		{"org_id", i.orgID}, {"user_id", i.userID}, {"sandbox_id", i.sandboxID},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	if span := trace.SpanContextFromContext(r.Context()); span.IsValid() {
		attrs = append(attrs, slog.String("trace_id", span.TraceID().String()))
	}
	return attrs
}

const (
	headerRequestID  = "X-Request-Id"
	headerAPIVersion = "X-Daytona-Api-Version"
)

// middleware is what happens around every request: an id, a span, CORS, the
// access log, the metrics, and a net under panics.
func (a *API) middleware(next http.Handler) http.Handler {
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := &info{requestID: requestID(r), uri: r.URL.RequestURI()}
		r = r.WithContext(context.WithValue(r.Context(), infoKey{}, i))
		h := w.Header()
		h.Set(headerRequestID, i.requestID)
		h.Set(headerAPIVersion, a.Version)

		status, written, start := http.StatusOK, int64(0), time.Now()
		headerSent := false
		w = httpsnoop.Wrap(w, httpsnoop.Hooks{
			WriteHeader: func(f httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
				return func(code int) {
					if !headerSent && (code >= 200 || code == http.StatusSwitchingProtocols) {
						status, headerSent = code, true
					}
					f(code)
				}
			},
			Write: func(f httpsnoop.WriteFunc) httpsnoop.WriteFunc {
				return func(b []byte) (int, error) {
					headerSent = true
					n, err := f(b)
					written += int64(n)
					return n, err
				}
			},
			ReadFrom: func(f httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
				return func(src io.Reader) (int64, error) {
					headerSent = true
					n, err := f(src)
					written += n
					return n, err
				}
			},
			Hijack: func(f httpsnoop.HijackFunc) httpsnoop.HijackFunc {
				return func() (net.Conn, *bufio.ReadWriter, error) {
					if !headerSent {
						status, headerSent = http.StatusSwitchingProtocols, true
					}
					return f()
				}
			},
		})
		done := a.metrics.begin()
		defer func() {
			if caught := recover(); caught != nil {
				if err, ok := caught.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					done(i.route, r.Method, statusClientClosed, time.Since(start))
					panic(caught)
				}
				err := fmt.Errorf("panic: %v\n%s", caught, debug.Stack())
				if headerSent {
					i.err, status = err, http.StatusInternalServerError
					a.log.LogAttrs(r.Context(), slog.LevelError, "request failed", append(i.attrs(r), slog.Any("error", err))...)
				} else {
					a.fail(w, r, err)
				}
			}
			took := time.Since(start)
			done(i.route, r.Method, status, took)
			a.access(r, i, status, written, took)
		}()
		if a.cors(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
	return otelhttp.NewHandler(inner, "daytona", otelhttp.WithSpanNameFormatter(
		func(_ string, r *http.Request) string { return r.Method }))
}

// access writes one line a request, after it.
func (a *API) access(r *http.Request, i *info, status int, written int64, took time.Duration) {
	span := trace.SpanFromContext(r.Context())
	if i.route != "" {
		span.SetName(r.Method + " " + i.route)
		span.SetAttributes(attribute.String("http.route", i.route))
	}
	span.SetAttributes(attribute.String("daytona.request_id", i.requestID))
	if i.sandboxID != "" {
		span.SetAttributes(attribute.String("daytona.sandbox_id", i.sandboxID))
	}
	attrs := append(i.attrs(r),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.Int64("bytes", written))
	if i.err != nil && status < 500 {
		attrs = append(attrs, slog.String("error_kind", string(fault.KindOf(i.err))))
	}
	level := slog.LevelInfo
	if i.route == "/metrics" || i.route == "/health" || i.route == basePath+"/health" || i.route == basePath+"/health/ready" {
		level = slog.LevelDebug // probes call every few seconds
	}
	a.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// requestID takes the caller's id if it is harmless, else makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get(headerRequestID)
	if len(id) > 0 && len(id) <= 128 && onlyIDChars(id) {
		return id
	}
	return uuid.NewString()
}

func onlyIDChars(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}

// exposedRates are the names of headers about limits that pages may read.
var exposedRates = func() string {
	var b strings.Builder
	for _, name := range []string{rateAuthenticated, rateCreate, rateLifecycle, rateList} {
		for _, what := range []string{"X-RateLimit-Limit-", "X-RateLimit-Remaining-", "X-RateLimit-Reset-"} {
			b.WriteString(", " + what + name)
		}
	}
	return b.String()
}()

// corsMaxAge is how long a browser may remember the answer to a preflight.
const corsMaxAge = 10 * time.Minute

// cors lets pages of any origin call, with credentials: a caller shows a bearer
// token, never a cookie, so a page can do nothing that its user's key cannot.
// It reports whether it answered the request.
func (a *API) cors(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	if origin := r.Header.Get("Origin"); origin != "" && r.Header.Get("X-Daytona-Disable-CORS") != "true" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", headerRequestID+", "+headerAPIVersion+", Content-Disposition, Content-Length, Retry-After"+exposedRates)
		h.Add("Vary", "Origin")
	}
	if r.Method != http.MethodOptions {
		return false
	}
	h.Set("Allow", allMethods)
	if r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", allMethods)
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			h.Set("Access-Control-Allow-Headers", asked)
			h.Add("Vary", "Access-Control-Request-Headers")
		}
		h.Set("Access-Control-Max-Age", strconv.Itoa(int(corsMaxAge.Seconds())))
	}
	infoOf(r).route = "*"
	w.WriteHeader(http.StatusNoContent)
	return true
}

const allMethods = "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"
