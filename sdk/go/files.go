package daytona

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Files moves files in and out of a sandbox and works on them there. A path
// that is not absolute counts from the sandbox's work directory.
type Files struct{ sandbox *Sandbox }

// FileInfo is what is known of a file.
type FileInfo struct {
	Name        string    `json:"name"`
	Path        string    `json:"path,omitempty"` // in listings of more than one level
	Size        int64     `json:"size"`
	Mode        string    `json:"mode"` // "-rw-r--r--"
	ModifiedAt  time.Time `json:"modifiedAt"`
	IsDir       bool      `json:"isDir"`
	Owner       string    `json:"owner"` // number
	Group       string    `json:"group"` // number
	Permissions string    `json:"permissions"`
}

// Match is a line in which a text was found.
type Match struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1
	Content string `json:"content"`
}

func (f *Files) url(names ...string) string {
	return f.sandbox.toolbox(append([]string{"files"}, names...)...)
}

// List returns what is in a directory, down to a depth; 0 and 1 are the
// directory alone.
func (f *Files) List(ctx context.Context, path string, depth int) ([]FileInfo, error) {
	query := url.Values{"path": {path}}
	if depth > 1 {
		query.Set("depth", strconv.Itoa(depth))
	}
	return getAs[[]FileInfo](ctx, f.sandbox.client, f.url(), query)
}

// Info returns what is known of a file.
func (f *Files) Info(ctx context.Context, path string) (FileInfo, error) {
	return getAs[FileInfo](ctx, f.sandbox.client, f.url("info"), url.Values{"path": {path}})
}

// MkdirAll makes a directory and those above it.
func (f *Files) MkdirAll(ctx context.Context, path string, mode fs.FileMode) error {
	return f.post(ctx, url.Values{"path": {path}, "mode": {octal(mode)}}, "folder")
}

func octal(mode fs.FileMode) string { return fmt.Sprintf("%04o", mode.Perm()) }

func (f *Files) post(ctx context.Context, query url.Values, route string) error {
	return f.sandbox.client.call(ctx, request{method: http.MethodPost, url: f.url(route), query: query})
}

// Remove deletes a file, or with recursive a directory and all in it.
func (f *Files) Remove(ctx context.Context, path string, recursive bool) error {
	query := url.Values{"path": {path}}
	if recursive {
		query.Set("recursive", "true")
	}
	return f.sandbox.client.call(ctx, request{method: http.MethodDelete, url: f.url(), query: query})
}

// Move renames a file. A destination that there is stays as it is: ErrConflict.
func (f *Files) Move(ctx context.Context, from, to string) error {
	return f.post(ctx, url.Values{"source": {from}, "destination": {to}}, "move")
}

// Find returns the lines that contain a text, in a file or below a directory.
func (f *Files) Find(ctx context.Context, path, text string) ([]Match, error) {
	return getAs[[]Match](ctx, f.sandbox.client, f.url("find"), url.Values{"path": {path}, "pattern": {text}})
}

// Search returns the files below a directory whose name fits a pattern such as
// "*.go".
func (f *Files) Search(ctx context.Context, path, pattern string) ([]string, error) {
	out, err := getAs[struct {
		Files []string `json:"files"`
	}](ctx, f.sandbox.client, f.url("search"), url.Values{"path": {path}, "pattern": {pattern}})
	return out.Files, err
}

// Replaced is what became of one file of [Files.Replace].
type Replaced struct {
	File    string `json:"file"`
	Success bool   `json:"success"`
	Error   string `json:"error"`
}

// Replace puts one text in the place of another, wherever it stands in files.
func (f *Files) Replace(ctx context.Context, files []string, old, new string) ([]Replaced, error) {
	return postAs[[]Replaced](ctx, f.sandbox.client, f.url("replace"), map[string]any{"files": files, "pattern": old, "newValue": new})
}

// Permissions says what to change. What is empty stays.
type Permissions struct {
	Mode  string // octal, such as "0644"
	Owner string // name or number
	Group string
}

// SetPermissions changes mode, owner and group of a file.
func (f *Files) SetPermissions(ctx context.Context, path string, p Permissions) error {
	query := url.Values{"path": {path}}
	for name, value := range map[string]string{"mode": p.Mode, "owner": p.Owner, "group": p.Group} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return f.post(ctx, query, "permissions")
}

// Upload is one file to be sent.
type Upload struct {
	Path string // in the sandbox
	From io.Reader
}

// Write sends everything that a reader gives to a file in the sandbox, which is
// made or replaced. Directories are made as needed. Nothing is held in memory.
func (f *Files) Write(ctx context.Context, path string, from io.Reader) error {
	return f.WriteAll(ctx, func(yield func(Upload) bool) { yield(Upload{path, from}) })
}

