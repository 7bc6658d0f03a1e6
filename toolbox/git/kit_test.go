package git

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

// box is a service on a home directory of its own, behind HTTP.
type box struct {
	t    *testing.T
	url  string
	home string
	svc  *Service
}

func newBox(t *testing.T, env ...string) *box {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed (apt-get install git)")
	}
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	environ := launch.NewEnviron(append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LANG=C.UTF-8"}, env...))
	svc := &Service{
		Space: &launch.Space{Table: reaper.New(), Env: environ, WorkDir: home},
		Log:   slog.New(slog.DiscardHandler),
	}
	mux := http.NewServeMux()
	for _, route := range svc.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler(w, r); err != nil && r.Context().Err() == nil {
				body := wire.Describe(err, r, time.Now())
				if body.StatusCode == 500 {
					t.Logf("%s: %v", route.Pattern, err)
				}
				_ = wire.JSON(w, body.StatusCode, body)
			}
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &box{t, server.URL, home, svc}
}

// call sends a request with a JSON body, or none for nil.
func (b *box) call(method, path string, body any, headers ...string) (int, []byte) {
	b.t.Helper()
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, reader)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, data
}

// want sends a request that must succeed and decodes the answer into out, when
// out is not nil.
func (b *box) want(status int, method, path string, body, out any) {
	b.t.Helper()
	got, data := b.call(method, path, body)
	if got != status {
		b.t.Fatalf("%s %s %v: %d %s, want %d", method, path, body, got, data, status)
	}
	if out == nil {
		if len(data) > 0 {
			b.t.Errorf("%s %s: unexpected answer %s", method, path, data)
		}
		return
	}
	if err := json.Unmarshal(data, out); err != nil {
		b.t.Fatalf("%s %s: %v in %s", method, path, err, data)
	}
}

// refused sends a request that must fail with a status, a code and a text.
func (b *box) refused(status int, code, text, method, path string, body any) {
	b.t.Helper()
	got, data := b.call(method, path, body)
	var e wire.Error
	if err := json.Unmarshal(data, &e); err != nil || got != status || e.Code != code || !strings.Contains(e.Message, text) {
		b.t.Errorf("%s %s %v:\n  got  %d %s\n  want %d %s %q", method, path, body, got, data, status, code, text)
	}
}

type m = map[string]any

type statusReply struct {
	CurrentBranch   string
	FileStatus      []fileStatus
	BranchPublished bool
	Ahead, Behind   int
	Upstream        *string
	Detached        *bool
}

func (b *box) status(path string) (out statusReply) {
	b.t.Helper()
	b.want(200, "GET", "/git/status?path="+path, nil, &out)
	return out
}

func (b *box) write(path, content string) {
	b.t.Helper()
	path = filepath.Join(b.home, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) read(path string) string {
	b.t.Helper()
	content, err := os.ReadFile(filepath.Join(b.home, path))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(content)
}

// commit stages everything and commits it.
func (b *box) commit(path, message string) string {
	b.t.Helper()
	b.want(200, "POST", "/git/add", m{"path": path, "files": []string{"."}}, nil)
	var reply commitReply
	b.want(200, "POST", "/git/commit", m{"path": path, "message": message, "author": "Ada", "email": "ada@example.com"}, &reply)
	return reply.Hash
}

// nothing fails the test when there is anything below the home directory that
// speaks of a clone.
func (b *box) nothing(path string) {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.home, filepath.Dir(path)))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == filepath.Base(path) || strings.HasPrefix(e.Name(), ".git-clone") {
			b.t.Errorf("%s was left behind", e.Name())
		}
	}
}

// git runs the git program itself, as a person would.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Bob", "GIT_AUTHOR_EMAIL=bob@example.com", "GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.com",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// host serves the bare repositories of a directory by smart HTTP.
type host struct {
	t    *testing.T
	url  string
	dir  string
	mu   sync.Mutex
	user string // of the credentials that are needed; "" for none
	pass string
	// before is called for each request; it may answer itself and return true.
	before func(w http.ResponseWriter, r *http.Request) bool
	seen   []string // "METHOD path user:pass"
}

func newHost(t *testing.T, tls bool) *host {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed (apt-get install git)")
	}
	backend := filepath.Join(strings.TrimSpace(string(path)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skipf("git has no http-backend: %v", err)
	}
	h := &host{t: t, dir: t.TempDir()}
	script := &cgi.Handler{Path: backend, InheritEnv: []string{"PATH"}, Stderr: io.Discard, Env: []string{
		"GIT_PROJECT_ROOT=" + h.dir, "GIT_HTTP_EXPORT_ALL=1", "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1"}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, given := r.BasicAuth()
		h.mu.Lock()
		h.seen = append(h.seen, r.Method+" "+r.URL.Path+" "+user+":"+pass)
		needed, before := h.user != "" && (user != h.user || pass != h.pass), h.before
		h.mu.Unlock()
		if before != nil && before(w, r) {
			return
		}
		if needed {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if given { // http-backend lets known users push
			r.Header.Set("Remote-User", user)
		}
		script := *script
		if given || h.user == "" {
			script.Env = append(script.Env[:len(script.Env):len(script.Env)], "REMOTE_USER="+user+"x")
		}
		script.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	if tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

// protect makes the host ask for credentials.
func (h *host) protect(user, pass string) *host {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.user, h.pass = user, pass
	return h
}

// repo makes a bare repository with a commit for each of files on main, and
// returns its address.
func (h *host) repo(name string, files ...string) string {
	h.t.Helper()
	bare := filepath.Join(h.dir, name)
	git(h.t, h.dir, "init", "-q", "--bare", "-b", "main", bare)
	if len(files) > 0 {
		work := filepath.Join(h.t.TempDir(), "work")
		git(h.t, h.dir, "clone", "-q", bare, work)
		git(h.t, work, "checkout", "-q", "-B", "main")
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(work, f), []byte(f+"\n"), 0o644); err != nil {
				h.t.Fatal(err)
			}
			git(h.t, work, "add", f)
			git(h.t, work, "commit", "-q", "-m", "add "+f)
		}
		git(h.t, work, "push", "-q", "origin", "main")
	}
	return h.url + "/" + name
}

// change makes a commit on a branch of a bare repository, from another clone.
func (h *host) change(name, branch, file, content string) string {
	h.t.Helper()
	work := filepath.Join(h.t.TempDir(), "work")
	git(h.t, h.dir, "clone", "-q", filepath.Join(h.dir, name), work)
	git(h.t, work, "checkout", "-q", "-B", branch)
	if err := os.WriteFile(filepath.Join(work, file), []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
	git(h.t, work, "add", file)
	git(h.t, work, "commit", "-q", "-m", "change "+file)
	git(h.t, work, "push", "-q", "origin", branch)
	return git(h.t, work, "rev-parse", "HEAD")
}

// discard is an http.ResponseWriter that keeps the body alone.
type discard struct{ bytes.Buffer }

func (*discard) Header() http.Header { return http.Header{} }
func (*discard) WriteHeader(int)     {}
