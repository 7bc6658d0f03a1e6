package toolbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// form builds a multipart body from name, value pairs; a name that ends in
// "file" is sent as a file.
func form(t *testing.T, pairs ...string) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	for i := 0; i < len(pairs); i += 2 {
		var part io.Writer
		var err error
		if strings.HasSuffix(pairs[i], "file") {
			part, err = w.CreateFormFile(pairs[i], "name")
		} else {
			part, err = w.CreateFormField(pairs[i])
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return body, w.FormDataContentType()
}

func (s *sandbox) mode(name string) fs.FileMode {
	s.t.Helper()
	info, err := os.Lstat(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return info.Mode()
}

func q(path string) string { return url.QueryEscape(path) }

func TestInfoAndList(t *testing.T) {
	s := newSandbox(t)
	path := s.write("a b", "hello")
	when := time.Date(2025, 8, 22, 10, 0, 0, 123456789, time.UTC)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"name": "a b", "size": 5.0, "mode": "-rw-r--r--", "permissions": "0644", "isDir": false,
		"modTime": "2025-08-22 10:00:00.123456789 +0000 UTC", "modifiedAt": "2025-08-22T10:00:00.123456789Z",
		"owner": fmt.Sprint(os.Getuid()), "group": fmt.Sprint(os.Getgid()),
	}
	for _, given := range []string{path, "a b", "./home/../a b"} {
		var got map[string]any
		s.want(200, "GET", "/files/info?path="+q(given), nil, &got)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", given, got, want)
		}
	}
	if err := os.Symlink("/no/where", s.dir+"/dangling"); err != nil {
		t.Fatal(err)
	}
	for _, route := range []string{"/files", "/files/", "/files?path=.", "/files/?path=" + q(s.dir)} {
		var got []map[string]any
		s.want(200, "GET", route, nil, &got)
		if len(got) != 2 || got[0]["name"] != "a b" || got[1]["name"] != "home" || got[1]["isDir"] != true || got[1]["mode"] != "drwxr-xr-x" {
			t.Errorf("%s: %v", route, got)
		}
	}
	if _, body := s.do("GET", "/files?path=home", nil); strings.TrimSpace(body) != "[]" {
		t.Errorf("empty directory: %s", body)
	}
	if err := os.Symlink("..", s.dir+"/home/loop"); err != nil {
		t.Fatal(err)
	}
	var deep []map[string]any
	s.want(200, "GET", "/files?depth=9", nil, &deep)
	var paths []string
	for _, info := range deep {
		paths = append(paths, strings.TrimPrefix(info["path"].(string), s.dir))
	}
	if !slices.Equal(paths, []string{"/a b", "/home", "/home/loop"}) {
		t.Errorf("depth: %v", paths)
	}
	s.wantError(404, "FILE_NOT_FOUND", "/none", "GET", "/files/info?path=/none", nil)
	s.wantError(404, "FILE_NOT_FOUND", "/none", "GET", "/files?path=/none", nil)
	s.wantError(400, "INVALID_FILE_PATH", "not a directory", "GET", "/files?path=a+b", nil)
	s.wantError(400, "BAD_REQUEST", "path is required", "GET", "/files/info", nil)
	s.wantError(400, "BAD_REQUEST", "depth", "GET", "/files?depth=0", nil)
	s.wantError(400, "INVALID_FILE_PATH", "NUL", "GET", "/files/info?path=%00", nil)
}

