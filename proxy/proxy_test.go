package proxy_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"daytona/controlplane/auth"
	"daytona/controlplane/controlplanetest"
)

func TestWhoMaySeeAPreview(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, echo)
	mine, open := w.box(nil), w.box(map[string]any{"public": true})
	_, foreign := w.Tenant(t, "bob", auth.WriteSandboxes)
	reader := w.KeyFor(t, "daytona-admin", w.org(), auth.ReadAuditLogs)
	unknown := "00000000-0000-4000-8000-000000000000"
	token, bearer := "X-Daytona-Preview-Token: ", "Authorization: Bearer "
	for _, tt := range []struct {
		name    string
		host    string
		target  string
		headers []string
		status  int
	}{
		{"nothing shown", mine.host(3000), "/", nil, 401},
		{"token in the header", mine.host(3000), "/", []string{token + mine.token}, 200},
		{"token in the query", mine.host(3000), "/?DAYTONA_SANDBOX_AUTH_KEY=" + mine.token, nil, 200},
		{"token in the query, its name escaped", mine.host(3000), "/?%44AYTONA_SANDBOX_AUTH_KEY=" + mine.token, nil, 200},
		{"another sandbox's token", mine.host(3000), "/", []string{token + open.token}, 401},
		{"a wrong token", mine.host(3000), "/", []string{token + strings.Repeat("a", 32)}, 401},
		{"an empty token", mine.host(3000), "/", []string{token}, 401},
		{"a key of the organization", mine.host(3000), "/", []string{bearer + w.Key}, 200},
		{"a key that may only read", mine.host(3000), "/", []string{bearer + reader}, 200},
		{"a wrong key", mine.host(3000), "/", []string{bearer + "dtn_nonsense"}, 401},
		{"a wrong key and the right token", mine.host(3000), "/", []string{bearer + "a.program.own", token + mine.token}, 200},
		{"another organization's key", mine.host(3000), "/", []string{bearer + foreign}, 404},
		{"another organization's key and the right token", mine.host(3000), "/", []string{bearer + foreign, token + mine.token}, 200},
		{"the key, another organization named", mine.host(3000), "/", []string{bearer + w.Key, "X-Daytona-Organization-ID: bob-org"}, 404},
		{"a made-up cookie", mine.host(3000), "/", []string{"Cookie: daytona-sandbox-auth-" + mine.id + "=e30.AAAA"}, 401},
		{"public", open.host(3000), "/", nil, 200},
		{"public, the terminal", open.host(22222), "/", nil, 401},
		{"public, the toolbox", open.host(2280), "/version", nil, 401},
		{"the toolbox with a key that may only read", mine.host(2280), "/version", []string{bearer + reader}, 403},
		{"the toolbox with the token", mine.host(2280), "/version", []string{token + mine.token}, 200},
		{"unknown, nothing shown", w.Previews.Host(3000, unknown), "/", nil, 401},
		{"unknown, with a key", w.Previews.Host(3000, unknown), "/", []string{bearer + w.Key}, 404},
		{"no port", "proxy.localhost", "/", nil, 404},
		{"port 0", "0-" + mine.id + ".proxy.localhost", "/", nil, 404},
		{"a port too large", "65536-" + mine.id + ".proxy.localhost", "/", nil, 404},
		{"health", "proxy.localhost", "/health", nil, 200},
		{"by path", w.address, "/preview/" + mine.id + "/3000/", []string{token + mine.token}, 200},
		{"by path, nothing shown", w.address, "/preview/" + mine.id + "/3000/", nil, 401},
		{"by path, public", w.address, "/preview/" + open.id + "/3000/", nil, 200},
		{"by path, no port", w.address, "/preview/" + open.id + "/x/", nil, 404},
		{"nobody listens", open.host(3001), "/", nil, 502},
	} {
		if got := w.get(tt.host, tt.target, tt.headers...); got.status != tt.status {
			t.Errorf("%s: status %d, want %d: %s", tt.name, got.status, tt.status, got.body)
		}
	}
	// Who has shown nothing cannot tell what exists.
	a, b := w.get(mine.host(3000), "/"), w.get(w.Previews.Host(3000, unknown), "/")
	if cut := func(s string) string { before, _, _ := strings.Cut(s, `"timestamp"`); return before }; cut(a.body) != cut(b.body) {
		t.Errorf("%s differs from %s", a.body, b.body)
	}
	a, b = w.get(mine.host(3000), "/", bearer+foreign), w.get(w.Previews.Host(3000, unknown), "/", bearer+foreign)
	if cut := func(s string) string { before, _, _ := strings.Cut(s, `"timestamp"`); return before }; cut(a.body) != cut(b.body) {
		t.Errorf("%s differs from %s", a.body, b.body)
	}
	w.get(open.host(3001), "/").has(t, 502, "PORT_NOT_LISTENING", "3000")
}

