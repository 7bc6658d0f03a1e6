package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

func now() time.Time { return time.Now() }

// Download answers GET /files/download: one file, or the ranges asked for.
func (s *Service) Download(w http.ResponseWriter, r *http.Request) error {
	path, err := s.pathParam(r, "path")
	if err != nil {
		return err
	}
	f, info, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Disposition", "attachment; "+filename(filepath.Base(path)))
	if info.Size() == 0 {
		// Files of /proc have no size but content.
		_, _ = io.Copy(w, f)
		return nil
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

// filename returns the parameters that give a file's name. Clients find their
// file by it, so it is sent as it is, in UTF-8, but for line breaks and the
// like; a name beyond ASCII is repeated in the form that says how it is written.
func filename(name string) string {
	var quoted strings.Builder
	plain := true
	for _, c := range name {
		switch {
		case c < 0x20 || c == 0x7f:
			plain = false
			quoted.WriteByte('_')
		case c == '"' || c == '\\':
			quoted.WriteByte('\\')
			quoted.WriteRune(c)
		default:
			plain = plain && c < 0x7f
			quoted.WriteRune(c)
		}
	}
	out := `filename="` + quoted.String() + `"`
	if !plain {
		out += "; filename*=utf-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return out
}

// boundary separates the parts of a bulk download. Clients of every era read it
// from the header.
const boundary = "DAYTONA-FILE-BOUNDARY"

// BulkDownload answers POST /files/bulk-download: a multipart body with one
// part per path, in their order: "file" with the content, or "error" with what
// is wrong. When a file cannot be read to its end the body ends without its
// closing boundary, by which a client knows that it is not complete.
func (s *Service) BulkDownload(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Paths []string `json:"paths"`
	}
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if len(req.Paths) == 0 {
		return fault.New(fault.Invalid, "paths must name at least one file")
	}
	w.Header().Set("Content-Type", "multipart/form-data; boundary="+boundary)
	for i, path := range req.Paths {
		if i > 0 {
			_, _ = io.WriteString(w, "\r\n")
		}
		if err := s.sendPart(w, r, path); err != nil {
			s.Log.Warn("bulk download broke off", "path", path, "err", err)
			// The connection is closed without the end of the body, since
			// an answer that ends in order would look complete.
			panic(http.ErrAbortHandler)
		}
	}
	_, _ = io.WriteString(w, "\r\n--"+boundary+"--\r\n")
	return nil
}

// sendPart writes one part. An error means that the body cannot go on.
func (s *Service) sendPart(w io.Writer, r *http.Request, path string) error {
	err := checkPath("path", path)
	if err == nil {
		f, info, openErr := openRegular(s.Resolve(path))
		if openErr == nil {
			defer f.Close()
			return sendFile(w, path, f, info.Size())
		}
		err = openErr
	}
	body := wire.Describe(err, r, now())
	if body.Code == "INTERNAL_SERVER_ERROR" {
		body.Code = codeReadFailed
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode error: %w", err)
	}
	if err := partHeader(w, "error", path, "application/json", int64(len(encoded))); err != nil {
		return err
	}
	_, err = w.Write(encoded)
	return err
}

func sendFile(w io.Writer, path string, f *os.File, size int64) error {
	kind := mime.TypeByExtension(filepath.Ext(path))
	if kind == "" {
		kind = "application/octet-stream"
	}
	if err := partHeader(w, "file", path, kind, size); err != nil {
		return err
	}
	// Exactly as much as announced: a log may grow while it is read.
	n, err := io.CopyN(w, f, size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s has shrunk from %d to %d bytes: %w", path, size, n, io.ErrUnexpectedEOF)
	}
	return err
}

// partHeader begins a part.
func partHeader(w io.Writer, name, path, contentType string, size int64) error {
	_, err := fmt.Fprintf(w, "--%s\r\nContent-Disposition: form-data; name=%q; %s\r\nContent-Type: %s\r\nContent-Length: %s\r\n\r\n",
		boundary, name, filename(path), contentType, strconv.FormatInt(size, 10))
	return err
}