func TestFolderDeleteMovePermissions(t *testing.T) {
	s := newSandbox(t)
	s.want(201, "POST", "/files/folder?path=x/y&mode=0775", nil, nil)
	if got := s.mode("x/y"); got != fs.ModeDir|0o775 {
		t.Errorf("mode %v", got)
	}
	s.want(201, "POST", "/files/folder?path=x/y&mode=0700", nil, nil) // exists: no change
	if got := s.mode("x/y"); got != fs.ModeDir|0o775 {
		t.Errorf("mode %v", got)
	}
	s.wantError(400, "BAD_REQUEST", "invalid mode format", "POST", "/files/folder?path=z&mode=99", nil)

	s.wantError(400, "INVALID_FILE_PATH", "cannot delete directory without recursive flag", "DELETE", "/files?path=x", nil)
	s.wantError(400, "BAD_REQUEST", "path is required", "DELETE", "/files", nil)
	s.wantError(400, "BAD_REQUEST", "recursive", "DELETE", "/files?path=x&recursive=maybe", nil)
	s.wantError(404, "FILE_NOT_FOUND", "none", "DELETE", "/files/?path=none", nil)
	s.want(204, "DELETE", "/files/?path=x&recursive=true", nil, nil)

	s.write("a", "A")
	s.write("b", "B")
	s.wantError(409, "CONFLICT", "destination already exists", "POST", "/files/move?source=a&destination=b", nil)
	s.wantError(404, "FILE_NOT_FOUND", "none", "POST", "/files/move?source=none&destination=c", nil)
	s.wantError(404, "FILE_NOT_FOUND", "none", "POST", "/files/move?source=a&destination=none/c", nil)
	s.wantError(400, "BAD_REQUEST", "source and destination paths are required", "POST", "/files/move?source=a", nil)
	s.want(200, "POST", "/files/move?source=a&destination=home/c", nil, nil)
	if got := s.read("home/c"); got != "A" {
		t.Errorf("moved %q", got)
	}
	s.wantError(400, "INVALID_FILE_PATH", "", "POST", "/files/move?source=home&destination=home/d", nil)

	s.want(200, "POST", "/files/permissions?path=b&mode=600", nil, nil)
	if got := s.mode("b"); got != 0o600 {
		t.Errorf("mode %v", got)
	}
	s.want(200, "POST", fmt.Sprintf("/files/permissions?path=b&owner=%d&group=%d", os.Getuid(), os.Getgid()), nil, nil)
	s.wantError(400, "BAD_REQUEST", "invalid mode format", "POST", "/files/permissions?path=b&mode=rwx", nil)
	s.wantError(400, "BAD_REQUEST", "user not found", "POST", "/files/permissions?path=b&owner=no-such-user", nil)
	s.wantError(400, "BAD_REQUEST", "group not found", "POST", "/files/permissions?path=b&group=no-such-group", nil)
	s.wantError(404, "FILE_NOT_FOUND", "none", "POST", "/files/permissions?path=none&mode=644", nil)
}

func TestMoveAcrossFileSystems(t *testing.T) {
	s := newSandbox(t)
	var here, there syscall.Stat_t
	if syscall.Stat(s.dir, &here) != nil || syscall.Stat("/dev/shm", &there) != nil || here.Dev == there.Dev {
		t.Skip("/dev/shm is no other file system")
	}
	other, err := os.MkdirTemp("/dev/shm", "toolbox-test-*")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(other) })
	if err := os.MkdirAll(s.dir+"/d/e", 0o750); err != nil {
		t.Fatal(err)
	}
	s.write("d/e/f", "content")
	if err := os.Symlink("e/f", s.dir+"/d/link"); err != nil {
		t.Fatal(err)
	}
	s.want(200, "POST", "/files/move?source=d&destination="+q(other+"/d"), nil, nil)
	if content, err := os.ReadFile(other + "/d/link"); err != nil || string(content) != "content" {
		t.Errorf("%q, %v", content, err)
	}
	if info, err := os.Stat(other + "/d/e"); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(s.dir + "/d"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("source: %v", err)
	}
}

