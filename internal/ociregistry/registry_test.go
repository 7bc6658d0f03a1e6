package ociregistry_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/internal/fault"
	"daytona/internal/ociregistry"
)

type caller string

func (c caller) May(_ ociregistry.Action, repository string) bool {
	return strings.HasPrefix(repository, "p/"+string(c)+"/")
}

type world struct {
	*ociregistry.Registry
	url  string
	now  func() time.Time
	keep map[digest.Digest]bool
}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{now: time.Now}
	r, err := ociregistry.New(ociregistry.Config{
		Dir: dir, Key: make([]byte, 32), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now() },
		Keep: func(context.Context) (map[digest.Digest]bool, error) { return w.keep, nil },
		Authenticate: func(_ context.Context, name, password string) (ociregistry.Caller, error) {
			if password != "good" {
				return nil, fault.New(fault.Unauthenticated, "unknown")
			}
			return caller(name), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	t.Cleanup(func() { server.Close(); _ = r.Close() })
	w.Registry, w.url = r, server.URL
	return w
}

// client is one organization's.
type client struct {
	t        *testing.T
	w        *world
	org      string
	password string
}

func (w *world) client(t *testing.T, org string) *client { return &client{t, w, org, "good"} }

func (c *client) do(method, target, contentType string, body []byte) (int, http.Header, []byte) {
	c.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = c.w.url + target
	}
	r, err := http.NewRequestWithContext(context.Background(), method, target, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.password != "" {
		r.SetBasicAuth(c.org, c.password)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Set("Accept", v1.MediaTypeImageManifest+", "+v1.MediaTypeImageIndex)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, data
}

func (c *client) want(status int, method, target, contentType string, body []byte) []byte {
	c.t.Helper()
	got, _, data := c.do(method, target, contentType, body)
	if got != status {
		c.t.Errorf("%s %s: %d, want %d: %s", method, target, got, status, data)
	}
	return data
}

func (c *client) blob(repo string, data []byte) v1.Descriptor {
	c.t.Helper()
	d := digest.FromBytes(data)
	status, header, text := c.do("POST", "/v2/"+repo+"/blobs/uploads/", "", nil)
	if status != 202 {
		c.t.Fatalf("begin: %d %s", status, text)
	}
	at := header.Get("Location")
	separator := "?"
	if strings.Contains(at, "?") {
		separator = "&"
	}
	c.want(201, "PUT", at+separator+"digest="+d.String(), "application/octet-stream", data)
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: d, Size: int64(len(data))}
}

func manifest(t *testing.T, config v1.Descriptor, layers ...v1.Descriptor) []byte {
	t.Helper()
	config.MediaType = v1.MediaTypeImageConfig
	data, err := json.Marshal(v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: config, Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// push pushes an image of one layer and returns its manifest. Leases in these
// tests are so short that a slow push may lose its blobs: it is told, and begins
// again as clients do.
func (c *client) push(repo, tag string, layer []byte) []byte {
	c.t.Helper()
	var status int
	var text []byte
	for range 50 {
		m := manifest(c.t, c.blob(repo, []byte(`{"architecture":"amd64","os":"linux"}`)), c.blob(repo, layer))
		status, _, text = c.do("PUT", "/v2/"+repo+"/manifests/"+tag, v1.MediaTypeImageManifest, m)
		if status == 201 {
			return m
		}
		if !strings.Contains(string(text), "MANIFEST_BLOB_UNKNOWN") {
			break
		}
	}
	c.t.Fatalf("push %s:%s: %d %s", repo, tag, status, text)
	return nil
}

func layer(t *testing.T) []byte {
	t.Helper()
	data := make([]byte, 1000)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPushAndPull(t *testing.T) {
	w := newWorld(t, t.TempDir())
	c := w.client(t, "a")
	content := layer(t)
	m := c.push("p/a/app", "1", content)
	if got := c.want(200, "GET", "/v2/p/a/app/manifests/1", "", nil); !bytes.Equal(got, m) {
		t.Errorf("manifest: %s", got)
	}
	if got := c.want(200, "GET", "/v2/p/a/app/blobs/"+digest.FromBytes(content).String(), "", nil); !bytes.Equal(got, content) {
		t.Error("the layer differs")
	}
	c.want(200, "GET", "/v2/", "", nil)
	c.want(404, "GET", "/v2/p/a/app/manifests/2", "", nil)
	if got := string(c.want(200, "GET", "/v2/p/a/app/tags/list", "", nil)); !strings.Contains(got, `["1"]`) {
		t.Errorf("tags: %s", got)
	}
	// Content that is not what its digest says, and a manifest of what is not there.
	_, header, _ := c.do("POST", "/v2/p/a/app/blobs/uploads/", "", nil)
	c.want(400, "PUT", header.Get("Location")+"&digest="+digest.FromString("another").String(), "application/octet-stream", content)
	gone := v1.Descriptor{Digest: digest.FromString("nowhere"), Size: 7, MediaType: v1.MediaTypeImageLayerGzip}
	c.want(400, "PUT", "/v2/p/a/app/manifests/bad", v1.MediaTypeImageManifest, manifest(t, gone, gone))
}

// Organizations share blobs on the disk, and see nothing of each other.
func TestIsolation(t *testing.T) {
	w := newWorld(t, t.TempDir())
	a, b := w.client(t, "a"), w.client(t, "b")
	secret := layer(t)
	a.push("p/a/app", "1", secret)
	d := digest.FromBytes(secret)
	for _, tt := range []struct {
		method, target string
	}{
		{"GET", "/v2/p/a/app/manifests/1"}, {"HEAD", "/v2/p/a/app/manifests/1"}, {"PUT", "/v2/p/a/app/manifests/1"}, {"DELETE", "/v2/p/a/app/manifests/1"},
		{"GET", "/v2/p/a/app/blobs/" + d.String()}, {"HEAD", "/v2/p/a/app/blobs/" + d.String()}, {"DELETE", "/v2/p/a/app/blobs/" + d.String()},
		{"POST", "/v2/p/a/app/blobs/uploads/"}, {"GET", "/v2/p/a/app/tags/list"}, {"GET", "/v2/_catalog"}, {"GET", "/v2/p/ab/x/tags/list"},
		{"GET", "/v2/p/a/nothing/manifests/1"}, {"GET", "/v2/p/b/../a/app/manifests/1"}, {"POST", "/v2/p/b/x/blobs/uploads/?from=p/a/app&mount=" + d.String()},
	} {
		if status, _, text := b.do(tt.method, tt.target, "", nil); status != 401 && status != 404 {
			t.Errorf("%s %s: %d %s", tt.method, tt.target, status, text)
		}
	}
	// Neither by a name of its own, nor by mounting without saying from where,
	// nor by a manifest that names the digest.
	b.push("p/b/own", "1", layer(t))
	b.want(404, "GET", "/v2/p/b/own/blobs/"+d.String(), "", nil)
	b.want(202, "POST", "/v2/p/b/own/blobs/uploads/?mount="+d.String(), "", nil) // an upload begins: nothing was mounted
	b.want(202, "POST", "/v2/p/b/own/blobs/uploads/?mount="+d.String()+"&from=p/b/own", "", nil)
	desc := v1.Descriptor{Digest: d, Size: 1000, MediaType: v1.MediaTypeImageLayerGzip}
	b.want(400, "PUT", "/v2/p/b/own/manifests/steal", v1.MediaTypeImageManifest, manifest(t, desc, desc))
	b.want(404, "GET", "/v2/p/b/own/blobs/"+d.String(), "", nil)
	// One's own may be mounted, and what both have is one's own too.
	a.want(201, "POST", "/v2/p/a/other/blobs/uploads/?from=p/a/app&mount="+d.String(), "", nil)
	b.push("p/b/own", "2", secret)
	b.want(200, "GET", "/v2/p/b/own/blobs/"+d.String(), "", nil)
	// Nobody.
	for _, c := range []*client{{t, w, "a", ""}, {t, w, "a", "bad"}} {
		status, header, _ := c.do("GET", "/v2/", "", nil)
		if status != 401 || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%q: %d %v", c.password, status, header)
		}
		c.want(401, "GET", "/v2/p/a/app/manifests/1", "", nil)
		c.want(401, "POST", "/v2/p/a/app/blobs/uploads/", "", nil)
	}
}

func (w *world) collect(t *testing.T, ahead time.Duration) ociregistry.Report {
	t.Helper()
	report, err := w.Collect(t.Context(), time.Now().Add(ahead))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestCollect(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, dir)
	c := w.client(t, "a")
	if got := w.collect(t, time.Hour); got != (ociregistry.Report{}) {
		t.Errorf("an empty registry: %+v", got)
	}
	shared, first, second := layer(t), layer(t), layer(t)
	old := c.push("p/a/app", "1", first)
	c.push("p/a/app", "1", second) // takes the tag over
	c.push("p/a/app", "gone", shared)
	c.push("p/a/other", "1", shared)
	c.blob("p/a/app", []byte("of a push that was broken off"))
	for _, tag := range []string{"gone", "gone", "never"} {
		if err := w.Untag(t.Context(), "p/a/app", tag); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Untag(t.Context(), "p/a/nowhere", "1"); err != nil {
		t.Error(err)
	}
	if got := w.collect(t, -time.Minute); got != (ociregistry.Report{}) {
		t.Errorf("what clients spoke of just now: %+v", got)
	}
	got := w.collect(t, time.Minute)
	if got.Manifests != 2 || got.Blobs < 3 {
		t.Errorf("collected %+v", got)
	}
	has := func(repo string, data []byte) int {
		status, _, _ := c.do("HEAD", "/v2/"+repo+"/blobs/"+digest.FromBytes(data).String(), "", nil)
		return status
	}
	for _, tt := range []struct {
		repo string
		data []byte
		want int
	}{{"p/a/app", first, 404}, {"p/a/app", second, 200}, {"p/a/app", shared, 404}, {"p/a/other", shared, 200}} {
		if got := has(tt.repo, tt.data); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.repo, got, tt.want)
		}
	}
	c.want(404, "GET", "/v2/p/a/app/manifests/"+digest.FromBytes(old).String(), "", nil)
	if got := w.collect(t, time.Minute); got.Blobs != 0 || got.Manifests != 0 {
		t.Errorf("the second time: %+v", got)
	}
	c.push("p/a/app", "again", first)
	c.want(200, "GET", "/v2/p/a/app/blobs/"+digest.FromBytes(first).String(), "", nil)

	// After a restart nobody knows of what clients spoke.
	again := newWorld(t, dir)
	if err := again.Untag(t.Context(), "p/a/app", "again"); err != nil {
		t.Fatal(err)
	}
	if got := again.collect(t, -time.Minute); got != (ociregistry.Report{}) {
		t.Errorf("just after the start: %+v", got)
	}
}

// A manifest that somebody needs stays when its tag moves on.
func TestCollectPinned(t *testing.T) {
	w := newWorld(t, t.TempDir())
	c := w.client(t, "a")
	first, second := layer(t), layer(t)
	old := c.push("p/a/app", "1", first)
	c.push("p/a/app", "1", second)
	w.keep = map[digest.Digest]bool{digest.FromBytes(old): true}
	if got := w.collect(t, time.Minute); got.Manifests != 0 {
		t.Errorf("collected %+v", got)
	}
	c.want(200, "GET", "/v2/p/a/app/manifests/"+digest.FromBytes(old).String(), "", nil)
	c.want(200, "GET", "/v2/p/a/app/blobs/"+digest.FromBytes(first).String(), "", nil)
	w.keep = nil
	if got := w.collect(t, time.Minute); got.Manifests != 1 {
		t.Errorf("no longer needed: %+v", got)
	}
	c.want(404, "GET", "/v2/p/a/app/manifests/"+digest.FromBytes(old).String(), "", nil)
}

// An index keeps what it lists.
func TestCollectIndex(t *testing.T) {
	w := newWorld(t, t.TempDir())
	c := w.client(t, "a")
	content := layer(t)
	m := manifest(t, c.blob("p/a/app", []byte(`{}`)), c.blob("p/a/app", content))
	d := digest.FromBytes(m)
	c.want(201, "PUT", "/v2/p/a/app/manifests/"+d.String(), v1.MediaTypeImageManifest, m)
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{{MediaType: v1.MediaTypeImageManifest, Digest: d, Size: int64(len(m)), Platform: &v1.Platform{Architecture: "amd64", OS: "linux"}}}})
	if err != nil {
		t.Fatal(err)
	}
	c.want(201, "PUT", "/v2/p/a/app/manifests/1", v1.MediaTypeImageIndex, index)
	if got := w.collect(t, time.Minute); got.Manifests != 0 || got.Blobs != 0 {
		t.Errorf("collected %+v", got)
	}
	c.want(200, "GET", "/v2/p/a/app/manifests/"+d.String(), "", nil)
	c.want(200, "GET", "/v2/p/a/app/blobs/"+digest.FromBytes(content).String(), "", nil)
	if err := w.Untag(t.Context(), "p/a/app", "1"); err != nil {
		t.Fatal(err)
	}
	if got := w.collect(t, time.Minute); got.Manifests != 2 {
		t.Errorf("collected %+v", got)
	}
}