// WriteAll sends many files in one request. Those before a failure stay.
func (f *Files) WriteAll(ctx context.Context, uploads iter.Seq[Upload]) error {
	read, write := io.Pipe()
	form := multipart.NewWriter(write)
	sent := make(chan error, 1)
	go func() {
		err := writeForm(form, uploads)
		_ = write.CloseWithError(err) // nil is the end of the body
		sent <- err
	}()
	req, err := f.sandbox.client.request(ctx, http.MethodPost, f.url("bulk-upload"), nil, read)
	if err == nil {
		req.Header.Set("Content-Type", form.FormDataContentType())
		var res *http.Response
		if res, err = f.sandbox.client.do(req); err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}
	_ = read.CloseWithError(errAnswered)
	if sendErr := <-sent; sendErr != nil && !errors.Is(sendErr, errAnswered) {
		return sendErr // a reader of the caller's failed: that is the cause
	}
	return err
}

var errAnswered = errors.New("daytona: the server answered before it had everything")

func writeForm(form *multipart.Writer, uploads iter.Seq[Upload]) error {
	n := 0
	for u := range uploads {
		field := fmt.Sprintf("files[%d]", n)
		if err := form.WriteField(field+".path", u.Path); err != nil {
			return err
		}
		part, err := form.CreateFormFile(field+".file", "file")
		if err != nil {
			return err
		}
		if _, err := io.Copy(part, u.From); err != nil {
			return err
		}
		n++
	}
	return form.Close()
}

// WriteFile sends data to a file.
func (f *Files) WriteFile(ctx context.Context, path string, data []byte) error {
	return f.Write(ctx, path, strings.NewReader(string(data)))
}

// Open returns a file's content, which is the caller's to close, and its size,
// -1 when that is not known.
func (f *Files) Open(ctx context.Context, path string) (io.ReadCloser, int64, error) {
	res, err := f.sandbox.client.send(ctx, request{method: http.MethodGet, url: f.url("download"), query: url.Values{"path": {path}}, again: true})
	if err != nil {
		return nil, 0, err
	}
	return res.Body, res.ContentLength, nil
}

// Read copies a file to a writer.
func (f *Files) Read(ctx context.Context, path string, to io.Writer) error {
	body, _, err := f.Open(ctx, path)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(to, body)
	return err
}

// ReadFile returns a file's content.
func (f *Files) ReadFile(ctx context.Context, path string) ([]byte, error) {
	body, _, err := f.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// Download is one file of [Files.ReadAll]. Its content must be read before the
// next one is asked for.
type Download struct {
	Path string // as it was asked for
	Size int64  // -1 when unknown
	io.Reader
}

// ReadAll fetches many files in one request and yields each, in their order. An
// error of one file is an *[Error]; the others come nevertheless.
func (f *Files) ReadAll(ctx context.Context, paths []string) iter.Seq2[Download, error] {
	return func(yield func(Download, error) bool) {
		res, err := f.sandbox.client.send(ctx, request{method: http.MethodPost, url: f.url("bulk-download"), in: map[string]any{"paths": paths}, again: true})
		if err != nil {
			yield(Download{}, err)
			return
		}
		defer res.Body.Close()
		_, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
		if err != nil {
			yield(Download{}, fmt.Errorf("daytona: the answer to bulk-download is of no known type: %w", err))
			return
		}
		for parts := multipart.NewReader(res.Body, params["boundary"]); ; {
			part, err := parts.NextPart()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Download{}, fmt.Errorf("daytona: the download broke off: %w", err))
				return
			}
			if !yield(download(part)) {
				return
			}
		}
	}
}

func download(part *multipart.Part) (Download, error) {
	// The part's own FileName drops directories.
	_, params, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	d := Download{Path: params["filename"], Size: -1, Reader: part}
	if part.FormName() == "error" {
		var e struct {
			StatusCode int    `json:"statusCode"`
			Message    string `json:"message"`
			Code       string `json:"code"`
		}
		data, err := io.ReadAll(io.LimitReader(part, maxErrorBody))
		if err == nil {
			err = json.Unmarshal(data, &e)
		}
		if err != nil {
			return d, err
		}
		return d, &Error{StatusCode: e.StatusCode, Code: e.Code, Message: e.Message, Path: d.Path}
	}
	if n, err := strconv.ParseInt(part.Header.Get("Content-Length"), 10, 64); err == nil {
		d.Size = n
	}
	return d, nil
}

// UploadFile copies a local file into the sandbox.
func (f *Files) UploadFile(ctx context.Context, local, remote string) error {
	file, err := os.Open(local)
	if err != nil {
		return err
	}
	defer file.Close()
	return f.Write(ctx, remote, file)
}

// DownloadFile copies a file of the sandbox to a local one. That is made or
// replaced when all has come, and stays as it was otherwise.
func (f *Files) DownloadFile(ctx context.Context, remote, local string) (err error) {
	body, size, err := f.Open(ctx, remote)
	if err != nil {
		return err
	}
	defer body.Close()
	temp, err := os.CreateTemp(filepath.Dir(local), ".daytona-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = temp.Close()
			_ = os.Remove(temp.Name())
		}
	}()
	n, err := io.Copy(temp, body)
	if err != nil {
		return err
	}
	if size >= 0 && n != size {
		return fmt.Errorf("daytona: %s broke off after %d of %d bytes", remote, n, size)
	}
	if err := temp.Chmod(0o644); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), local)
}