func TestSearches(t *testing.T) {
	s := newSandbox(t)
	if err := os.MkdirAll(s.dir+"/src/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("src/a.py", "one\r\nTODO: two\nthree TODO\n")
	s.write("src/sub/b.py", "x\xffTODO")
	s.write("src/binary", "\x00TODO")
	s.write("src/long", strings.Repeat("y", 1<<20)+"\nTODO\n")
	for _, make := range []error{
		os.Symlink("..", s.dir+"/src/sub/loop"),
		syscall.Mkfifo(s.dir+"/src/fifo", 0o644),
	} {
		if make != nil {
			t.Fatal(make)
		}
	}
	type match struct {
		File    string
		Line    int
		Content string
	}
	var found []match
	s.want(200, "GET", "/files/find?path=src&pattern=TODO", nil, &found)
	want := []match{{"src/a.py", 2, "TODO: two"}, {"src/a.py", 3, "three TODO"}, {"src/long", 2, "TODO"}, {"src/sub/b.py", 1, "x\uFFFDTODO"}}
	if !slices.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
	s.want(200, "GET", "/files/find?pattern=TODO&path="+q(s.dir+"/src/a.py"), nil, &found)
	if len(found) != 2 || found[0].File != s.dir+"/src/a.py" {
		t.Errorf("in one file: %v", found)
	}
	if _, body := s.do("GET", "/files/find?path=src&pattern=absent", nil); strings.TrimSpace(body) != "[]" {
		t.Errorf("nothing: %s", body)
	}
	var names struct{ Files []string }
	s.want(200, "GET", "/files/search?path=.&pattern="+q("*.py"), nil, &names)
	if !slices.Equal(names.Files, []string{"src/a.py", "src/sub/b.py"}) {
		t.Errorf("names: %v", names.Files)
	}
	if _, body := s.do("GET", "/files/search?path=.&pattern=absent", nil); strings.TrimSpace(body) != `{"files":[]}` {
		t.Errorf("nothing: %s", body)
	}
	for _, route := range []string{"find", "search"} {
		s.wantError(400, "BAD_REQUEST", "path is required", "GET", "/files/"+route+"?pattern=x", nil)
		s.wantError(400, "BAD_REQUEST", "pattern is required", "GET", "/files/"+route+"?path=.", nil)
		s.wantError(404, "FILE_NOT_FOUND", "none", "GET", "/files/"+route+"?path=none&pattern=x", nil)
	}
	s.wantError(400, "BAD_REQUEST", "pattern", "GET", "/files/search?path=.&pattern=%5B", nil)
}

func TestReplace(t *testing.T) {
	s := newSandbox(t)
	s.write("a", "x.y x.y xzy")
	s.write("b", "nothing")
	if err := os.Chmod(s.dir+"/a", 0o600); err != nil {
		t.Fatal(err)
	}
	type result struct {
		File    string
		Success bool
		Error   string
	}
	var got []result
	s.want(200, "POST", "/files/replace", `{"files":["a","b","none","home"],"pattern":"x.y","newValue":"$1"}`, &got)
	if len(got) != 4 || !got[0].Success || !got[1].Success || got[2].Success || got[3].Success ||
		!strings.Contains(got[2].Error, "not found") || !strings.Contains(got[3].Error, "must be a file") {
		t.Errorf("%+v", got)
	}
	if a := s.read("a"); a != "$1 $1 xzy" || s.mode("a") != 0o600 {
		t.Errorf("a is %q, %v", a, s.mode("a"))
	}
	for body, want := range map[string]string{
		`{"pattern":"x","newValue":""}`: "files is required",
		`{"files":["a"],"newValue":""}`: "pattern is required",
		`{"files":["a"],"pattern":"x"}`: "newValue is required",
	} {
		s.wantError(400, "BAD_REQUEST", want, "POST", "/files/replace", body)
	}
	s.wantError(400, "INVALID_REQUEST_BODY", "files must be an array", "POST", "/files/replace", `{"files":"a"}`)
}

func TestUpload(t *testing.T) {
	s := newSandbox(t)
	upload := func(path, content string) {
		t.Helper()
		body, kind := form(t, "ignored", "x", "file", content)
		s.want(200, "POST", "/files/upload?path="+q(path), body, nil, "Content-Type", kind)
	}
	upload("new/dir/f", "\x00\xffbinary")
	if s.read("new/dir/f") != "\x00\xffbinary" || s.mode("new/dir/f") != 0o644 || s.mode("new/dir").Perm() != 0o750 {
		t.Errorf("%q %v %v", s.read("new/dir/f"), s.mode("new/dir/f"), s.mode("new/dir"))
	}
	s.write("script", "old")
	if err := errors.Join(os.Chmod(s.dir+"/script", 0o755), os.Symlink("../script", s.dir+"/home/link"), os.Link(s.dir+"/script", s.dir+"/twin")); err != nil {
		t.Fatal(err)
	}
	upload("home/link", "second")
	if s.read("script") != "second" || s.read("twin") != "second" || s.mode("script") != 0o755 || s.mode("home/link")&fs.ModeSymlink == 0 {
		t.Errorf("%q %q %v", s.read("script"), s.read("twin"), s.mode("script"))
	}
	if err := os.Remove(s.dir + "/twin"); err != nil {
		t.Fatal(err)
	}
	upload("home/link", "third")
	if s.read("script") != "third" || s.mode("script") != 0o755 || s.mode("home/link")&fs.ModeSymlink == 0 {
		t.Errorf("%q %v", s.read("script"), s.mode("script"))
	}
	upload("  ünï'\"\n name", "odd")
	if s.read("  ünï'\"\n name") != "odd" {
		t.Error("an odd name is another name")
	}

	var entry map[string]string
	s.want(200, "POST", "/files/upload-v2?path=raw", "raw body", &entry)
	if want := map[string]string{"name": "raw", "path": s.dir + "/raw", "type": "file"}; !reflect.DeepEqual(entry, want) || s.read("raw") != "raw body" {
		t.Errorf("%v %q", entry, s.read("raw"))
	}
	body, kind := form(t, "file", "in a form")
	s.want(200, "POST", "/files/upload-v2?path=raw", body, nil, "Content-Type", kind)
	if s.read("raw") != "in a form" {
		t.Error("upload-v2 with a form")
	}

	body, kind = form(t, "other", "x")
	s.wantError(400, "BAD_REQUEST", "field file is required", "POST", "/files/upload?path=x", body, "Content-Type", kind)
	s.wantError(400, "BAD_REQUEST", "multipart/form-data", "POST", "/files/upload?path=x", "raw")
	s.wantError(400, "BAD_REQUEST", "path is required", "POST", "/files/upload", "raw")
	body, kind = form(t, "file", "x")
	s.wantError(400, "INVALID_FILE_PATH", "directory", "POST", "/files/upload?path=home", body, "Content-Type", kind)
	body, kind = form(t, "file", "x")
	s.wantError(400, "INVALID_FILE_PATH", "not a directory", "POST", "/files/upload?path=script/x", body, "Content-Type", kind)
	if err := syscall.Mkfifo(s.dir+"/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	body, kind = form(t, "file", "x")
	s.wantError(400, "INVALID_FILE_PATH", "must be a file", "POST", "/files/upload?path=fifo", body, "Content-Type", kind)
}

// A body that breaks off leaves neither a part of the new file nor harm to the
// old one.
func TestBrokenUploadLeavesNothing(t *testing.T) {
	s := newSandbox(t)
	s.write("kept", "old")
	body, kind := form(t, "file", strings.Repeat("z", 1<<20))
	body.Truncate(body.Len() / 2)
	s.wantError(400, "INVALID_REQUEST_BODY", "multipart", "POST", "/files/upload?path=kept", body, "Content-Type", kind)

	reader, writer := io.Pipe()
	r := s.request("POST", "/files/upload-v2?path=fresh", reader)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
		}
	}()
	if _, err := writer.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	writer.CloseWithError(errors.New("the client is gone"))
	<-ended
	deadline := time.Now().Add(10 * time.Second)
	for {
		entries, err := os.ReadDir(s.dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 2 && s.read("kept") == "old" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %v", entries)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestBulkUpload(t *testing.T) {
	s := newSandbox(t)
	var reply struct {
		Files []struct {
			Path  string
			Bytes int
		}
		Errors     []string
		StatusCode int
		Message    string
	}
	send := func(status int, pairs ...string) {
		t.Helper()
		reply.Files, reply.Errors = nil, nil
		body, kind := form(t, pairs...)
		s.want(status, "POST", "/files/bulk-upload", body, &reply, "Content-Type", kind)
	}
	send(200, "files[0].path", "n/a", "files[0].file", "A", "files[7].path", s.dir+"/b", "files[7].file", "")
	if s.read("n/a") != "A" || s.read("b") != "" || len(reply.Files) != 2 || reply.Files[0].Path != "n/a" || reply.Files[0].Bytes != 1 {
		t.Errorf("%+v", reply)
	}
	if got := s.mode("n").Perm(); got != 0o755 {
		t.Errorf("parent's mode %v", got)
	}
	send(400, "unknown", "x", "files[0].file", "no path", "files[1].path", "", "files[1].file", "empty path",
		"files[2].path", "home", "files[2].file", "a directory", "files[3].path", "good", "files[3].file", "G")
	if len(reply.Errors) != 3 || len(reply.Files) != 1 || s.read("good") != "G" || reply.StatusCode != 400 || reply.Message == "" {
		t.Errorf("%+v", reply)
	}
	s.wantError(400, "INVALID_REQUEST_BODY", "multipart", "POST", "/files/bulk-upload", "x")
	resp, body := s.do("POST", "/files/bulk-upload", "--b\r\n", "Content-Type", "multipart/form-data; boundary=b")
	if resp.StatusCode != 400 || !strings.Contains(body, `"errors":[`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestDownload(t *testing.T) {
	s := newSandbox(t)
	s.write("né\"w", "0123456789")
	path := "/files/download?path=" + q("né\"w")
	resp, body := s.do("GET", path, nil)
	if body != "0123456789" || resp.Header.Get("Content-Type") != "application/octet-stream" || resp.ContentLength != 10 {
		t.Errorf("%q %v", body, resp.Header)
	}
	if got, want := resp.Header.Get("Content-Disposition"), `attachment; filename="né\"w"; filename*=utf-8''n%C3%A9%22w`; got != want {
		t.Errorf("disposition %s, want %s", got, want)
	}
	for ranges, want := range map[string]string{"bytes=2-4": "234", "bytes=-3": "789", "bytes=8-": "89", "bytes=0-99": "0123456789"} {
		resp, body = s.do("GET", path, nil, "Range", ranges)
		if resp.StatusCode != 206 || body != want {
			t.Errorf("%s: %d %q", ranges, resp.StatusCode, body)
		}
	}
	if resp, _ = s.do("GET", path, nil, "Range", "bytes=20-30"); resp.StatusCode != 416 {
		t.Errorf("beyond the end: %d", resp.StatusCode)
	}
	if _, body = s.do("GET", "/files/download?path=/proc/self/status", nil); !strings.HasPrefix(body, "Name:") {
		t.Errorf("a file without a size: %q", body)
	}
	if err := syscall.Mkfifo(s.dir+"/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	s.wantError(400, "INVALID_FILE_PATH", "path must be a file", "GET", "/files/download?path=home", nil)
	s.wantError(400, "INVALID_FILE_PATH", "path must be a file", "GET", "/files/download?path=fifo", nil)
	s.wantError(404, "FILE_NOT_FOUND", "none", "GET", "/files/download?path=none", nil)
	s.wantError(400, "BAD_REQUEST", "path is required", "GET", "/files/download", nil)
}

func TestBulkDownload(t *testing.T) {
	s := newSandbox(t)
	s.write("a.txt", "first")
	s.write("ü \"q\"", "")
	asked := []string{"a.txt", "none", "home", s.dir + "/ü \"q\"", "a.txt"}
	resp, body := s.do("POST", "/files/bulk-download", map[string]any{"paths": asked})
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "multipart/form-data; boundary=DAYTONA-FILE-BOUNDARY" {
		t.Fatalf("%d %s", resp.StatusCode, got)
	}
	parts := multipart.NewReader(strings.NewReader(body), "DAYTONA-FILE-BOUNDARY")
	raw := regexp.MustCompile(`filename="((?:[^"\\]|\\.)*)"`)
	for i, want := range []struct{ name, kind, content string }{
		{"file", "text/plain; charset=utf-8", "first"},
		{"error", "application/json", `"code":"FILE_NOT_FOUND"`},
		{"error", "application/json", `"code":"INVALID_FILE_PATH"`},
		{"file", "application/octet-stream", ""},
		{"file", "text/plain; charset=utf-8", "first"},
	} {
		part, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		given := raw.FindStringSubmatch(part.Header.Get("Content-Disposition"))
		if part.FormName() != want.name || part.Header.Get("Content-Type") != want.kind || !strings.Contains(string(content), want.content) ||
			part.Header.Get("Content-Length") != fmt.Sprint(len(content)) || given == nil || strings.ReplaceAll(given[1], `\"`, `"`) != asked[i] {
			t.Errorf("part %d: %v %q", i, part.Header, content)
		}
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Errorf("after the last part: %v", err)
	}
	s.wantError(400, "BAD_REQUEST", "paths", "POST", "/files/bulk-download", `{"paths":[]}`)
	s.wantError(400, "INVALID_REQUEST_BODY", "paths must be an array", "POST", "/files/bulk-download", `{"paths":"a"}`)
}

// zeros reads as n zero bytes.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), z.n))
	clear(p[:n])
	z.n -= int64(n)
	return n, nil
}

// Memory does not grow with the file, in any direction or route.
func TestStreamsInFlatMemory(t *testing.T) {
	const size = 256 << 20
	s := newSandbox(t)
	allocated := func(what string, act func()) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		act()
		runtime.ReadMemStats(&after)
		// All that was allocated meanwhile, by client and server together,
		// whether or not it was in use at one time.
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
			t.Errorf("%s of %d MiB allocated %d MiB", what, size>>20, grown>>20)
		}
	}
	drain := func(r *http.Request) int64 {
		t.Helper()
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 64<<10))
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d %v", resp.StatusCode, err)
		}
		return n
	}
	allocated("raw upload", func() {
		drain(s.request("POST", "/files/upload-v2?path=big", &zeros{size}))
	})
	head, kind := form(t, "files[0].path", "big", "files[0].file", "")
	end := bytes.LastIndex(head.Bytes(), []byte("\r\n--"))
	allocated("bulk upload", func() {
		body := io.MultiReader(bytes.NewReader(head.Bytes()[:end]), &zeros{size}, bytes.NewReader(head.Bytes()[end:]))
		drain(s.request("POST", "/files/bulk-upload", body, "Content-Type", kind))
	})
	if info, err := os.Stat(s.dir + "/big"); err != nil || info.Size() != size {
		t.Fatal(info, err)
	}
	allocated("download", func() {
		if n := drain(s.request("GET", "/files/download?path=big", nil)); n != size {
			t.Errorf("%d bytes", n)
		}
	})
	allocated("bulk download", func() {
		if n := drain(s.request("POST", "/files/bulk-download", `{"paths":["big"]}`)); n < size {
			t.Errorf("%d bytes", n)
		}
	})
}