// Pushes and collections at once: whatever push was answered is whole.
func TestCollectWhilePushing(t *testing.T) {
	w := newWorld(t, t.TempDir())
	layers := [][]byte{layer(t), layer(t), layer(t)}
	stop, collected := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(collected)
		for {
			select {
			case <-stop:
				return
			default:
			}
			// Leases count from half a second ago on: a push takes less.
			if _, err := w.Collect(context.Background(), time.Now().Add(-500*time.Millisecond)); err != nil {
				t.Errorf("collect: %v", err)
				return
			}
		}
	}()
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			c := w.client(t, fmt.Sprint("org", i))
			repo := fmt.Sprintf("p/org%d/app", i)
			for n := range 15 {
				content := layers[n%len(layers)]
				c.push(repo, "1", content)
				m := c.want(200, "GET", "/v2/"+repo+"/manifests/1", "", nil)
				var parsed v1.Manifest
				if err := json.Unmarshal(m, &parsed); err != nil {
					t.Error(err)
					return
				}
				for _, d := range append(parsed.Layers, parsed.Config) {
					c.want(200, "GET", "/v2/"+repo+"/blobs/"+d.Digest.String(), "", nil)
				}
				if err := w.Untag(context.Background(), repo, "1"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	close(stop)
	<-collected
}

// childVariable makes this test a registry that is killed.
const childVariable = "DAYTONA_TEST_REGISTRY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		serve(dir)
		return
	}
	os.Exit(m.Run())
}

