package session

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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

// box is a service with a directory, a home and a listener of its own.
type box struct {
	t    *testing.T
	s    *Service
	url  string
	dir  string
	logs string // directory of the logs
}

func newBox(t *testing.T, change ...func(*Config)) *box {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"home", "work", "pipes"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	shells := filepath.Join(dir, "shells") // commands here are bash's, whatever this machine has
	if err := os.WriteFile(shells, []byte("/bin/bash\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := launch.NewEnviron([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir + "/home", "LANG=C.UTF-8"})
	c := Config{
		Space:    &launch.Space{Table: reaper.New(), Env: env, WorkDir: dir + "/work", ShellList: shells},
		Dirs:     []string{dir + "/home/.daytona/sessions"},
		PipeDirs: []string{dir + "/pipes"},
		Log:      slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	b := &box{t: t, dir: dir, logs: dir + "/home/.daytona/sessions"}
	b.start(c)
	return b
}

// start starts a service, as a sandbox does that was stopped: on the same disk.
func (b *box) start(c Config) {
	b.s = New(c)
	mux := http.NewServeMux()
	for _, route := range b.s.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			err := route.Handler(w, r)
			if err == nil || r.Context().Err() != nil {
				return
			}
			body := wire.Describe(err, r, time.Now())
			if body.StatusCode == 500 {
				b.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
			}
			if err := wire.JSON(w, body.StatusCode, body); err != nil {
				b.t.Error(err)
			}
		})
	}
	listener := httptest.NewServer(mux)
	b.t.Cleanup(b.s.Close)
	b.t.Cleanup(listener.Close)
	b.url = listener.URL
}

// Headers of clients of each era.
var (
	bare   = []string(nil)
	docs   = []string{"X-Daytona-Source", "python-sdk", "X-Daytona-SDK-Version", "0.25.6"}
	middle = []string{"X-Daytona-Source", "typescript-sdk", "X-Daytona-SDK-Version", "0.27.1"}
	newest = []string{"X-Daytona-Source", "sdk-python", "X-Daytona-SDK-Version", "0.190.0"}
)

func (b *box) request(ctx context.Context, method, path string, body any, headers ...string) *http.Request {
	b.t.Helper()
	var content io.Reader
	if body != nil {
		text, ok := body.(string)
		if !ok {
			encoded, err := json.Marshal(body)
			if err != nil {
				b.t.Fatal(err)
			}
			text = string(encoded)
		}
		content = strings.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, b.url+path, content)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func (b *box) do(method, path string, body any, headers ...string) (int, string) {
	b.t.Helper()
	resp, err := http.DefaultClient.Do(b.request(b.t.Context(), method, path, body, headers...))
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: %v after %d bytes", method, path, err, len(content))
	}
	return resp.StatusCode, string(content)
}

// want sends a request, fails unless the status is as wanted, and decodes the
// answer into out unless that is nil.
func (b *box) want(status int, method, path string, body, out any, headers ...string) {
	b.t.Helper()
	got, content := b.do(method, path, body, headers...)
	if got != status {
		b.t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, content)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(content), out); err != nil {
			b.t.Fatalf("%s %s: %v in %s", method, path, err, content)
		}
	}
}

func (b *box) wantError(status int, code, text, method, path string, body any) {
	b.t.Helper()
	var got wire.Error
	b.want(status, method, path, body, &got)
	if got.Code != code || !strings.Contains(got.Message, text) {
		b.t.Errorf("%s %s: %s %q, want %s %q", method, path, got.Code, got.Message, code, text)
	}
}

func (b *box) create(id string) {
	b.t.Helper()
	b.want(201, "POST", "/process/session", map[string]any{"sessionId": id}, nil, newest...)
}

type execReply struct {
	CmdID                  string
	ExitCode               *int
	Output, Stdout, Stderr *string
	Cause, Signal          string
}

// run runs a command to its end as the newest client does.
func (b *box) run(session, command string) execReply {
	b.t.Helper()
	var got execReply
	b.want(200, "POST", "/process/session/"+session+"/exec", map[string]any{"command": command}, &got, newest...)
	if got.ExitCode == nil || got.Output == nil || got.Stdout == nil || got.Stderr == nil {
		b.t.Fatalf("%s: members are missing: %+v", command, got)
	}
	return got
}

// begin begins a command and returns its id.
func (b *box) begin(session, command string) string {
	b.t.Helper()
	var got execReply
	b.want(202, "POST", "/process/session/"+session+"/exec", map[string]any{"command": command, "runAsync": true}, &got, newest...)
	if got.CmdID == "" || got.ExitCode != nil || got.Output != nil {
		b.t.Fatalf("%+v", got)
	}
	return got.CmdID
}

func (b *box) command(session, id string) commandReply {
	b.t.Helper()
	var c commandReply
	b.want(200, "GET", "/process/session/"+session+"/command/"+id, nil, &c)
	return c
}

// finished waits for a command's end.
func (b *box) finished(session, id string) commandReply {
	b.t.Helper()
	var c commandReply
	eventually(b.t, "the command ends", func() bool {
		c = b.command(session, id)
		return c.ExitCode != nil
	})
	return c
}

// follow reads the log of a command by WebSocket to its end.
func (b *box) follow(path string, headers ...string) (frames [][]byte, code websocket.StatusCode) {
	b.t.Helper()
	conn := b.dial(path, headers...)
	for {
		kind, frame, err := conn.Read(b.t.Context())
		if err != nil {
			return frames, websocket.CloseStatus(err)
		}
		if kind != websocket.MessageBinary || len(frame) > 1024 || len(frame) == 0 {
			b.t.Errorf("a frame of type %v with %d bytes", kind, len(frame))
		}
		frames = append(frames, frame)
	}
}

func (b *box) dial(path string, headers ...string) *websocket.Conn {
	b.t.Helper()
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	conn, res, err := websocket.Dial(b.t.Context(), b.url+path, &websocket.DialOptions{HTTPHeader: h})
	if err != nil {
		b.t.Fatal(err)
	}
	if res.Body != nil {
		res.Body.Close()
	}
	b.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

// demux takes apart what has prefixes, as clients do.
func demux(b []byte) (out, err string) {
	current := -1
	var parts [2]bytes.Buffer
	for len(b) > 0 {
		switch {
		case bytes.HasPrefix(b, []byte(prefixes[stdout])):
			current, b = 0, b[3:]
		case bytes.HasPrefix(b, []byte(prefixes[stderr])):
			current, b = 1, b[3:]
		default:
			if current >= 0 {
				parts[current].WriteByte(b[0])
			}
			b = b[1:]
		}
	}
	return parts[0].String(), parts[1].String()
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// pidIn waits for a file in the work directory that has a process's number in it.
func (b *box) pidIn(file string) int {
	b.t.Helper()
	pid := 0
	eventually(b.t, file+" has a number", func() bool {
		content, err := os.ReadFile(filepath.Join(b.dir, "work", file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			b.t.Fatal(err)
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err == nil
	})
	return pid
}

func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func mkfifo(path string) error { return unix.Mkfifo(path, 0o600) }