func FuzzBulkUploadNames(f *testing.F) {
	for _, seed := range []string{"files[0].path", "files[0].file", "files[-1].path", "files[99999999999999999999].file", "files[].path", "files[0]", "\"\r\n"} {
		f.Add(seed, "x")
	}
	f.Fuzz(func(t *testing.T, name, path string) {
		s := newSandbox(t)
		// Only names below the work directory: what any path names is the
		// user's own business, but not that of the machine which tests.
		path = "home/" + strings.ReplaceAll(path, "..", "")
		body, kind := form(t, name, path, "files[0].file", "content")
		resp, answer := s.do("POST", "/files/bulk-upload", body, "Content-Type", kind)
		if resp.StatusCode != 200 && resp.StatusCode != 400 {
			t.Errorf("%q: %d %s", name, resp.StatusCode, answer)
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-1", "bytes=-", "bytes=1-0", "bytes=0-0,1-1", "x", "bytes=99999999999999999999-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ranges string) {
		if strings.ContainsAny(ranges, "\r\n\x00") {
			return
		}
		s := newSandbox(t)
		s.write("f", "0123456789")
		r := s.request("GET", "/files/download?path=f", nil)
		r.Header["Range"] = []string{ranges}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return // not a header that a client sends
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 && resp.StatusCode != 206 && resp.StatusCode != 416 && resp.StatusCode != 400 {
			t.Errorf("%q: %d", ranges, resp.StatusCode)
		}
	})
}
