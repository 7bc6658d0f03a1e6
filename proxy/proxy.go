// Package proxy lets browsers and programs reach what listens in sandboxes: HTTP
// of every kind at {port}-{sandbox}.{domain}, and a terminal.
//
// It knows who may only from the control plane (proxyapi), and has no state that
// another proxy would miss.
package proxy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/proxyapi"
	"daytona/internal/fault"
	"daytona/proxy/activity"
)

// Config is what a Proxy needs.
type Config struct {
	Plane    proxyapi.ControlPlane
	Template proxyapi.Template
	Log      *slog.Logger
	Metrics  prometheus.Registerer // nil is nowhere
	Version  string
	// Warning shows browsers a page before the first preview, which says that
	// what comes is somebody's program.
	Warning bool
	// IdleAfter is how long an open connection without data counts as activity.
	// Defaults to 15 minutes.
	IdleAfter time.Duration
	// WakeWithin is how long a request waits for a sandbox that it woke.
	// Defaults to a minute.
	WakeWithin time.Duration
	// Trusted are the proxies in front of this one, whose word on whom they act
	// for is taken.
	Trusted []netip.Prefix
}

// Proxy serves previews.
type Proxy struct {
	Config
	log        *slog.Logger
	forward    *forwarder
	terminal   *terminal
	recordings *recordings
	met        *metrics
}

// New returns a Proxy.
func New(c Config) *Proxy {
	c.IdleAfter = cmp.Or(c.IdleAfter, 15*time.Minute)
	c.WakeWithin = cmp.Or(c.WakeWithin, time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{Config: c, log: c.Log, met: newMetrics(c.Metrics)}
	p.forward = newForwarder(p)
	p.terminal = &terminal{p}
	p.recordings = &recordings{p}
	return p
}

// target is what a request is for.
type target struct {
	port int
	ref  string // a sandbox's id, or the token of a signed link
	// prefix is what precedes the program's own path; "" unless the request came
	// by path.
	prefix string
	origin string // under which the browser knows it, "" unless it has one of its own
}

// Or returns a handler that serves previews itself and leaves the rest to next.
func (p *Proxy) Or(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.serve(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// ServeHTTP serves previews, and nothing else but /health.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.serve(w, r) {
		return
	}
	if r.URL.Path == "/health" {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": p.Version})
		return
	}
	p.fail(w, r, fault.New(fault.NotFound, "not found: previews are at addresses like %s", p.Template.URL(3000, "<sandbox id>")))
}

// serve reports whether the request is for a preview.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) bool {
	port, ref, ours := p.Template.Match(r.Host)
	if ours {
		if port == 0 && r.URL.Path == "/health" {
			writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": p.Version})
			return true
		}
		p.preview(w, r, target{port: port, ref: ref, origin: p.Template.Scheme() + "://" + strings.ToLower(p.Template.Host(port, ref))})
		return true
	}
	if !strings.HasPrefix(r.URL.Path, proxyapi.PathPrefix) {
		return false
	}
	port, ref, rest, ours := proxyapi.MatchPath(r.URL.EscapedPath())
	if !ours {
		return false
	}
	if port != 0 && rest == "" {
		rest = "/"
	}
	t := target{port: port, ref: ref}
	if port != 0 {
		t.prefix = strings.TrimSuffix(r.URL.EscapedPath(), rest)
		if !strings.HasSuffix(r.URL.EscapedPath(), rest) {
			// Relative addresses in the page start from here.
			http.Redirect(w, r, r.URL.EscapedPath()+"/"+query(r.URL), http.StatusPermanentRedirect)
			return true
		}
		plain, err := url.PathUnescape(rest)
		if err != nil {
			p.fail(w, r, fault.New(fault.Invalid, "the path is malformed"))
			return true
		}
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = plain, rest
	}
	p.preview(w, r, t)
	return true
}

func query(u *url.URL) string {
	if u.RawQuery == "" {
		return ""
	}
	return "?" + u.RawQuery
}

// preview answers a request for a port.
func (p *Proxy) preview(w http.ResponseWriter, r *http.Request, t target) {
	done := p.met.begin()
	defer func() { done() }()
	err := p.admitAndServe(w, r, t)
	if err != nil {
		p.fail(w, r, err)
	}
}

