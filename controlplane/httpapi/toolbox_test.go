package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
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

// seen is what the toolbox got.
type seen struct {
	Method, Path, RawPath, Query string
	Header                       http.Header
	Body                         string
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Set-Cookie", "session=stolen")
	w.Header().Set("Access-Control-Allow-Origin", "https://evil.example")
	w.Header().Set("X-Request-Id", "from-inside")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(seen{r.Method, r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.Header, string(body)})
}

func TestToolboxPaths(t *testing.T) {
	s := controlplanetest.New(t)
	s.Runner.Toolbox = http.HandlerFunc(echo)
	id := create(t, s, object{"name": "box"})["id"].(string)
	for _, tt := range []struct{ name, path, by, want, raw, query string }{
		{"old", "/api/toolbox/" + id + "/toolbox/files/info?path=%2Ftmp%20x&a=1&a=2", "api", "/files/info", "", "path=%2Ftmp%20x&a=1&a=2"},
		{"old with slashes", "/api//toolbox/" + id + "//toolbox/files/", "api", "/files/", "", ""},
		{"old root", "/api/toolbox/" + id + "/toolbox", "api", "/", "", ""},
		{"new", "/toolbox/" + id + "/process/session/a%2Fb", "proxy", "/process/session/a/b", "/process/session/a%2Fb", ""},
		{"new by name", "/toolbox/box/x", "proxy", "/x", "", ""},
		{"dots are the toolbox's business", "/toolbox/box/files/%2e%2e/x", "proxy", "/files/../x", "/files/%2e%2e/x", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := s.Do(t, request{Method: "POST", Path: tt.path, Key: s.Key, Body: "payload", Header: map[string]string{
				"X-Daytona-Source": "sdk-python", "Cookie": "a=b", "X-Daytona-Toolbox-Path": "forged", "Origin": "https://app.example",
				"X-Daytona-Preview-Token": "t", "X-Daytona-SDK-Version": "0.190.0",
				"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			}})
			var got seen
			res.JSON(t, &got)
			if res.Status != 202 || got.Path != tt.want || got.RawPath != tt.raw || got.Query != tt.query || got.Body != "payload" {
				t.Errorf("%d %s", res.Status, res.Body)
			}
			h := got.Header
			if h.Get("X-Daytona-Toolbox-Path") != tt.by || h.Get("Authorization") != "" || h.Get("Cookie") != "" || h.Get("X-Daytona-Preview-Token") != "" {
				t.Errorf("headers inside: %v", h)
			}
			if h.Get("X-Daytona-Source") != "sdk-python" || h.Get("X-Daytona-Sdk-Version") != "0.190.0" || h.Get("X-Request-Id") != res.Header.Get("X-Request-Id") {
				t.Errorf("headers inside: %v", h)
			}
			if !strings.Contains(h.Get("Traceparent"), "0af7651916cd43dd8448eb211c80319c") {
				t.Errorf("the trace ends at %q", h.Get("Traceparent"))
			}
			if len(res.Header.Values("X-Request-Id")) != 1 || res.Header.Get("Set-Cookie") != "" || res.Header.Get("Access-Control-Allow-Origin") != "https://app.example" ||
				res.Header.Get("Content-Security-Policy") != "sandbox" || res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("headers outside: %v", res.Header)
			}
		})
	}
}

func TestToolboxAccess(t *testing.T) {
	s := controlplanetest.New(t)
	sb := create(t, s, nil)
	id := sb["id"].(string)
	token := s.Do(t, request{Path: "/api/sandbox/" + id + "/ports/1/preview-url", Key: s.Key}).Object(t)["token"].(string)
	_, stranger := s.Tenant(t, "stranger", auth.Permissions()...)
	reader := s.KeyFor(t, auth.AdminID, sb["organizationId"].(string), auth.ReadVolumes)
	other := create(t, s, nil)["id"].(string)
	old, neu := "/api/toolbox/%s/toolbox/x", "/toolbox/%s/x"
	for _, tt := range []struct {
		name, path, key, header string
		status                  int
		source, words           string
	}{
		{"old, no key", fmt.Sprintf(old, id), "", "", 401, "DAYTONA_API", "Missing credentials"},
		{"old, wrong key", fmt.Sprintf(old, id), "x", "", 401, "DAYTONA_API", ""},
		{"old, no permission", fmt.Sprintf(old, id), reader, "", 403, "DAYTONA_API", "write:sandboxes"},
		{"old, stranger", fmt.Sprintf(old, id), stranger, "", 404, "DAYTONA_API", "Sandbox with ID " + id + " not found"},
		{"old, unknown", fmt.Sprintf(old, "nope"), s.Key, "", 404, "DAYTONA_API", "Sandbox with ID nope not found"},
		{"old, preview token does not count", fmt.Sprintf(old, id), "", token, 401, "DAYTONA_API", ""},
		{"new, no key", fmt.Sprintf(neu, id), "", "", 401, "DAYTONA_PROXY", "missing authentication: "},
		{"new, wrong key", fmt.Sprintf(neu, id), "x", "", 401, "DAYTONA_PROXY", "authentication failed: "},
		{"new, no permission", fmt.Sprintf(neu, id), reader, "", 403, "DAYTONA_PROXY", "write:sandboxes"},
		{"new, stranger", fmt.Sprintf(neu, id), stranger, "", 404, "DAYTONA_PROXY", ""},
		{"new, wrong token", fmt.Sprintf(neu, id), "", "wrong", 401, "DAYTONA_PROXY", "authentication failed: "},
		{"new, another sandbox's token", fmt.Sprintf(neu, other), "", token, 401, "DAYTONA_PROXY", ""},
		{"new, token of an unknown sandbox", fmt.Sprintf(neu, "nope"), "", token, 401, "DAYTONA_PROXY", ""},
		{"new, wrong token in query", fmt.Sprintf(neu, id) + "?DAYTONA_SANDBOX_AUTH_KEY=no", "", "", 401, "DAYTONA_PROXY", ""},
		{"new, token", fmt.Sprintf(neu, id), "", token, 200, "", "/x"},
		{"new, token in query", fmt.Sprintf(neu, id) + "?DAYTONA_SANDBOX_AUTH_KEY=" + token, "", "", 200, "", "/x"},
		{"new, token beside a wrong key", fmt.Sprintf(neu, id), "x", token, 200, "", "/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := request{Path: tt.path, Key: tt.key}
			if tt.header != "" {
				q.Header = map[string]string{"X-Daytona-Preview-Token": tt.header}
			}
			res := s.Do(t, q)
			if res.Status != tt.status || !strings.Contains(string(res.Body), tt.words) {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
			if tt.status < 400 {
				return
			}
			e := res.Object(t)
			if e["source"] != tt.source || e["statusCode"] != float64(tt.status) {
				t.Errorf("%s", res.Body)
			}
			if tt.status == 401 && e["code"] != "UNAUTHORIZED" {
				t.Errorf("code %s", e["code"])
			}
		})
	}
}

func TestToolboxOfAStoppedSandbox(t *testing.T) {
	s := controlplanetest.New(t)
	id := create(t, s, nil)["id"].(string)
	s.Do(t, request{Method: "POST", Path: "/api/sandbox/" + id + "/stop", Key: s.Key})
	raw := s.Do(t, request{Path: "/api/toolbox/" + id + "/toolbox/files?path=.", Key: s.Key})
	got := raw.Object(t)
	if _, top := got["statusCode"]; raw.Status != 400 || top || got["status"] != 400.0 || got["name"] != "BadRequestException" ||
		got["response"].(object)["statusCode"] != 400.0 || got["message"] != "Sandbox is not running" {
		t.Errorf("%d %s", raw.Status, raw.Body)
	}
	exec := s.Do(t, request{Method: "POST", Path: "/api/toolbox/" + id + "/toolbox/process/execute", Key: s.Key, Body: "{}"})
	if exec.Status != 400 || exec.Object(t)["message"] != "Sandbox is not running" {
		t.Errorf("%d %s", exec.Status, exec.Body)
	}
	checkError(t, exec, "/api/toolbox/"+id+"/toolbox/process/execute")
	proxy := s.Do(t, request{Path: "/toolbox/" + id + "/files", Key: s.Key})
	if proxy.Status != 400 || proxy.Object(t)["source"] != "DAYTONA_PROXY" {
		t.Errorf("%d %s", proxy.Status, proxy.Body)
	}
}

func TestToolboxCountsAsActivity(t *testing.T) {
	s := controlplanetest.New(t)
	id := create(t, s, nil)["id"].(string)
	active := func() string {
		return s.Do(t, request{Path: "/api/sandbox/" + id, Key: s.Key}).Object(t)["lastActivityAt"].(string)
	}
	before := active()
	s.Do(t, request{Path: "/toolbox/" + id + "/x", Key: s.Key, Header: map[string]string{"X-Daytona-Skip-Last-Activity-Update": "true"}})
	if after := active(); after != before {
		t.Errorf("a request that was not to count moved %s to %s", before, after)
	}
	for _, path := range []string{"/toolbox/" + id + "/x", "/api/toolbox/" + id + "/toolbox/x"} {
		before = active()
		s.Advance(time.Minute)
		s.Do(t, request{Path: path, Key: s.Key})
		if after := active(); after <= before {
			t.Errorf("%s: activity stays at %s", path, after)
		}
	}
}

// TestToolboxStreams: bytes come through one by one, in both directions, before
// either side is done.
func TestToolboxStreams(t *testing.T) {
	s := controlplanetest.New(t)
	s.Runner.Toolbox = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(w, "got %s", line)
			_ = rc.Flush()
		}
	})
	id := create(t, s, nil)["id"].(string)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	body, send := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/toolbox/"+id+"/stream", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Key)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answers := bufio.NewReader(res.Body)
	for i := range 3 {
		if _, err := fmt.Fprintf(send, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
		if got, err := answers.ReadString('\n'); err != nil || got != fmt.Sprintf("got line %d\n", i) {
			t.Fatalf("%q %v", got, err)
		}
	}
	if err := send.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
}

