package toolbox_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"daytona/toolbox"
)

const token = "a-token-for-tests"

// sandbox is a toolbox on a directory of its own.
type sandbox struct {
	t   *testing.T
	url string
	dir string // work directory

	server *toolbox.Server
}

func newSandbox(t *testing.T, change ...func(*toolbox.Config)) *sandbox {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	shells := filepath.Join(t.TempDir(), "shells") // commands here are bash's, whatever this machine has
	if err := os.WriteFile(shells, []byte("/bin/bash\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := toolbox.Config{
		Token: token, Home: home, WorkDir: dir, Version: "1.2.3", ShellList: shells,
		Environ: []string{"PATH=" + os.Getenv("PATH"), "DAYTONA_TOOLBOX_TOKEN=" + token, "LANG=C.UTF-8"},
	}
	for _, c := range change {
		c(&config)
	}
	server, err := toolbox.New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	t.Cleanup(server.Close)
	return &sandbox{t, listener.URL, dir, server}
}

// request builds an authenticated request. A body that is no reader is sent as
// JSON. Headers are given as name, value, name, value.
func (s *sandbox) request(method, path string, body any, headers ...string) *http.Request {
	s.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		reader = b
	case string:
		reader = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set(toolbox.TokenHeader, token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// reply is an answer whose body has been read.
type reply struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

// do sends a request and returns the answer with its whole body.
func (s *sandbox) do(method, path string, body any, headers ...string) (reply, string) {
	s.t.Helper()
	resp, err := http.DefaultClient.Do(s.request(method, path, body, headers...))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{resp.StatusCode, resp.Header, resp.ContentLength}, string(content)
}

// want sends a request, fails unless the status is as wanted, and decodes the
// JSON answer into out unless that is nil.
func (s *sandbox) want(status int, method, path string, body, out any, headers ...string) {
	s.t.Helper()
	resp, content := s.do(method, path, body, headers...)
	if resp.StatusCode != status {
		s.t.Fatalf("%s %s: status %d, want %d: %s", method, path, resp.StatusCode, status, content)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(content), out); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, content)
		}
	}
}

// wantError checks the body that every error has.
func (s *sandbox) wantError(status int, code, text, method, path string, body any, headers ...string) {
	s.t.Helper()
	var got struct {
		StatusCode                                            int
		Message, Error, Code, Source, Timestamp, Path, Method string
	}
	s.want(status, method, path, body, &got, headers...)
	bare, _, _ := strings.Cut(path, "?")
	if got.StatusCode != status || got.Error != http.StatusText(status) || got.Source != "DAYTONA_DAEMON" ||
		got.Path != bare || got.Method != method || got.Timestamp == "" {
		s.t.Errorf("%s %s: %+v", method, path, got)
	}
	if got.Code != code || !strings.Contains(got.Message, text) {
		s.t.Errorf("%s %s: code %q, message %q; want %q, %q", method, path, got.Code, got.Message, code, text)
	}
}

func (s *sandbox) write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *sandbox) read(name string) string {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content)
}

func TestEveryRouteNeedsTheToken(t *testing.T) {
	s := newSandbox(t)
	for _, path := range []string{"/version", "/init", "/files", "/process/execute", "/nothing"} {
		for _, wrong := range []string{"", "x", token + "x", token[1:]} {
			s.wantError(401, "UNAUTHORIZED", "token", "GET", path, nil, toolbox.TokenHeader, wrong)
		}
	}
	if _, err := toolbox.New(toolbox.Config{}); err == nil {
		t.Error("a toolbox without a token was made")
	}
}