// serve collects without a pause what nobody refers to.
func serve(dir string) {
	r, err := ociregistry.New(ociregistry.Config{Dir: dir, Key: make([]byte, 32), Log: slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, name, _ string) (ociregistry.Caller, error) { return caller(name), nil }})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(r)
	fmt.Println(server.URL)
	go func() { // it must not outlive the test, however that ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	for {
		_, _ = r.Collect(context.Background(), time.Now().Add(-200*time.Millisecond))
	}
}

// Killed at any point of pushes, deletes and collections, what was answered is
// there, and whatever is shown is whole.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	c := &client{t, &world{}, "a", "good"}
	kept := map[string][]byte{}
	for round := range 6 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+dir)
		if _, err := cmd.StdinPipe(); err != nil { // open as long as we live
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 100)
		n, err := out.Read(line)
		if err != nil {
			t.Fatal(err)
		}
		c.w.url = strings.TrimSpace(string(line[:n]))
		for tag, want := range kept {
			m := c.want(200, "GET", "/v2/p/a/app/manifests/"+tag, "", nil)
			if !bytes.Equal(m, want) {
				t.Fatalf("round %d: %s is another", round, tag)
			}
			var parsed v1.Manifest
			if err := json.Unmarshal(m, &parsed); err != nil {
				t.Fatal(err)
			}
			for _, d := range append(parsed.Layers, parsed.Config) {
				data := c.want(200, "GET", "/v2/p/a/app/blobs/"+d.Digest.String(), "", nil)
				if digest.FromBytes(data) != d.Digest {
					t.Errorf("round %d: %s has another content", round, tag)
				}
			}
		}
		for i := range 3 {
			tag := fmt.Sprintf("%d-%d", round, i)
			kept[tag] = c.push("p/a/app", tag, layer(t))
		}
		for tag, m := range kept { // one goes, so that there is something to collect
			c.want(202, "DELETE", "/v2/p/a/app/manifests/"+digest.FromBytes(m).String(), "", nil)
			delete(kept, tag)
			break
		}
		// A push that is under way.
		_, header, _ := c.do("POST", "/v2/p/a/app/blobs/uploads/", "", nil)
		go func() {
			r, err := http.NewRequestWithContext(context.Background(), "PATCH", c.w.url+header.Get("Location"), io.LimitReader(rand.Reader, 1<<30))
			if err == nil {
				r.SetBasicAuth("a", "good")
				if answer, err := http.DefaultClient.Do(r); err == nil {
					answer.Body.Close()
				}
			}
		}()
		uploads := filepath.Join(dir, "docker/registry/v2/repositories/p/a/app/_uploads")
		for deadline := time.Now().Add(10 * time.Second); ; {
			data, _ := filepath.Glob(uploads + "/*/data")
			if len(data) > round || time.Now().After(deadline) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
}
