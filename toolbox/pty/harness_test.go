package pty_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"daytona/toolbox/launch"
	"daytona/toolbox/pty"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

// patience bounds every wait; nothing is measured by it.
const patience = 60 * time.Second

// sandbox is a service on a directory of its own.
type sandbox struct {
	t       *testing.T
	url     string
	dir     string
	service *pty.Service
}

// newSandbox serves sessions whose shell is a script, or bash where script is "".
func newSandbox(t *testing.T, script string, change ...func(*pty.Config)) *sandbox {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	shell := "/bin/bash"
	if script != "" {
		shell = filepath.Join(dir, "shell")
		if err := os.WriteFile(shell, []byte("#!/bin/bash\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := launch.NewEnviron([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SHELL=" + shell, "LANG=C.UTF-8",
	})
	config := pty.Config{
		Space: &launch.Space{
			Table: reaper.New(), Env: env, WorkDir: dir, ShellList: filepath.Join(dir, "no-list"),
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, c := range change {
		c(&config)
	}
	mux := http.NewServeMux()
	service := pty.New(config)
	for _, route := range service.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler(w, r); err != nil {
				body := wire.Describe(err, r, time.Now())
				_ = wire.JSON(w, body.StatusCode, body)
			}
		})
	}
	server := httptest.NewServer(mux)
	s := &sandbox{t, server.URL, dir, service}
	t.Cleanup(func() {
		for _, each := range s.list() {
			s.do("DELETE", "/process/pty/"+each.ID, nil) // unless it has ended meanwhile
		}
		server.Close()
		config.Space.Table.SignalAll(9)
		s.eventually("no process is left", func() bool { return config.Space.Table.Running() == 0 })
	})
	return s
}

// do sends a request and returns status and body.
func (s *sandbox) do(method, path string, body any) (int, string) {
	s.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	// Not the test's context: sessions are deleted after it has ended.
	r, err := http.NewRequestWithContext(context.Background(), method, s.url+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(content)
}

// want is do for a known status and a JSON answer.
func (s *sandbox) want(status int, method, path string, body, out any) {
	s.t.Helper()
	got, content := s.do(method, path, body)
	if got != status {
		s.t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, content)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(content), out); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, content)
		}
	}
}

func (s *sandbox) list() []pty.Info {
	s.t.Helper()
	var reply struct{ Sessions []pty.Info }
	s.want(200, "GET", "/process/pty", nil, &reply)
	return reply.Sessions
}

func (s *sandbox) get(id string) pty.Info {
	s.t.Helper()
	var info pty.Info
	s.want(200, "GET", "/process/pty/"+id, nil, &info)
	return info
}

// create makes a session that its first client starts.
func (s *sandbox) create(id string) {
	s.t.Helper()
	s.want(201, "POST", "/process/pty", map[string]any{"id": id, "lazyStart": true}, nil)
}

// eventually waits for a condition.
func (s *sandbox) eventually(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not in time: %s", what)
		}
	}
}

// terminal is a connected client that reads all the time.
type terminal struct {
	t    *testing.T
	conn *websocket.Conn

	mu     sync.Mutex
	texts  []string
	output []byte
	frames int
	closed bool
	status websocket.StatusCode
	reason string
}

// connect connects to a session.
func (s *sandbox) connect(id string, protocols ...string) *terminal {
	s.t.Helper()
	return s.open("/process/pty/"+id+"/connect", protocols...)
}

func (s *sandbox) open(path string, protocols ...string) *terminal {
	s.t.Helper()
	c := &terminal{t: s.t, conn: s.dial(path, protocols...)}
	go c.read()
	return c
}

// dial connects and reads nothing.
func (s *sandbox) dial(path string, protocols ...string) *websocket.Conn {
	s.t.Helper()
	conn, resp, err := websocket.Dial(s.t.Context(), s.url+path, &websocket.DialOptions{Subprotocols: protocols}) //nolint:bodyclose // Dial has read it.
	if err != nil {
		s.t.Fatalf("%s: %v (%v)", path, err, resp)
	}
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(64 << 10) // as the Python client's library has it
	return conn
}

func (c *terminal) read() {
	for {
		kind, b, err := c.conn.Read(context.Background())
		c.mu.Lock()
		if err != nil {
			c.closed = true
			if e, ok := errors.AsType[websocket.CloseError](err); ok {
				c.status, c.reason = e.Code, e.Reason
			} else {
				c.status, c.reason = -1, err.Error()
			}
			c.mu.Unlock()
			return
		}
		if kind == websocket.MessageText {
			c.texts = append(c.texts, string(b))
		} else {
			c.output = append(c.output, b...)
			c.frames++
		}
		c.mu.Unlock()
	}
}

// wait waits for a condition on what has been received.
func (c *terminal) wait(what string, done func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		c.mu.Lock()
		ok, closed := done(), c.closed
		c.mu.Unlock()
		if ok {
			return
		}
		if closed || time.Now().After(deadline) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.t.Fatalf("not seen: %s; closed %v (%d %q), texts %q, output %q",
				what, c.closed, c.status, c.reason, c.texts, tail(c.output))
		}
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-4096):] }

// see waits until the output contains a text.
func (c *terminal) see(text string) {
	c.t.Helper()
	c.wait(text, func() bool { return bytes.Contains(c.output, []byte(text)) })
}

// end waits for the close frame and returns it.
func (c *terminal) end() (websocket.StatusCode, string) {
	c.t.Helper()
	c.wait("close frame", func() bool { return c.closed })
	return c.status, c.reason
}

func (c *terminal) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.output)
}

// send sends input as a binary frame.
func (c *terminal) send(text string) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageBinary, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}
