package ociregistry_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"daytona/internal/ociregistry"
)

// limited is a registry in which each of p/a, p/b … may hold limit bytes, on a
// disk of which reserve bytes are left alone.
func limited(t *testing.T, limit, reserve int64) (*world, string) {
	t.Helper()
	w, dir := &world{now: time.Now}, t.TempDir()
	r, err := ociregistry.New(ociregistry.Config{
		Dir: dir, Key: make([]byte, 32), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now() },
		Authenticate: func(_ context.Context, name, _ string) (ociregistry.Caller, error) { return caller(name), nil },
		Limit:        limit, Reserve: reserve,
		Owner: func(repository string) string { return strings.Join(strings.SplitN(repository, "/", 3)[:2], "/") },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	t.Cleanup(func() { server.Close(); _ = r.Close() })
	w.Registry, w.url = r, server.URL
	return w, dir
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// stream sends a body without a length, and returns the answer; a connection that
// breaks off is 0.
func (c *client) stream(method, target string, body io.Reader) (int, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.w.url+target, body)
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth(c.org, c.password)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text)
}

func (c *client) begin(repo string) string {
	c.t.Helper()
	status, header, text := c.do("POST", "/v2/"+repo+"/blobs/uploads/", "", nil)
	if status != http.StatusAccepted {
		c.t.Fatalf("begin: %d %s", status, text)
	}
	return strings.TrimPrefix(header.Get("Location"), c.w.url)
}

func uploadsLeft(t *testing.T, dir string) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "docker/registry/v2/repositories/p/*/*/_uploads/*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestLimit(t *testing.T) {
	const limit = 4 << 20
	w, dir := limited(t, limit, 1)
	a, b := w.client(t, "a"), w.client(t, "b")

	// One without an end, of which nothing was announced.
	status, text := a.stream("PATCH", a.begin("p/a/app"), endless{})
	if status != http.StatusRequestEntityTooLarge || !strings.Contains(text, `"code":"DENIED"`) || !strings.Contains(text, "p/a holds 4 MiB of images, and may hold 4") {
		t.Errorf("without an end: %d %s", status, text)
	}
	// One that says how large it is, in one go.
	at := a.begin("p/a/app")
	big := make([]byte, limit+1)
	status, _, answer := a.do("PUT", at+"&digest="+digest.FromBytes(big).String(), "application/octet-stream", big)
	if status != http.StatusRequestEntityTooLarge || !strings.Contains(string(answer), "may hold 4") {
		t.Errorf("announced: %d %s", status, answer)
	}
	if left := uploadsLeft(t, dir); len(left) != 0 {
		t.Errorf("refused uploads stay: %v", left)
	}

	// What fits fits, from several repositories together.
	hours := 0
	later := func() { // when counts are no longer believed
		hours++
		w.now = func() time.Time { return time.Now().Add(time.Duration(hours) * time.Hour) }
	}
	const part = limit / 4
	some := make([]byte, part)
	some[0] = 1
	a.push("p/a/one", "1", some)
	some[0] = 2
	a.push("p/a/two", "1", some)
	if n, err := w.Held("p/a"); err != nil || n < 2*part || n > 2*part+2000 {
		t.Errorf("held: %d, %v", n, err)
	}
	a.push("p/a/three", "1", some) // the same once more is stored once
	later()
	// Uploads under way count.
	at = a.begin("p/a/app")
	if status, text = a.stream("PATCH", at, io.LimitReader(endless{}, part)); status != http.StatusAccepted {
		t.Errorf("under way: %d %s", status, text)
	}
	for range 2 { // by what came since the last count, and by a new one
		if status, _ = a.stream("PATCH", a.begin("p/a/app"), io.LimitReader(endless{}, part)); status != http.StatusRequestEntityTooLarge {
			t.Errorf("beyond: %d", status)
		}
		later()
	}
	a.want(200, "GET", "/v2/p/a/one/manifests/1", "", nil) // pulls go on
	b.push("p/b/app", "1", some)                           // and so do others
	// What is removed may be used anew.
	a.want(204, "DELETE", a.resume("p/a/app", at), "", nil)
	later()
	if status, text = a.stream("PATCH", a.begin("p/a/app"), io.LimitReader(endless{}, part)); status != http.StatusAccepted {
		t.Errorf("after the removal: %d %s", status, text)
	}
}

// resume is where an upload that began at a place goes on.
func (c *client) resume(repo, at string) string {
	c.t.Helper()
	status, header, text := c.do("GET", at, "", nil)
	if status != http.StatusNoContent {
		c.t.Fatalf("%s: %d %s", repo, status, text)
	}
	return strings.TrimPrefix(header.Get("Location"), c.w.url)
}

func TestFullDisk(t *testing.T) {
	w, dir := limited(t, 0, 1<<60) // more than there is
	a := w.client(t, "a")
	status, text := a.stream("PATCH", a.begin("p/a/app"), endless{})
	if status != http.StatusInsufficientStorage || !strings.Contains(text, "disk is full") {
		t.Errorf("%d %s", status, text)
	}
	some := make([]byte, 10)
	status, _, answer := a.do("PUT", a.begin("p/a/app")+"&digest="+digest.FromBytes(some).String(), "application/octet-stream", some)
	if status != http.StatusInsufficientStorage {
		t.Errorf("%d %s", status, answer)
	}
	if left := uploadsLeft(t, dir); len(left) != 0 {
		t.Errorf("refused uploads stay: %v", left)
	}
	// Nobody is told of the disk who may not push there.
	if status, text := w.client(t, "b").stream("PATCH", "/v2/p/a/app/blobs/uploads/00000000-0000-0000-0000-000000000000", strings.NewReader("x")); status != http.StatusUnauthorized {
		t.Errorf("somebody else: %d %s", status, text)
	}
}
