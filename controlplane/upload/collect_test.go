package upload_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/controlplane/upload"
	"daytona/internal/fault"
	"daytona/internal/objectstore"
	"daytona/internal/objectstore/buckettest"
	"daytona/internal/ociregistry"
)

func TestExcess(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC) }
	all := []upload.Folder{
		{Name: "o/new", Bytes: 10, Used: at(9)}, {Name: "o/needed", Bytes: 10, Used: at(1)},
		{Name: "p/older", Bytes: 10, Used: at(3)}, {Name: "o/old", Bytes: 10, Used: at(2)},
	}
	needed := map[string]bool{"o/needed": true}
	for _, tt := range []struct {
		budget int64
		want   string
	}{{40, ""}, {39, "o/old"}, {30, "o/old"}, {29, "o/old p/older"}, {0, "o/old p/older"}} {
		if got := strings.Join(upload.Excess(all, needed, tt.budget, at(9)), " "); got != tt.want {
			t.Errorf("budget %d: %q, want %q", tt.budget, got, tt.want)
		}
	}
}

func TestNamed(t *testing.T) {
	d := digest.FromString("x")
	tag := ociregistry.Tag{Repository: "daytona/o/tools", Name: "1", Digest: d}
	for text, want := range map[string]bool{
		"":                                 false,
		"localhost:3986/daytona/o/tools:1": true,
		"daytona/p/tools:1":                false,
		"h/daytona/o/tools:2":              false,
		"FROM x\nCOPY --from=h/daytona/o/tools:1 /a /b\n":   true,
		"FROM h/daytona/o/tools@" + d.String() + " AS base": true,
	} {
		if got := upload.Named(tag, []upload.Use{{}, {Text: text}}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// rows are what is needed.
type rows []upload.Use

func (r *rows) UploadsInUse(context.Context) ([]upload.Use, error) { return slices.Clone(*r), nil }

func service(t *testing.T, c upload.Config, r *rows) *upload.Service {
	t.Helper()
	at := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	c.Key, c.URL, c.SecureURL, c.RunnerURL, c.Log = make([]byte, 32), at, at, at, slog.New(slog.DiscardHandler)
	s, err := upload.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Rows = r
	return s
}

func put(t *testing.T, b objectstore.Bucket, key string, bytesOf int) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, bytes.NewReader(make([]byte, bytesOf)), int64(bytesOf), ""); err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, b objectstore.Bucket) string {
	t.Helper()
	page, err := b.List(t.Context(), objectstore.Query{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, o := range page.Objects {
		out = append(out, o.Key)
	}
	return strings.Join(out, " ")
}

// TestCollect: contexts go that nothing needs and of which nobody spoke, and only
// as many as have to.
func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := buckettest.NewMemory()
		needed := &rows{{OrgID: "o1", Contexts: []string{"needed"}}}
		s := service(t, upload.Config{Bucket: b, Budget: 250}, needed)
		for _, hash := range []string{"needed", "old", "asked"} {
			put(t, b, "o1/"+hash+"/context.tar", 100)
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Hour)
		collect := func(want int) {
			t.Helper()
			r, err := s.Collect(t.Context())
			if err != nil || r.Contexts != want {
				t.Fatalf("%+v, %v; want %d", r, err, want)
			}
		}
		collect(0) // nobody knows yet of what clients spoke
		time.Sleep(2 * time.Hour)
		if _, err := s.ContextURL(t.Context(), "o1", "old"); err != nil { // a client asks for a build of it
			t.Fatal(err)
		}
		collect(1)
		if got := keys(t, b); got != "o1/needed/context.tar o1/old/context.tar" {
			t.Errorf("left: %s", got)
		}
		collect(0)
		put(t, b, "o2/fresh/context.tar", 100)
		collect(0) // over the budget, but all is needed or in use
		time.Sleep(3 * time.Hour)
		*needed = nil
		collect(1)
		if got := keys(t, b); got != "o1/old/context.tar o2/fresh/context.tar" {
			t.Errorf("left: %s", got)
		}
	})
}

// TestLimit: an organization that has its share makes room of what it does not
// need, and is refused when that is not enough. Others do not feel it.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := buckettest.NewMemory()
		needed := &rows{{OrgID: "o1", Contexts: []string{"needed"}}}
		s := service(t, upload.Config{Bucket: b, Limit: 300}, needed)
		put(t, b, "o1/needed/context.tar", 100)
		put(t, b, "o1/old/context.tar", 100)
		id, err := b.Begin(t.Context(), "o1/parts/context.tar", "")
		if err == nil {
			_, err = b.PutPart(t.Context(), "o1/parts/context.tar", id, 1, bytes.NewReader(make([]byte, 50)), 50)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := upload.Admit(s, t.Context(), "o1/a/context.tar", 50); err != nil {
			t.Errorf("within the limit: %v", err)
		}
		if err := upload.Admit(s, t.Context(), "o1/b/context.tar", 1); !fault.Is(err, fault.Forbidden) {
			t.Errorf("beyond the limit: %v", err)
		}
		if err := upload.Admit(s, t.Context(), "o2/b/context.tar", 300); err != nil {
			t.Errorf("another organization: %v", err)
		}
		time.Sleep(3 * time.Hour) // what was admitted never came
		if err := upload.Admit(s, t.Context(), "o1/b/context.tar", 150); err != nil {
			t.Errorf("there is room to be made: %v", err)
		}
		if got := keys(t, b); got != "o1/needed/context.tar" {
			t.Errorf("left: %s", got)
		}
		if err := upload.Admit(s, t.Context(), "o1/b/context.tar", 250); !fault.Is(err, fault.Forbidden) {
			t.Errorf("what is needed does not go: %v", err)
		}
	})
}