func TestToolboxWebSocket(t *testing.T) {
	s := controlplanetest.New(t)
	s.Runner.Toolbox = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: r.Header.Values("Sec-WebSocket-Protocol"), InsecureSkipVerify: true})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		kind, data, err := c.Read(r.Context())
		if err == nil {
			err = c.Write(r.Context(), kind, append([]byte("echo "), data...))
		}
		if err == nil {
			err = c.Close(websocket.StatusNormalClosure, "done")
		}
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	id := create(t, s, nil)["id"].(string)
	token := s.Do(t, request{Path: "/api/sandbox/" + id + "/ports/1/preview-url", Key: s.Key}).Object(t)["token"].(string)
	bearer := http.Header{"Authorization": {"Bearer " + s.Key}}
	for name, dial := range map[string]struct {
		path   string
		header http.Header
	}{
		"old path":           {"/api/toolbox/" + id + "/toolbox/process/pty", bearer},
		"new path":           {"/toolbox/" + id + "/process/pty/x/connect", bearer},
		"token in the query": {"/toolbox/" + id + "/process/pty/x/connect?DAYTONA_SANDBOX_AUTH_KEY=" + token, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			c, res, err := websocket.Dial(ctx, strings.Replace(s.URL, "http", "ws", 1)+dial.path, &websocket.DialOptions{
				HTTPHeader: dial.header, Subprotocols: []string{"X-Daytona-SDK-Version~0.218.0"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if res.Body != nil {
				defer res.Body.Close()
			}
			defer func() { _ = c.CloseNow() }() // the other side has closed it
			if c.Subprotocol() != "X-Daytona-SDK-Version~0.218.0" {
				t.Errorf("sub-protocol %q", c.Subprotocol())
			}
			if err := c.Write(ctx, websocket.MessageText, []byte("hi")); err != nil {
				t.Fatal(err)
			}
			if _, data, err := c.Read(ctx); err != nil || string(data) != "echo hi" {
				t.Errorf("%q %v", data, err)
			}
			if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Errorf("closed with %v", err)
			}
		})
	}
}

