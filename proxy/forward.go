package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"daytona/api/proxyapi"
	"daytona/internal/clientip"
	"daytona/internal/fault"
	"daytona/proxy/activity"
)

// forwarder passes requests on to ports of sandboxes, over connections that it
// keeps for the next request.
type forwarder struct {
	proxy   *Proxy
	plain   *http.Transport // HTTP/1.1
	h2c     *http.Transport // HTTP/2 without TLS, for gRPC
	reverse httputil.ReverseProxy
}

// maxResponseHeader bounds the head of a program's answer.
const maxResponseHeader = 256 << 10

func newForwarder(p *Proxy) *forwarder {
	f := &forwarder{proxy: p}
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		id, port, err := parseAddress(address)
		if err != nil {
			return nil, err
		}
		return p.Plane.DialPort(ctx, id, port)
	}
	transport := func() *http.Transport {
		return &http.Transport{
			DialContext:            dial,
			DisableCompression:     true, // bytes pass as they are
			MaxIdleConns:           4096,
			MaxIdleConnsPerHost:    256,
			IdleConnTimeout:        time.Minute,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: maxResponseHeader,
			WriteBufferSize:        32 << 10,
			ReadBufferSize:         32 << 10,
			Protocols:              new(http.Protocols),
		}
	}
	f.plain, f.h2c = transport(), transport()
	f.plain.Protocols.SetHTTP1(true)
	f.h2c.Protocols.SetUnencryptedHTTP2(true)
	f.reverse = httputil.ReverseProxy{
		Rewrite:        f.rewrite,
		Transport:      f,
		FlushInterval:  -1, // every byte as it comes: events and sockets
		BufferPool:     buffers{},
		ModifyResponse: f.modify,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			p.fail(w, r, explain(err))
		},
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	return f
}

// trip is what is known of a request on its way.
type trip struct {
	target
	pass  proxyapi.Pass
	in    *http.Request
	meter *activity.Meter // nil when it does not count as activity
}

type tripKey struct{}

func tripOf(r *http.Request) *trip { return r.Context().Value(tripKey{}).(*trip) }

// serve passes a request on. What goes wrong is answered.
func (f *forwarder) serve(w http.ResponseWriter, r *http.Request, t target, pass proxyapi.Pass, meter *activity.Meter) {
	// Without it net/http reads and closes the request's body before it sends
	// the first byte of the answer. Writers of HTTP/2 need not.
	_ = http.NewResponseController(w).EnableFullDuplex()
	tr := &trip{target: t, pass: pass, in: r, meter: meter}
	f.reverse.ServeHTTP(prompt{w}, r.WithContext(context.WithValue(r.Context(), tripKey{}, tr)))
}

// prompt sends the head of an answer of unknown length at once: its body may come
// much later. Of a head that only precedes the answer it passes the hints, since
// nobody has looked at the rest of it.
type prompt struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w prompt) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		h := w.Header()
		for name := range h {
			if name != "Link" {
				delete(h, name)
			}
		}
	}
	w.ResponseWriter.WriteHeader(status)
	if status >= 200 && w.Header().Get("Content-Length") == "" {
		_ = http.NewResponseController(w.ResponseWriter).Flush() // the client has gone when this fails
	}
}

// Unwrap gives http.ResponseController the connection.
func (w prompt) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// address is what a connection is kept under: the run of the sandbox, so that
// none of an earlier run is used, its id, and the port.
func address(pass proxyapi.Pass, port int) string {
	return fmt.Sprintf("%s.%s:%d", pass.Generation, pass.SandboxID, port)
}

func parseAddress(text string) (id string, port int, err error) {
	host, number, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, err
	}
	_, id, _ = strings.Cut(host, ".")
	port, err = strconv.Atoi(number)
	return id, port, err
}

func (f *forwarder) rewrite(p *httputil.ProxyRequest) {
	t := tripOf(p.In)
	out := p.Out
	out.URL.Scheme = "http"
	out.URL.Host = address(t.pass, t.port)
	// Programs for development answer to the name localhost alone.
	out.Host = "localhost:" + strconv.Itoa(t.port)
	out.URL.RawQuery = p.In.URL.RawQuery // also what Go would not parse
	strip(out, t.pass.By)
	f.proxy.setForwarded(p, t)
	if upgrades(p.In) && strings.EqualFold(p.In.Header.Get("Origin"), t.origin) && t.origin != "" {
		// A program that checks where a socket was opened compares with its own name.
		out.Header.Set("Origin", "http://"+out.Host)
	}
	if _, ok := p.In.Header["User-Agent"]; !ok {
		out.Header.Set("User-Agent", "") // not Go's
	}
	if t.meter != nil && out.Body != nil && out.Body != http.NoBody {
		out.Body = t.meter.Body(out.Body)
	}
}

