// Package controlplanetest runs a whole control plane for tests: the real
// handlers, domain and SQLite store, over a runner in memory.
package controlplanetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/proxyapi"
	"daytona/controlplane"
	"daytona/controlplane/auth"
	"daytona/controlplane/httpapi"
	"daytona/controlplane/org"
	"daytona/controlplane/storage"
	"daytona/controlplane/upload"
	"daytona/internal/chunkstore"
	"daytona/internal/keyring"
	"daytona/internal/objectstore/buckettest"
)

// Server is a running control plane.
type Server struct {
	URL     string // origin
	Key     string // of the admin, may do everything
	Runner  *Runner
	Store   *storage.DB
	Plane   *controlplane.ControlPlane
	Log     *Log
	Uploads *upload.Service
	// Previews says where previews live, on this very server.
	Previews proxyapi.Template

	front atomic.Pointer[http.Handler]
	ahead atomic.Int64 // nanoseconds by which the server's clock is ahead
}

// Advance puts the server's clock forward. It does not wake what waits by timer.
func (s *Server) Advance(d time.Duration) { s.ahead.Add(int64(d)) }

// Options of a test server.
type Options struct {
	Rates httpapi.RateLimits
	DSN   string // of the database; "" is SQLite
}

// New runs a control plane until the test ends. It returns when the default
// snapshot is active.
func New(t testing.TB) *Server {
	t.Helper()
	return NewWith(t, Options{})
}

// NewWith is New with options.
func NewWith(t testing.TB, o Options) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Runner: NewRunner(), Key: auth.NewValue(), Log: &Log{}}
	logger := slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store, err := storage.Open(ctx, cmp.Or(o.DSN, filepath.Join(t.TempDir(), "test.db")), logger)
	if err != nil {
		t.Fatal(err)
	}
	s.Store = store
	keys, err := keyring.OpenFile(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := s.front.Load(); h != nil {
			(*h).ServeHTTP(w, r)
			return
		}
		s.Plane.Handler().ServeHTTP(w, r)
	}))
	// As the program serves.
	server.Config.MaxHeaderBytes, server.Config.ReadHeaderTimeout = httpapi.MaxHeaderBytes, 5*time.Second
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	s.URL = "http://" + server.Listener.Addr().String()
	public, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.Previews, err = proxyapi.DefaultTemplate("http", "proxy.localhost:"+public.Port())
	if err != nil {
		t.Fatal(err)
	}
	uploads, err := upload.New(upload.Config{
		Bucket: buckettest.NewMemory(), Key: make([]byte, 32), URL: public, SecureURL: public, RunnerURL: public,
		RegistryDir: filepath.Join(t.TempDir(), "registry"), Log: logger,
		Now: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Uploads = uploads
	t.Cleanup(func() { _ = uploads.Close() })
	s.Plane, err = controlplane.Open(ctx, controlplane.Config{
		Store: store, Keys: keys, Runner: s.Runner, Log: logger, Metrics: prometheus.NewRegistry(), Version: "test",
		PublicURL: public, Previews: s.Previews, SSH: httpapi.SSHAddress{Host: "ssh.example.org", Port: 2222}, DefaultSnapshot: Snapshot,
		Uploads:        uploads,
		Rates:          o.Rates,
		Archives:       &chunkstore.Store{Bucket: buckettest.NewMemory()},
		SnapshotsEvery: 10 * time.Millisecond,
		Now:            func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
		FirstKey:       func() (string, error) { return s.Key, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	done := make(chan error, 1)
	go func() { done <- s.Plane.Run(ctx) }()
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("control plane: %v", err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("store: %v", err)
		}
		if t.Failed() {
			t.Logf("server log:\n%s", s.Log)
		}
	})
	Eventually(t, "the default snapshot is active", func() bool {
		return s.Do(t, Request{Path: "/api/health/ready"}).Status == http.StatusOK
	})
	return s
}

// Front puts a handler in front of the control plane's.
func (s *Server) Front(h http.Handler) { s.front.Store(&h) }

// Request is one call. The zero Method is GET; Key "" sends no credentials.
type Request struct {
	Method, Path, Key string
	Body              any // string or []byte is sent as it is, else JSON
	Header            map[string]string
}

// Response is its answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON decodes the answer.
func (r Response) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(r.Body, v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, r.Body)
	}
}

// Object decodes the answer into a map.
func (r Response) Object(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	r.JSON(t, &v)
	return v
}

// Do calls the server. Redirects are not followed.
func (s *Server) Do(t testing.TB, q Request) Response {
	t.Helper()
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	var body io.Reader
	switch b := q.Body.(type) {
	case nil:
	case string:
		body = bytes.NewReader([]byte(b))
	case []byte:
		body = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.Method, s.URL+q.Path, body)
	if err != nil {
		t.Fatal(err)
	}
	if q.Key != "" {
		req.Header.Set("Authorization", "Bearer "+q.Key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range q.Header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Response{res.StatusCode, res.Header, data}
}

// Tenant makes a user with an organization of its own and a key for it that
// holds the given permissions.
func (s *Server) Tenant(t testing.TB, name string, permissions ...auth.Permission) (orgID, key string) {
	t.Helper()
	ctx, now := context.Background(), time.Now().UTC().Truncate(time.Millisecond)
	o := org.Organization{ID: name + "-org", Name: name, CreatedBy: name, Personal: true, Quota: org.DefaultQuota(), CreatedAt: now, UpdatedAt: now}
	owner := org.Membership{OrgID: o.ID, UserID: name, Role: org.Owner, CreatedAt: now, UpdatedAt: now}
	user := auth.User{ID: name, Name: name, Role: auth.RoleUser, CreatedAt: now}
	if err := s.Store.CreateUser(ctx, user, o, owner); err != nil {
		t.Fatal(err)
	}
	return o.ID, s.KeyFor(t, name, o.ID, permissions...)
}

// KeyFor makes a key of a user that holds the given permissions.
func (s *Server) KeyFor(t testing.TB, userID, orgID string, permissions ...auth.Permission) string {
	t.Helper()
	if len(permissions) == 0 {
		permissions = []auth.Permission{auth.ReadAuditLogs}
	}
	by := auth.Identity{User: auth.User{ID: userID}, OrgID: orgID, Role: org.Owner, Permissions: permissions}
	_, value, err := s.Plane.Auth.Create(context.Background(), by, auth.NewKey{
		Name: "key-" + time.Now().Format("150405.000000000"), Permissions: permissions,
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Eventually waits for a condition, for as long as a slow machine may need.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Log keeps what the server logs.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns everything so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