func TestAPanicIsA500(t *testing.T) {
	s := controlplanetest.New(t)
	s.Runner.Toolbox = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("private detail") })
	id := create(t, s, nil)["id"].(string)
	res := s.Do(t, request{Path: "/toolbox/" + id + "/x", Key: s.Key})
	e := res.Object(t)
	if res.Status != 500 || e["message"] != "Internal server error" || strings.Contains(string(res.Body), "private") {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if log := s.Log.String(); !strings.Contains(log, "private detail") || !strings.Contains(log, e["requestId"].(string)) {
		t.Errorf("the log lacks the cause")
	}
}

// Clients stream logs through the preview of the toolbox's port: its address
// leads to the toolbox, by its token and by nothing else.
func TestToolboxPreview(t *testing.T) {
	s := controlplanetest.New(t)
	s.Runner.Toolbox = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Daytona-Preview-Token") != "" || strings.Contains(r.URL.RawQuery, "AUTH_KEY") {
			t.Error("the token reaches the sandbox")
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // not a WebSocket: it has been answered
		}
		if err := c.Write(r.Context(), websocket.MessageBinary, []byte(r.URL.Path+"?"+r.URL.RawQuery)); err != nil {
			t.Errorf("write: %v", err)
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
	})
	id := create(t, s, nil)["id"].(string)
	other := create(t, s, nil)["id"].(string)
	preview := func(id string) (url, token string) {
		o := s.Do(t, request{Path: "/api/sandbox/" + id + "/ports/2280/preview-url", Key: s.Key}).Object(t)
		return o["url"].(string), o["token"].(string)
	}
	address, token := preview(id)
	_, foreign := preview(other)
	if !strings.HasSuffix(address, "/toolbox/"+id) || len(token) != 32 || token == foreign {
		t.Fatalf("%s %s %s", address, token, foreign)
	}
	_, path, _ := strings.Cut(address, "//")
	_, path, _ = strings.Cut(path, "/")
	target := s.URL + "/" + path + "/process/session/s/command/c/logs?follow=true"
	for name, test := range map[string]struct {
		query, token string
		ok           bool
	}{
		"header":         {"", token, true},
		"query":          {"&DAYTONA_SANDBOX_AUTH_KEY=" + token, "", true},
		"none":           {"", "", false},
		"wrong":          {"", token[:31] + "_", false},
		"another's":      {"", foreign, false},
		"wrong in query": {"&DAYTONA_SANDBOX_AUTH_KEY=" + foreign, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			h := http.Header{}
			if test.token != "" {
				h.Set("X-Daytona-Preview-Token", test.token)
			}
			c, res, err := websocket.Dial(ctx, strings.Replace(target, "http", "ws", 1)+test.query, &websocket.DialOptions{HTTPHeader: h})
			if !test.ok {
				if err == nil || res.StatusCode != 401 {
					t.Errorf("%v %v", res, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.Body != nil {
				defer res.Body.Close()
			}
			defer func() { _ = c.CloseNow() }() // the other side has closed it
			if _, data, err := c.Read(ctx); err != nil || string(data) != "/process/session/s/command/c/logs?follow=true" {
				t.Errorf("%q %v", data, err)
			}
		})
	}
	// The token opens the toolbox of its sandbox and nothing of the API.
	for _, path := range []string{"/api/sandbox/" + id, "/api/sandbox", "/api/toolbox/" + id + "/toolbox/version", "/toolbox/" + other + "/version"} {
		if res := s.Do(t, request{Path: path, Header: map[string]string{"X-Daytona-Preview-Token": token}}); res.Status != 401 {
			t.Errorf("%s: %d", path, res.Status)
		}
		if res := s.Do(t, request{Path: path, Key: token}); res.Status != 401 {
			t.Errorf("%s with the token as a key: %d", path, res.Status)
		}
	}
	// Other ports have names of their own.
	o := s.Do(t, request{Path: "/api/sandbox/" + id + "/ports/3000/preview-url", Key: s.Key}).Object(t)
	if !strings.Contains(o["url"].(string), "//3000-"+id+".") {
		t.Errorf("%v", o)
	}
}