// onBehalf are the headers, beside X-Forwarded-*, by which proxies tell programs
// whom and what a request is for, and Proxy, which CGI programs take for the proxy
// that they are to use.
var onBehalf = map[string]bool{
	"Forwarded": true, "Via": true, "Proxy": true, "X-Real-Ip": true, "X-Client-Ip": true, "X-Cluster-Client-Ip": true,
	"X-Original-Host": true, "X-Original-Url": true, "X-Original-Forwarded-For": true, "X-Rewrite-Url": true,
	"True-Client-Ip": true, "Cf-Connecting-Ip": true, "Fastly-Client-Ip": true,
}

// asRead is the canonical name of a header as programs may read it: WSGI, CGI and
// their kin do not tell X_Forwarded_For from X-Forwarded-For.
func asRead(name string) string {
	if !strings.Contains(name, "_") {
		return name
	}
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// setForwarded says whom the request is made for. What the caller says of that is
// dropped, unless the caller is a proxy that the operator trusts.
func (p *Proxy) setForwarded(pr *httputil.ProxyRequest, t *trip) {
	h := pr.Out.Header
	client, proto, host := p.client(pr.In)
	for name := range h {
		if read := asRead(name); strings.HasPrefix(read, "X-Forwarded-") || onBehalf[read] {
			delete(h, name)
		}
	}
	h.Set("X-Forwarded-For", client)
	h.Set("X-Real-Ip", client)
	h.Set("X-Forwarded-Proto", proto)
	h.Set("X-Forwarded-Host", host)
	if _, port, err := net.SplitHostPort(host); err == nil {
		h.Set("X-Forwarded-Port", port)
	}
	if t.prefix != "" {
		h.Set("X-Forwarded-Prefix", t.prefix)
	}
}

// client is who asks, by which protocol and for which host.
func (p *Proxy) client(r *http.Request) (address, proto, host string) {
	address = clientip.Of(r, p.Trusted)
	proto, host = "http", r.Host
	if r.TLS != nil {
		proto = "https"
	}
	if remote, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !clientip.Trusts(remote, p.Trusted) {
		return address, proto, host
	}
	if said := r.Header.Get("X-Forwarded-Proto"); said == "http" || said == "https" {
		proto = said
	}
	return address, proto, host
}

// RoundTrip implements http.RoundTripper: by which protocol a port is asked.
func (f *forwarder) RoundTrip(r *http.Request) (*http.Response, error) {
	t := tripOf(r)
	var res *http.Response
	var err error
	switch {
	case t.port == proxyapi.ToolboxPort:
		r.Header.Set("X-Daytona-Toolbox-Path", "proxy")
		for _, name := range []string{"X-Daytona-Sdk-Version", "X-Daytona-Source"} {
			if v := t.in.Header.Get(name); v != "" {
				r.Header.Set(name, v)
			}
		}
		res, err = f.proxy.Plane.RoundTripToolbox(r, t.pass.SandboxID)
	case isGRPC(r):
		res, err = f.h2c.RoundTrip(r)
	default:
		res, err = f.plain.RoundTrip(r)
	}
	if err == nil && t.meter != nil {
		res.Body = t.meter.Answer(res)
	}
	return res, err
}

func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") &&
		!strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc-web")
}

func upgrades(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" && strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Connection"), ",")), "upgrade")
}

// explain says in a person's words why a request did not get through.
func explain(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fault.Wrap(err, fault.Upstream, "The program in the sandbox broke off the connection, or its answer is not HTTP")
}

// buffers are those with which bodies are copied.
type buffers struct{}

const bufferSize = 64 << 10

var bufferPool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Get implements httputil.BufferPool.
func (buffers) Get() []byte { return bufferPool.Get().(*[bufferSize]byte)[:] }

// Put implements httputil.BufferPool.
func (buffers) Put(b []byte) { bufferPool.Put((*[bufferSize]byte)(b[:bufferSize])) }