func (p *Proxy) admitAndServe(w http.ResponseWriter, r *http.Request, t target) error {
	switch {
	case t.port == 0:
		return fault.New(fault.NotFound, "not found: previews are at addresses like %s", p.Template.URL(3000, "<sandbox id>"))
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return fault.New(fault.Invalid, "%s is not possible here", r.Method)
	case p.ownRoute(w, r, t):
		return nil
	}
	shown := p.shown(r, t)
	pass, err := p.Plane.Admit(r.Context(), proxyapi.Ask{Ref: t.ref, Port: t.port, With: shown})
	if err != nil {
		switch {
		case preflight(r):
			answerPreflight(w, r)
			return nil
		case fault.Is(err, fault.Unauthenticated) && t.origin != "" && navigates(r):
			p.toSignIn(w, r, t)
			return nil
		}
		return err
	}
	if pass.State != proxyapi.Started {
		if pass, err = p.wake(r.Context(), t, shown, pass); err != nil {
			return err
		}
	}
	switch {
	case pass.By == proxyapi.ByQuery && t.origin != "" && navigates(r) && r.Method == http.MethodGet:
		return p.keepQuery(w, r, t, shown)
	case p.warn(w, r, t):
		return nil
	}
	var meter *activity.Meter
	if r.Header.Get(headerSkipActivity) != "true" {
		m, stop := activity.Watch(func() { p.Plane.Touch(pass.SandboxID) }, p.IdleAfter)
		defer stop()
		meter = m
	}
	switch t.port {
	case proxyapi.TerminalPort:
		p.terminal.serve(w, r, t, pass, meter)
	case proxyapi.RecordingsPort:
		p.recordings.serve(w, r, t, pass, meter)
	default:
		p.forward.serve(w, r, t, pass, meter)
	}
	return nil
}

// wake starts a sandbox whose owner wants that, and is an error for any other
// that does not run.
func (p *Proxy) wake(ctx context.Context, t target, shown proxyapi.Credentials, pass proxyapi.Pass) (proxyapi.Pass, error) {
	under := pass.State == "starting" || pass.State == "creating" || pass.State == "pulling_snapshot"
	if !pass.AutoWake || !pass.Startable && !under {
		return pass, errNotStarted(pass)
	}
	ctx, cancel := context.WithTimeout(ctx, p.WakeWithin)
	defer cancel()
	p.met.wakes.Inc()
	if err := p.Plane.Wake(ctx, pass.SandboxID); err != nil {
		return pass, err
	}
	woken, err := p.Plane.Admit(ctx, proxyapi.Ask{Ref: t.ref, Port: t.port, With: shown})
	if err != nil {
		return woken, err
	}
	if woken.State != proxyapi.Started {
		return woken, errNotStarted(woken)
	}
	p.awaitPort(ctx, woken.SandboxID, t.port)
	return woken, nil
}

// awaitPort gives the program in a sandbox that has just been started the time to
// listen. Who comes first learns what there is to say when it does not.
func (p *Proxy) awaitPort(ctx context.Context, sandboxID string, port int) {
	if proxyapi.Guarded(port) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, listenWithin)
	defer cancel()
	for {
		conn, err := p.Plane.DialPort(ctx, sandboxID, port)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenPause):
		}
	}
}

const (
	listenWithin = 15 * time.Second
	listenPause  = 200 * time.Millisecond
)

// Codes of errors, beside those of statuses.
const codeNotStarted = "SANDBOX_NOT_STARTED"

func errNotStarted(pass proxyapi.Pass) error {
	text := "The sandbox is not running: it is " + strings.ReplaceAll(pass.State, "_", " ")
	if pass.Why != "" {
		text += " (" + pass.Why + ")"
	}
	text += "."
	if pass.Startable {
		text += " Start it and try again."
	}
	return fault.New(fault.Unavailable, "%s", text).WithCode(codeNotStarted)
}

// statusOf is the one table from kinds of fault to HTTP statuses.
func statusOf(err error) int {
	switch fault.KindOf(err) {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound, fault.Gone:
		return http.StatusNotFound
	case fault.Conflict, fault.Unprocessable, fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Timeout:
		return http.StatusGatewayTimeout
	case fault.TooMany:
		return http.StatusTooManyRequests
	case fault.Upstream:
		return http.StatusBadGateway
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}
