package files

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"daytona/toolbox/wire"
)

// newService serves a directory of the test.
func newService(t *testing.T) (*Service, string) {
	t.Helper()
	dir := t.TempDir()
	return &Service{WorkDir: dir, Home: func() string { return dir }, Log: slog.New(slog.DiscardHandler)}, dir
}

// serve answers a request as the toolbox does.
func serve(ctx context.Context, h wire.Handler, path, contentType string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	if err := h(w, r); err != nil {
		told := wire.Describe(err, r, time.Now())
		_ = wire.JSON(w, told.StatusCode, told)
	}
	return w
}

// tame reports whether a body can name no file outside of the work directory:
// the tests may run as root.
func tame(body []byte) bool {
	return !bytes.Contains(body, []byte("/")) && !bytes.Contains(body, []byte("..")) &&
		!bytes.Contains(bytes.ToLower(body), []byte("quoted-printable"))
}

// wantNoRest fails when a part of an upload was left behind.
func wantNoRest(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, ".upload-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// wantTold fails unless an answer is one that a client can make sense of.
func wantTold(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	switch w.Code {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity:
		var told wire.Error
		if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || told.Message == "" || told.StatusCode != w.Code {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	default:
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// seeds are bodies of the boundary B.
var seeds = []string{
	"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhello\r\n--B--\r\n",
	"--B\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nx\r\n--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n\r\n--B--",
	"--B\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\nname\r\n--B\r\nContent-Disposition: form-data; name=\"files[0].file\"; filename=\"f\"\r\n\r\nhello\r\n--B--\r\n",
	"--B\r\nContent-Disposition: form-data; name=\"files[1].file\"\r\n\r\nhello\r\n--B\r\nContent-Disposition: form-data; name=\"files[1].path\"\r\n\r\nname\r\n--B--\r\n",
	"--B\r\nContent-Disposition: form-data; name=\"files[99999999999999999999].path\"\r\n\r\nname\r\n--B--\r\n",
	"--B\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\n~\r\n--B\r\nContent-Disposition: form-data; name=\"files[0].file\"\r\n\r\nover the home directory\r\n--B--\r\n",
	"--B\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\na\x00b\r\n--B\r\nContent-Disposition: form-data; name=\"files[0].file\"\r\n\r\nx\r\n--B--\r\n",
	"--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nbreaks o",
	"--B\r\n: \r\n\r\n\r\n--B",
	"--B--",
	"",
}

func FuzzUpload(f *testing.F) {
	for _, body := range seeds {
		f.Add("multipart/form-data; boundary=B", []byte(body))
	}
	f.Add("application/octet-stream", []byte("as it is"))
	f.Add("multipart/form-data", []byte("no boundary"))
	f.Add("multipart/form-data; boundary=\"\"", []byte("--\r\n\r\n\r\n----"))
	f.Add("multipart/mixed; boundary=B; boundary=C", []byte("--B--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		s, dir := newService(t)
		target := filepath.Join(dir, "target")
		for _, route := range []struct {
			path   string
			handle wire.Handler
		}{{"/files/upload", s.Upload}, {"/files/upload-v2", s.UploadEntry}} {
			w := serve(t.Context(), route.handle, route.path+"?path=target", contentType, body)
			wantTold(t, w)
			info, err := os.Stat(target)
			if stored := err == nil && info.Mode().IsRegular(); w.Code == http.StatusOK && (!stored || info.Size() > int64(len(body))) {
				t.Errorf("%s: stored %v, %v", route.path, stored, err)
			}
			if err := os.RemoveAll(target); err != nil {
				t.Fatal(err)
			}
		}
		wantNoRest(t, dir)
	})
}

func FuzzBulkUpload(f *testing.F) {
	for _, body := range seeds {
		f.Add("B", []byte(body))
	}
	f.Add("", []byte(seeds[2]))
	f.Add("B B", []byte("--B B--"))
	f.Fuzz(func(t *testing.T, boundary string, body []byte) {
		if !tame(body) {
			t.Skip()
		}
		s, dir := newService(t)
		w := serve(t.Context(), s.BulkUpload, "/files/bulk-upload", "multipart/form-data; boundary="+boundary, body)
		wantTold(t, w)
		var told struct {
			Files  []uploaded
			Errors []string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		last := map[string]int64{} // of several for one path the last one counts
		for _, file := range told.Files {
			last[s.Resolve(file.Path)] = file.Bytes
		}
		for path, size := range last {
			if info, err := os.Stat(path); err != nil || info.Size() != size {
				t.Errorf("%q of %d bytes: %v, %v", path, size, info, err)
			}
		}
		wantNoRest(t, dir)
	})
}

func FuzzResolve(f *testing.F) {
	for _, path := range []string{"", ".", "..", "~", "~/", "~/x", "~x", "/", "//x", "/a/../../b", "a/./b", "a\\b", "~/../x", "a\x00b", "~//x", " ", "é/ü"} {
		f.Add(path)
	}
	s := &Service{WorkDir: "/work/dir", Home: func() string { return "/home/user" }}
	f.Fuzz(func(t *testing.T, path string) {
		got := s.Resolve(path)
		if !filepath.IsAbs(got) || filepath.Clean(got) != got {
			t.Errorf("Resolve(%q) = %q", path, got)
		}
		if s.Resolve(got) != got {
			t.Errorf("Resolve(%q) = %q, which means %q", path, got, s.Resolve(got))
		}
		// Without "..", a path stays where it begins.
		if strings.Contains(path, "..") {
			return
		}
		top := "/work/dir"
		switch {
		case path == "~" || strings.HasPrefix(path, "~/"):
			top = "/home/user"
		case strings.HasPrefix(path, "/"):
			top = "/"
		}
		if rel, err := filepath.Rel(top, got); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			t.Errorf("Resolve(%q) = %q, outside of %s", path, got, top)
		}
		// What comes as a parameter is what is resolved.
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/files/info?path="+url.QueryEscape(path), nil)
		given, err := s.pathParam(r, "path")
		if refused := path == "" || strings.ContainsRune(path, 0); refused != (err != nil) || err == nil && given != got {
			t.Errorf("parameter %q: %q, %v", path, given, err)
		}
	})
}

func FuzzBulkField(f *testing.F) {
	for _, name := range []string{"files[0].path", "files[12].file", "files[-1].path", "files[].file", "files[0]", "files[0].other", "files[+1].path", "files[00].path", "files[99999999999999999999].file"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		index, field, ok := bulkField(name)
		if !ok {
			return
		}
		if index < 0 || field != "path" && field != "file" || !strings.HasPrefix(name, "files[") || !strings.HasSuffix(name, "]."+field) {
			t.Errorf("%q: %d %q", name, index, field)
		}
	})
}
