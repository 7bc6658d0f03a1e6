package pty_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"daytona/toolbox/pty"
)

const connected = `{"type":"control","status":"connected"}`

// What the clients of every era see of a session, frame by frame.
func TestFrames(t *testing.T) {
	s := newSandbox(t, `printf 'hello, %s at %s' "$TERM" "$*"; read -r x; printf 'got:%s' "$x"; exit 7`)
	s.create("one")
	if info := s.get("one"); info.Active || !info.LazyStart || info.Cols != 80 || info.Rows != 24 || info.Cwd != s.dir || info.Envs == nil || info.CreatedAt == "" {
		t.Errorf("before the first client: %+v", info)
	}
	c := s.connect("one")
	c.see("hello, xterm-256color at -i -l") // interactive, as at a login
	if info := s.get("one"); !info.Active {
		t.Errorf("with a client: %+v", info)
	}
	if c.texts[0] != connected {
		t.Errorf("first message %q", c.texts)
	}
	// Any frame is input, whatever it looks like.
	if err := c.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"control"}`)); err != nil {
		t.Fatal(err)
	}
	c.send("!\n")
	c.see(`got:{"type":"control"}!`)
	status, reason := c.end()
	if status != 1011 || reason != `{"exitCode":7,"exitReason":"non-zero exit"}` {
		t.Errorf("closed with %d %q", status, reason)
	}
	if len(c.texts) != 1 {
		t.Errorf("messages that nobody asked for: %q", c.texts)
	}
	if left := s.list(); len(left) != 0 {
		t.Errorf("listed after its end: %+v", left)
	}
	s.create("one") // the name is free
}

func TestExit(t *testing.T) {
	for script, want := range map[string]struct {
		status websocket.StatusCode
		exit   string
	}{
		"exit 0":                  {1000, `"exitCode":0`},
		"exit 1":                  {1011, `"exitCode":1,"exitReason":"non-zero exit"`},
		"exit 128":                {1011, `"exitCode":128,"exitReason":"non-zero exit"`},
		"exit 130":                {1011, `"exitCode":130,"exitReason":"Ctrl+C"`},
		"exit 255":                {1011, `"exitCode":255,"exitReason":"signal 127"`},
		"kill -HUP $$; sleep 99":  {1011, `"exitCode":129,"exitReason":"signal 1"`},
		"kill -KILL $$; sleep 99": {1011, `"exitCode":137,"exitReason":"SIGKILL"`},
		"kill -TERM $$; sleep 99": {1011, `"exitCode":143,"exitReason":"SIGTERM"`},
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, "printf last-words; "+script)
			s.create("x")
			for _, asked := range []bool{false, true} {
				var offered []string
				texts := []string{connected}
				if asked {
					s.create("x")
					offered = []string{"X-Daytona-Pty-Exit-Control"}
					texts = append(texts, `{"type":"control","status":"exited",`+want.exit+`}`)
				}
				c := s.connect("x", offered...)
				status, reason := c.end()
				if status != want.status || reason != "{"+want.exit+"}" {
					t.Errorf("closed with %d %q", status, reason)
				}
				if fmt.Sprint(c.texts) != fmt.Sprint(texts) {
					t.Errorf("texts %q, want %q", c.texts, texts)
				}
				if c.all() != "last-words" {
					t.Errorf("output %q", c.all())
				}
			}
		})
	}
}

// A client that offers sub-protocols gets exactly one of them.
func TestSubprotocols(t *testing.T) {
	s := newSandbox(t, "exec cat")
	s.create("x")
	const exit = "X-Daytona-Pty-Exit-Control"
	for _, offered := range [][]string{
		nil, {exit}, {"X-Daytona-SDK-Version~0.218.0", exit}, {"X-Daytona-SDK-Version~0.218.0"}, {"unknown"},
	} {
		c := s.connect("x", offered...)
		c.wait("connected", func() bool { return len(c.texts) > 0 })
		got, want := c.conn.Subprotocol(), ""
		if len(offered) > 0 {
			want = offered[len(offered)-1]
		}
		if got != want {
			t.Errorf("of %q selected %q", offered, got)
		}
	}
}

func TestCreateConnect(t *testing.T) {
	s := newSandbox(t, `printf '%s|%s|%s|' "$ONE" "$TWO" "$PWD"; stty size; read -r x; exit 3`)
	if err := os.Mkdir(filepath.Join(s.dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	envs := "X-Daytona-Pty-Envs~" + base64.RawURLEncoding.EncodeToString([]byte(`{"ONE":"é?>","TWO":"a b"}`))
	c := s.open("/process/pty/create-connect?id=n&cols=101&rows=33&cwd=sub", envs, "X-Daytona-Pty-Exit-Control")
	c.see("é?>|a b|" + s.dir + "/sub|33 101\r\n")
	if got := c.conn.Subprotocol(); got != "X-Daytona-Pty-Exit-Control" {
		t.Errorf("selected %q", got)
	}
	if info := s.get("n"); info.LazyStart || !info.Active || info.Envs["TWO"] != "a b" || info.Cols != 101 || info.Cwd != s.dir+"/sub" {
		t.Errorf("%+v", info)
	}
	refused(s, 409, "already exists", "id=n")
	c.send("\n")
	if status, reason := c.end(); status != 1011 || reason != `{"exitCode":3,"exitReason":"non-zero exit"}` {
		t.Errorf("%d %q", status, reason)
	}
	if got := c.texts[len(c.texts)-1]; got != `{"type":"control","status":"exited","exitCode":3,"exitReason":"non-zero exit"}` {
		t.Errorf("%q", got)
	}

	refused(s, 400, "ID is required", "")
	refused(s, 400, "cols must be a whole number", "id=a&cols=x")
	refused(s, 400, "cols must be between 1 and 1000", "id=a&cols=1001")
	refused(s, 400, "rows must be between 1 and 1000", "id=a&rows=-1")
	refused(s, 400, "/none: no such file or directory", "id=a&cwd=/none")
	refused(s, 400, "not Base64", "id=a", "X-Daytona-Pty-Envs~***")
	refused(s, 400, "not a JSON object", "id=a", "X-Daytona-Pty-Envs~"+base64.RawURLEncoding.EncodeToString([]byte(`["a"]`)))
	refused(s, 400, "'A-B'", "id=a", "X-Daytona-Pty-Envs~"+base64.RawURLEncoding.EncodeToString([]byte(`{"A-B":"x"}`)))
	if left := s.list(); len(left) != 0 {
		t.Errorf("left by what was refused: %+v", left)
	}
}

// refused expects that the handshake of create-connect fails with a status.
func refused(s *sandbox, status int, text, query string, protocols ...string) {
	s.t.Helper()
	conn, resp, err := websocket.Dial(s.t.Context(), s.url+"/process/pty/create-connect?"+query, &websocket.DialOptions{Subprotocols: protocols}) //nolint:bodyclose // Dial has read it.
	if err == nil {
		_ = conn.CloseNow()
		s.t.Fatalf("%s: connected", query)
	}
	var body struct{ Error, Message string }
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != status || !strings.Contains(body.Error, text) || body.Message != body.Error {
		s.t.Errorf("%s: %d %+v", query, resp.StatusCode, body)
	}
}

// Whoever connects to what is not there learns it from the socket.
func TestConnectRefused(t *testing.T) {
	s := newSandbox(t, "exec cat", func(c *pty.Config) { c.MaxClients = 1 })
	if err := os.Mkdir(filepath.Join(s.dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.want(201, "POST", "/process/pty", `{"id":"gone","lazyStart":true,"cwd":"sub"}`, nil)
	s.create("full")
	s.connect("full").wait("connected", func() bool { return true })
	s.eventually("started", func() bool { return s.get("full").Active })
	if err := os.Remove(filepath.Join(s.dir, "sub")); err != nil {
		t.Fatal(err)
	}
	for id, text := range map[string]string{
		"none": "PTY session not found",
		"full": "PTY session has 1 clients, which is the most that it may have",
		"gone": "cannot start in " + s.dir + "/sub: no such file or directory",
	} {
		c := s.connect(id)
		status, reason := c.end()
		if status != 1008 || len(c.texts) != 1 || !strings.HasPrefix(c.texts[0], `{"type":"control","status":"error","error":"`+text) {
			t.Errorf("%s: %d, %q", id, status, c.texts)
		}
		if reason != "" && !strings.HasPrefix(reason, `{"error":"`+text) || reason == "" && id == "none" {
			t.Errorf("%s: reason %q", id, reason)
		}
	}
	if status, body := s.do("GET", "/process/pty/full/connect", nil); status != 400 || !strings.Contains(body, "WebSocket") {
		t.Errorf("without an upgrade: %d %s", status, body)
	}
}