func (w *world) org() string {
	w.t.Helper()
	var list []map[string]any
	w.Do(w.t, controlplanetest.Request{Path: "/api/organizations", Key: w.Key}).JSON(w.t, &list)
	return list[0]["id"].(string)
}

func TestTokensEndWithTheSandbox(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, echo)
	b := w.box(nil)
	old := "X-Daytona-Preview-Token: " + b.token
	w.get(b.host(3000), "/", old).has(t, 200)
	b.post("/stop")
	w.get(b.host(3000), "/", old).has(t, 401)
	b.refresh()
	w.get(b.host(3000), "/", "X-Daytona-Preview-Token: "+b.token).has(t, 503, "SANDBOX_NOT_STARTED", "stopped")
	b.post("/start")
	w.get(b.host(3000), "/", old).has(t, 401)
	w.get(b.host(3000), "/", "X-Daytona-Preview-Token: "+b.token).has(t, 200) // that which was given out meanwhile
	b.post("/public/true")
	w.get(b.host(3000), "/").has(t, 200)
	b.post("/public/false")
	w.get(b.host(3000), "/").has(t, 401)
}

func TestForwarding(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, echo)
	w.listen(3003, func(rw http.ResponseWriter, r *http.Request) { // bytes in, their sum and the bytes out
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(rw, "%d %x", n, sum.Sum(nil))
	})
	w.listen(3004, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(rw, "data: %d\n\n", i)
			_ = http.NewResponseController(rw).Flush()
			if i == 0 {
				<-r.Context().Done() // only once the first event has come
				return
			}
		}
	})
	b := w.box(map[string]any{"public": true})
	t.Run("request", func(t *testing.T) {
		got := w.send("PATCH", b.host(3000), "/a%2Fb/../c?x=%20y&z", "body")
		got.has(t, 200, "PATCH /a%2Fb/../c?x=%20y&z HTTP/1.1", "Host: localhost:3000\n", "\n\nbody")
	})
	t.Run("large upload", func(t *testing.T) {
		sum := sha256.New()
		body := io.TeeReader(io.LimitReader(rand.Reader, 64<<20), sum)
		res, err := w.roundTrip("POST", b.host(3003), "/", body)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if want := fmt.Sprintf("%d %x", 64<<20, sum.Sum(nil)); err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	})
	t.Run("events come at once", func(t *testing.T) {
		res, err := w.roundTrip("GET", b.host(3004), "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(res.Body).ReadString('\n')
		if err != nil || line != "data: 0\n" {
			t.Errorf("%q, %v", line, err)
		}
		res.Body.Close()
	})
}

func TestWebSocket(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "http://localhost:3000" {
			t.Errorf("origin %q", r.Header.Get("Origin"))
		}
		conn, err := websocket.Accept(rw, r, nil) // which compares the origin with the host
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		conn.SetReadLimit(1 << 24)
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if conn.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	})
	b := w.box(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	origin := "http://" + b.host(3000)
	conn, _, err := websocket.Dial(ctx, "ws://"+w.address+"/ws", &websocket.DialOptions{ //nolint:bodyclose // Dial has read it
		Host: b.host(3000), HTTPHeader: http.Header{"X-Daytona-Preview-Token": {b.token}, "Origin": {origin}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 24)
	for _, n := range []int{0, 1, 125, 126, 70_000, 1 << 20} {
		want := strings.Repeat("x", n)
		if err := conn.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(ctx); err != nil || string(got) != want {
			t.Fatalf("%d bytes: %d came, %v", n, len(got), err)
		}
	}
	b.post("/stop") // ends what is open
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the socket outlived its sandbox: %v", err)
	}
}
