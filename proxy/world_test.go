package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/controlplane/controlplanetest"
	"daytona/proxy"
)

// world is a whole control plane with a proxy in front of it, over sandboxes
// whose ports are listeners of the test.
type world struct {
	*controlplanetest.Server
	t       *testing.T
	address string // of the listener
	proxy   *proxy.Proxy
}

func newWorld(t *testing.T, change func(*proxy.Config)) *world {
	t.Helper()
	s := controlplanetest.New(t)
	c := proxy.Config{Plane: s.Plane.Gate, Template: s.Previews, Metrics: prometheus.NewRegistry(), Version: "test", Warning: true}
	if strings.HasPrefix(t.Name(), "TestElsewhere/") {
		c.Plane = elsewhere(t, s)
	}
	if change != nil {
		change(&c)
	}
	w := &world{Server: s, t: t, address: strings.TrimPrefix(s.URL, "http://"), proxy: proxy.New(c)}
	s.Front(w.proxy.Or(s.Plane.Handler()))
	return w
}

// box is a sandbox.
type box struct {
	w         *world
	id, token string
}

func (w *world) box(body map[string]any) box {
	w.t.Helper()
	if body == nil {
		body = map[string]any{}
	}
	res := w.Do(w.t, controlplanetest.Request{Method: "POST", Path: "/api/sandbox", Key: w.Key, Body: body})
	if res.Status != 200 {
		w.t.Fatalf("create: %d %s", res.Status, res.Body)
	}
	b := box{w: w, id: res.Object(w.t)["id"].(string)}
	b.refresh()
	return b
}

// refresh asks for the preview token of the moment.
func (b *box) refresh() {
	b.w.t.Helper()
	res := b.w.Do(b.w.t, controlplanetest.Request{Path: "/api/sandbox/" + b.id + "/ports/3000/preview-url", Key: b.w.Key})
	b.token, _ = res.Object(b.w.t)["token"].(string)
	if len(b.token) != 32 {
		b.w.t.Fatalf("preview-url: %d %s", res.Status, res.Body)
	}
}

func (b box) post(path string) {
	b.w.t.Helper()
	if res := b.w.Do(b.w.t, controlplanetest.Request{Method: "POST", Path: "/api/sandbox/" + b.id + path, Key: b.w.Key}); res.Status > 299 {
		b.w.t.Fatalf("%s: %d %s", path, res.Status, res.Body)
	}
}

func (b box) host(port int) string { return b.w.Previews.Host(port, b.id) }

// listen has a handler answer a port of every sandbox.
func (w *world) listen(port int, h http.HandlerFunc) {
	w.t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	w.t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	w.Runner.SetPort(port, server.Listener.Addr().String())
}

// echo answers with the request as it came.
func echo(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s\nHost: %s\n", r.Method, r.URL.RequestURI(), r.Proto, r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			fmt.Fprintf(w, "%s: %s\n", name, v)
		}
	}
	fmt.Fprintln(w)
	_, _ = io.Copy(w, r.Body)
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) has(t *testing.T, status int, parts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
		return
	}
	for _, part := range parts {
		if !strings.Contains(a.body, part) {
			t.Errorf("%q is not in %q", part, a.body)
		}
	}
}

func (a answer) lacks(t *testing.T, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(strings.ToLower(a.body), strings.ToLower(part)) {
			t.Errorf("%q is in %q", part, a.body)
		}
	}
}

// get sends a request to a host, whose name need not resolve. Headers are given
// as "Name: value".
func (w *world) get(host, target string, headers ...string) answer {
	w.t.Helper()
	return w.send("GET", host, target, "", headers...)
}

func (w *world) send(method, host, target, body string, headers ...string) answer {
	w.t.Helper()
	res, err := w.roundTrip(method, host, target, strings.NewReader(body), headers...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(data)}
}

func (w *world) roundTrip(method, host, target string, body io.Reader, headers ...string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	w.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, "http://"+w.address, body)
	if err != nil {
		return nil, err
	}
	if req.URL, err = url.Parse("http://" + w.address + target); err != nil {
		return nil, err
	}
	req.Host = host
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	return http.DefaultTransport.RoundTrip(req)
}

// raw sends bytes and returns everything that comes until the other side closes.
func (w *world) raw(text string) string {
	w.t.Helper()
	conn, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		return ""
	}
	data, _ := io.ReadAll(bufio.NewReader(conn))
	return string(data)
}

const browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)"