// TestPushedTags: one that nothing needs goes after its time.
func TestPushedTags(t *testing.T) {
	needed := &rows{{Text: "127.0.0.1:1/daytona/o1/needed:1"}, {Text: "FROM 127.0.0.1:1/daytona/o1/base:1\nRUN true"}}
	now := time.Now()
	s := service(t, upload.Config{
		Bucket: buckettest.NewMemory(), RegistryDir: t.TempDir(), KeepPushed: 24 * time.Hour, Now: func() time.Time { return now },
	}, needed)
	defer s.Close()
	access, err := s.Registry("o1")
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path, contentType, body string) int {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.SetBasicAuth(access.Username, access.Secret)
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Accept", v1.MediaTypeImageManifest)
		w := httptest.NewRecorder()
		s.RegistryHandler().ServeHTTP(w, r)
		if method == http.MethodPost {
			return finishBlob(t, s, access, w.Header().Get("Location"), body)
		}
		return w.Code
	}
	const config = `{}`
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		v1.MediaTypeImageManifest, v1.MediaTypeImageConfig, digest.FromString(config), len(config))
	for _, name := range []string{"needed", "base", "unused"} {
		if code := send(http.MethodPost, "/v2/daytona/o1/"+name+"/blobs/uploads/", "", config); code != http.StatusCreated {
			t.Fatalf("blob: %d", code)
		}
		if code := send(http.MethodPut, "/v2/daytona/o1/"+name+"/manifests/1", v1.MediaTypeImageManifest, manifest); code != http.StatusCreated {
			t.Fatalf("manifest: %d", code)
		}
	}
	for _, step := range []struct {
		later time.Duration
		gone  int
	}{{3 * time.Hour, 0}, {20 * time.Hour, 0}, {2 * time.Hour, 1}, {0, 0}} {
		now = now.Add(step.later)
		if r, err := s.Collect(t.Context()); err != nil || r.Tags != step.gone {
			t.Fatalf("after %s: %+v, %v", step.later, r, err)
		}
	}
	access, err = s.Registry("o1")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"needed": http.StatusOK, "base": http.StatusOK, "unused": http.StatusNotFound} {
		if code := send(http.MethodHead, "/v2/daytona/o1/"+name+"/manifests/1", "", ""); code != want {
			t.Errorf("%s: %d, want %d", name, code, want)
		}
	}
}

// What rows name by digest the registry keeps, and Needed tells of it.
func TestPinned(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	s := service(t, upload.Config{Bucket: buckettest.NewMemory()}, &rows{
		{Text: "h/daytona/o1/x:1@" + a.String()}, {Text: "FROM h/daytona/o1/y@" + b.String() + "\nRUN true"}, {Text: "h/daytona/o1/z:1"}})
	got, err := upload.Pinned(s, t.Context())
	if err != nil || len(got) != 2 || !got[a] || !got[b] {
		t.Errorf("%v, %v", got, err)
	}
	for image, want := range map[string]bool{"daytona/o1/x:1": true, "h/daytona/o1/y@" + b.String(): true, "h/daytona/o1/z:1": true, "h/daytona/o1/w:1": false} {
		if needed, err := s.Needed(t.Context(), image); err != nil || needed != want {
			t.Errorf("%s: %t, %v", image, needed, err)
		}
	}
}

// The limit is that of an organization, over all its repositories.
func TestPushLimit(t *testing.T) {
	s := service(t, upload.Config{Bucket: buckettest.NewMemory(), RegistryDir: t.TempDir(), PushLimit: 100}, &rows{})
	defer s.Close()
	push := func(org, repository string, size int) int {
		access, err := s.Registry(org)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/v2/daytona/"+org+"/"+repository+"/blobs/uploads/", nil)
		r.SetBasicAuth(access.Username, access.Secret)
		w := httptest.NewRecorder()
		s.RegistryHandler().ServeHTTP(w, r)
		return finishBlob(t, s, access, w.Header().Get("Location"), strings.Repeat(repository, size))
	}
	for _, c := range []struct {
		org, repository string
		size, want      int
	}{
		{"o1", "a", 60, http.StatusCreated}, {"o1", "b", 60, http.StatusRequestEntityTooLarge}, {"o2", "a", 60, http.StatusCreated},
		{"o1", "c", 30, http.StatusCreated},
	} {
		if code := push(c.org, c.repository, c.size); code != c.want {
			t.Errorf("%s/%s: %d, want %d", c.org, c.repository, code, c.want)
		}
	}
}

// finishBlob ends the upload of a blob.
func finishBlob(t *testing.T, s *upload.Service, access upload.RegistryAccess, location, body string) int {
	t.Helper()
	r := httptest.NewRequest(http.MethodPut, location+"&digest="+digest.FromString(body).String(), strings.NewReader(body))
	r.SetBasicAuth(access.Username, access.Secret)
	r.Header.Set("Content-Type", "application/octet-stream")
	w := httptest.NewRecorder()
	s.RegistryHandler().ServeHTTP(w, r)
	return w.Code
}

// The files of archived sandboxes are in the same bucket, and are no uploads.
func TestArchivesAreNotCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := buckettest.NewMemory()
		s := service(t, upload.Config{Bucket: b, Budget: 100}, &rows{})
		put(t, b, upload.Archives+"o1/sandbox/chunks/1", 1000)
		put(t, b, "o1/fits/context.tar", 100)
		time.Sleep(100 * time.Hour)
		if r, err := s.Collect(t.Context()); err != nil || r.Contexts != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if got := keys(t, b); got != upload.Archives+"o1/sandbox/chunks/1 o1/fits/context.tar" {
			t.Errorf("left: %s", got)
		}
	})
}