func TestInfoRoutes(t *testing.T) {
	s := newSandbox(t)
	for path, want := range map[string]string{
		"/version":       `{"version":"1.2.3"}`,
		"/project-dir":   `{"dir":"` + s.dir + `/home"}`,
		"/user-home-dir": `{"dir":"` + s.dir + `/home"}`,
		"/work-dir":      `{"dir":"` + s.dir + `"}`,
	} {
		if _, got := s.do("GET", path, nil); strings.TrimSpace(got) != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	s.wantError(404, "NOT_FOUND", "no route", "GET", "/ports", nil)
	s.wantError(404, "NOT_FOUND", "no route", "PUT", "/version", nil)
	resp, _ := s.do("GET", "/version", nil, "X-Request-Id", "r-1")
	if got := resp.Header.Get("X-Request-Id"); got != "r-1" {
		t.Errorf("request id %q", got)
	}
}

func TestInitReachesEveryProcessStartedLater(t *testing.T) {
	s := newSandbox(t)
	show := func() string {
		var reply struct{ Result string }
		s.want(200, "POST", "/process/execute", map[string]any{
			"command": "echo $DAYTONA_SANDBOX_ID/$DAYTONA_ORGANIZATION_ID/$DAYTONA_REGION_ID/$DAYTONA_SANDBOX_SNAPSHOT/$DAYTONA_SANDBOX_USER/$A/$DAYTONA_TOOLBOX_TOKEN",
		}, &reply)
		return strings.TrimSpace(reply.Result)
	}
	if got := show(); got != "//////" {
		t.Errorf("before: %s", got)
	}
	identity := map[string]any{"sandboxId": "id", "organizationId": "org", "regionId": "eu", "snapshot": "slim", "user": "daytona", "env": map[string]string{"A": "1"}}
	for range 2 {
		s.want(200, "POST", "/init", identity, nil)
		if got := show(); got != "id/org/eu/slim/daytona/1/" {
			t.Errorf("after: %s", got)
		}
	}
	s.wantError(400, "BAD_REQUEST", "environment variable", "POST", "/init", `{"env":{"A=B":"x"}}`)
	s.wantError(400, "INVALID_REQUEST_BODY", "sandboxId", "POST", "/init", `{"sandboxId":1}`)
	s.want(200, "POST", "/init", `{"token":"another"}`, nil)
	s.wantError(401, "UNAUTHORIZED", "token", "GET", "/version", nil)
	s.want(200, "GET", "/version", nil, nil, toolbox.TokenHeader, "another")
}

func TestEnvironmentChanges(t *testing.T) {
	s := newSandbox(t)
	show := func() string {
		var reply struct{ Result string }
		s.want(200, "POST", "/process/execute", map[string]any{"command": "echo $A/$B/$C/$D/$LANG"}, &reply)
		return strings.TrimSpace(reply.Result)
	}
	s.want(200, "POST", "/env", `{"set":{"A":"secret-1","B":"secret-2","C":"open"}}`, nil)
	if got := show(); got != "secret-1/secret-2/open//C.UTF-8" {
		t.Error(got)
	}
	s.want(200, "POST", "/env", `{"set":{"D":"secret-3"},"unset":["C","none"],"unsetValuePrefix":"secret-"}`, nil)
	if got := show(); got != "///secret-3/C.UTF-8" {
		t.Error(got)
	}
	s.want(200, "POST", "/env", `{}`, nil)
	if got := show(); got != "///secret-3/C.UTF-8" {
		t.Error(got)
	}
	s.wantError(400, "BAD_REQUEST", "environment variable", "POST", "/env", `{"set":{"":"x"},"unset":["D"]}`)
	if got := show(); got != "///secret-3/C.UTF-8" {
		t.Errorf("a refused change was made: %s", got)
	}
}

// What the runner passes on for a client must not change who the sandbox is.
func TestRunnersRoutesAreNotForClients(t *testing.T) {
	s := newSandbox(t)
	for _, path := range []string{"/init", "/env"} {
		s.wantError(404, "NOT_FOUND", "no route", "POST", path, `{}`, toolbox.ForwardedHeader, "1")
		s.want(200, "POST", path, `{}`, nil)
	}
}