func TestErrors(t *testing.T) {
	s := newSandbox(t, "exec cat", func(c *pty.Config) { c.MaxSessions = 2 })
	if err := os.WriteFile(filepath.Join(s.dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var created struct{ SessionID string }
	s.want(201, "POST", "/process/pty", `{"id":"one","envs":{"A":"1"},"cwd":"~"}`, &created)
	if created.SessionID != "one" {
		t.Errorf("created %q", created.SessionID)
	}
	s.want(201, "POST", "/process/pty", `{"id":"zwei é","lazyStart":true,"cols":1000,"rows":1}`, nil)
	if got := s.list(); len(got) != 2 || got[0].ID != "one" || got[1].ID != "zwei é" || got[0].Envs["A"] != "1" || !got[0].Active {
		t.Errorf("%+v", got)
	}
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		status             int
		method, path, body string
		code, text         string
	}{
		{400, "POST", "", `{}`, "BAD_REQUEST", "session ID is required"},
		{400, "POST", "", ``, "INVALID_REQUEST_BODY", "empty"},
		{400, "POST", "", `{"id":1}`, "INVALID_REQUEST_BODY", "id must be a string"},
		{400, "POST", "", `{"id":"a/b"}`, "BAD_REQUEST", "slashes"},
		{400, "POST", "", `{"id":"a\nb"}`, "BAD_REQUEST", "control characters"},
		{400, "POST", "", `{"id":".."}`, "BAD_REQUEST", "reserved"},
		{400, "POST", "", `{"id":"create-connect"}`, "BAD_REQUEST", "reserved"},
		{400, "POST", "", `{"id":"` + long + `"}`, "BAD_REQUEST", "longer than"},
		{400, "POST", "", `{"id":"a","cols":1001}`, "BAD_REQUEST", "cols must be between 1 and 1000, not 1001"},
		{400, "POST", "", `{"id":"a","rows":-1}`, "BAD_REQUEST", "rows must be between"},
		{400, "POST", "", `{"id":"a","rows":1.5}`, "INVALID_REQUEST_BODY", "rows must be a whole number"},
		{400, "POST", "", `{"id":"a","envs":{"1":"x"}}`, "BAD_REQUEST", "'1'"},
		{400, "POST", "", `{"id":"a","cwd":"/none"}`, "BAD_REQUEST", "/none: no such file or directory"},
		{400, "POST", "", `{"id":"a","cwd":"file"}`, "BAD_REQUEST", "not a directory"},
		{409, "POST", "", `{"id":"one"}`, "CONFLICT", "'one' already exists"},
		{429, "POST", "", `{"id":"a"}`, "TOO_MANY_REQUESTS", "there are 2 PTY sessions"},
		{404, "GET", "/none", ``, "NOT_FOUND", "PTY session not found"},
		{404, "DELETE", "/none", ``, "NOT_FOUND", "PTY session not found"},
		{404, "POST", "/none/resize", `{"cols":1,"rows":1}`, "NOT_FOUND", "PTY session not found"},
		{400, "POST", "/one/resize", `{"cols":1}`, "BAD_REQUEST", "rows must be between"},
		{400, "POST", "/one/resize", `{"cols":1001,"rows":1}`, "BAD_REQUEST", "cols must be between"},
		{400, "POST", "/one/resize", `{"cols":"1","rows":1}`, "INVALID_REQUEST_BODY", "cols"},
	} {
		status, content := s.do(test.method, "/process/pty"+test.path, test.body)
		var body struct {
			StatusCode                                            int
			Message, Error, Code, Source, Timestamp, Path, Method string
		}
		if err := json.Unmarshal([]byte(content), &body); err != nil {
			t.Fatalf("%+v: %v in %s", test, err, content)
		}
		if status != test.status || body.StatusCode != status || body.Code != test.code || !strings.Contains(body.Error, test.text) ||
			body.Message != body.Error || body.Source != "DAYTONA_DAEMON" || body.Method != test.method || body.Path == "" || body.Timestamp == "" {
			t.Errorf("%s %s %s: %d %s", test.method, test.path, test.body, status, content)
		}
	}
	var gone struct{ Message string }
	s.want(200, "DELETE", "/process/pty/one", nil, &gone)
	if gone.Message == "" {
		t.Error("no message")
	}
	s.want(http.StatusNotFound, "GET", "/process/pty/one", nil, nil)
	s.want(200, "DELETE", "/process/pty/zwei%20%C3%A9", nil, nil)
	s.want(201, "POST", "/process/pty", `{"id":"a"}`, nil) // there is room again
}
