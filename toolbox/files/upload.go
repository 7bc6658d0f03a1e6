package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// Upload answers POST /files/upload: one file in the multipart field "file".
func (s *Service) Upload(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.receive(r); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// UploadEntry answers POST /files/upload-v2: one file in the multipart field
// "file" or as the body itself.
func (s *Service) UploadEntry(w http.ResponseWriter, r *http.Request) error {
	path, err := s.receive(r)
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, struct {
		Name string `json:"name"`
		Path string `json:"path"`
		Type string `json:"type"`
	}{filepath.Base(path), path, "file"})
}

// receive stores the file of a request and returns its path.
func (s *Service) receive(r *http.Request) (string, error) {
	path, err := s.pathParam(r, "path")
	if err != nil {
		return "", err
	}
	const dirMode = 0o750
	if !isMultipart(r) {
		if r.URL.Path == "/files/upload" {
			return "", fault.New(fault.Invalid, "body must be multipart/form-data with a field named file")
		}
		_, err := write(path, r.Body, dirMode)
		return path, uploadProblem(err, path)
	}
	r.Body = inLargePieces(r.Body)
	parts, err := r.MultipartReader()
	if err != nil {
		return "", malformed(err)
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return "", fault.New(fault.Invalid, "field file is required")
		}
		if err != nil {
			return "", malformed(err)
		}
		if part.FormName() != "file" {
			continue
		}
		if _, err := write(path, part, dirMode); err != nil {
			return "", uploadProblem(err, path)
		}
		return path, drain(r)
	}
}

func isMultipart(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && strings.HasPrefix(kind, "multipart/")
}

func malformed(err error) *fault.Error {
	return fault.Wrap(err, fault.Invalid, "body is not a complete multipart/form-data message").WithCode("INVALID_REQUEST_BODY")
}

// uploadProblem tells a body that broke off from a disk that did.
func uploadProblem(err error, path string) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return malformed(err)
	}
	return problem(err, path)
}

// drain reads the rest of the body, without which the client would see its
// connection reset instead of the answer.
func drain(r *http.Request) error {
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, 32<<10)); err != nil {
		return malformed(err)
	}
	return nil
}

// tail remembers the last bytes of a body.
type tail struct {
	io.ReadCloser
	last []byte
}

func (t *tail) Read(p []byte) (int, error) {
	const keep = 4 << 10
	n, err := t.ReadCloser.Read(p)
	t.last = append(t.last, p[max(0, n-keep):n]...)
	if over := len(t.last) - keep; over > 0 {
		t.last = t.last[:copy(t.last, t.last[over:])]
	}
	return n, err
}

// closes reports whether the body ended with the closing boundary.
func (t *tail) closes(contentType string) bool {
	_, params, err := mime.ParseMediaType(contentType)
	return err == nil && bytes.Contains(t.last, []byte("--"+params["boundary"]+"--"))
}

// uploaded is a file that a bulk upload has stored.
type uploaded struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// bulkUpload is the state of one bulk upload.
type bulkUpload struct {
	paths  map[int]string
	Files  []uploaded `json:"files"`
	Errors []string   `json:"errors,omitempty"`
}

func (b *bulkUpload) fail(format string, args ...any) {
	const most = 1000 // a hostile body has more parts than anyone reads errors
	if len(b.Errors) < most {
		b.Errors = append(b.Errors, fmt.Sprintf(format, args...))
	}
}

// BulkUpload answers POST /files/bulk-upload: for each index a text part
// files[i].path and after it the part files[i].file. Each file stands for
// itself: the good ones stay when others fail.
func (s *Service) BulkUpload(w http.ResponseWriter, r *http.Request) error {
	ending := &tail{ReadCloser: inLargePieces(r.Body)}
	r.Body = ending
	parts, err := r.MultipartReader()
	if err != nil {
		return malformed(err)
	}
	b := bulkUpload{paths: map[int]string{}, Files: []uploaded{}}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.fail("read body: %s", malformed(err).Text)
			break
		}
		s.bulkPart(&b, part)
	}
	if err := drain(r); err == nil && len(b.Errors) == 0 && !ending.closes(r.Header.Get("Content-Type")) {
		// The parser takes a body that stops between two parts for a whole.
		b.fail("read body: the closing boundary is missing")
	}
	if len(b.Errors) == 0 {
		return wire.JSON(w, http.StatusOK, b)
	}
	body := wire.Describe(fault.New(fault.Invalid, "%s", strings.Join(b.Errors, "; ")), r, now())
	return wire.JSON(w, body.StatusCode, struct {
		wire.Error
		bulkUpload
	}{body, b})
}

// maxPathText bounds a path part; the kernel's own limit is 4096.
const maxPathText = 64 << 10

func (s *Service) bulkPart(b *bulkUpload, part *multipart.Part) {
	index, field, ok := bulkField(part.FormName())
	if !ok {
		return
	}
	if field == "path" {
		text, err := io.ReadAll(io.LimitReader(part, maxPathText))
		if err != nil {
			b.fail("path[%d]: %s", index, malformed(err).Text)
			return
		}
		b.paths[index] = string(text)
		return
	}
	path, announced := b.paths[index]
	if !announced {
		b.fail("file[%d]: missing path metadata: files[%d].path must come before files[%d].file", index, index, index)
		return
	}
	delete(b.paths, index)
	if err := checkPath("path", path); err != nil {
		b.fail("file[%d]: %s", index, publicText(err))
		return
	}
	target := s.Resolve(path)
	n, err := write(target, part, 0o755)
	if err != nil {
		b.fail("%s: %s", path, publicText(uploadProblem(err, target)))
		return
	}
	b.Files = append(b.Files, uploaded{path, n})
}

func publicText(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Text
	}
	return "internal error"
}

// bulkField reads "files[3].path" or "files[3].file".
func bulkField(name string) (index int, field string, ok bool) {
	rest, ok := strings.CutPrefix(name, "files[")
	if !ok {
		return 0, "", false
	}
	number, field, ok := strings.Cut(rest, "].")
	if !ok || field != "path" && field != "file" {
		return 0, "", false
	}
	index, err := strconv.Atoi(number)
	if err != nil || index < 0 {
		return 0, "", false
	}
	return index, field, true
}
