package lsp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// maxDocument is the size of the largest file that is given to a server, in
// bytes. What is larger is data or generated, and servers choke on it.
const maxDocument = 4 << 20

// maxDocuments is how many documents of a project are open at a time. Beyond
// that the one that was used longest ago is closed; it is opened again when it
// is asked about.
const maxDocuments = 100

// document is a file that the server has been told to look at. Its text is not
// kept: the server has it, and a restarted one gets it from the disk.
type document struct {
	uri     string
	version int
	state   fileState
	used    int64 // number of the project's call that used it last
}

// fileState tells one content of a file from another.
type fileState struct {
	modified int64 // nanoseconds
	size     int64
	inode    uint64
}

func stateOf(info fs.FileInfo) fileState {
	state := fileState{modified: info.ModTime().UnixNano(), size: info.Size()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		state.inode = stat.Ino
	}
	return state
}

// readDocument reads a file that is to be given to a server, with the state
// that it had before.
func readDocument(path string) (string, fileState, error) {
	content, info, err := readRegular(path, maxDocument)
	if err != nil {
		return "", fileState{}, err
	}
	return strings.ToValidUTF8(string(content), "\uFFFD"), stateOf(info), nil
}

// readRegular reads a regular file of at most limit bytes. It never blocks on a
// pipe or a device.
func readRegular(path string, limit int64) ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fileProblem(err, path)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fileProblem(err, path)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fault.New(fault.Invalid, "path must be a file: %s", path).WithCode("INVALID_FILE_PATH")
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, fileProblem(err, path)
	}
	if int64(len(content)) > limit {
		return nil, nil, fault.New(fault.Invalid, "file too large for a language server: %s (the limit is %d MiB)", path, limit>>20).WithCode("FILE_TOO_LARGE")
	}
	return content, info, nil
}

func fileProblem(err error, path string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(err, fault.NotFound, "file not found: %s", path).WithCode("FILE_NOT_FOUND")
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(err, fault.Forbidden, "permission denied: %s", path).WithCode("FILE_ACCESS_DENIED")
	}
	return fault.Wrap(err, fault.Invalid, "file cannot be read: %s", path).WithCode("FILE_READ_FAILED")
}

// documents are a project's open documents, by path. Its methods tell the
// server what it must know of them; one call at a time may use them.
type documents struct {
	language *language
	open     map[string]*document
	versions int // of the last text sent
	calls    int64
}

// identifier names a document to the server.
type identifier struct {
	URI     string `json:"uri"`
	Version int    `json:"version,omitempty"`
}

// ensure opens a document unless it is open.
func (d *documents) ensure(ctx context.Context, s *server, path string) error {
	if doc := d.open[path]; doc != nil {
		doc.used = d.calls
		return nil
	}
	if err := d.send(ctx, s, path); err != nil {
		return err
	}
	for len(d.open) > maxDocuments {
		oldest := ""
		for p, doc := range d.open {
			if oldest == "" || doc.used < d.open[oldest].used {
				oldest = p
			}
		}
		if err := d.close(ctx, s, oldest); err != nil {
			return err
		}
	}
	return nil
}

// send opens a document with its present text.
func (d *documents) send(ctx context.Context, s *server, path string) error {
	text, state, err := readDocument(path)
	if err != nil {
		return err
	}
	d.versions++
	doc := &document{uri: fileURI(path), version: d.versions, state: state, used: d.calls}
	s.expect(path, doc.version)
	err = s.conn.notify(ctx, "textDocument/didOpen", map[string]any{"textDocument": map[string]any{
		"uri": doc.uri, "languageId": d.language.documentID(path), "version": doc.version, "text": text,
	}})
	if err != nil {
		return err
	}
	d.open[path] = doc
	return nil
}

// close closes a document if it is open.
func (d *documents) close(ctx context.Context, s *server, path string) error {
	doc := d.open[path]
	if doc == nil {
		return nil
	}
	delete(d.open, path)
	s.expect(path, 0)
	return s.conn.notify(ctx, "textDocument/didClose", map[string]any{"textDocument": identifier{URI: doc.uri}})
}

// sync tells the server which open documents have changed on the disk since it
// was told their text. One that has gone is closed.
func (d *documents) sync(ctx context.Context, s *server) error {
	for path, doc := range d.open {
		info, err := os.Stat(path)
		if err == nil && stateOf(info) == doc.state {
			continue
		}
		var text string
		var state fileState
		if err == nil {
			text, state, err = readDocument(path)
		}
		if err != nil {
			if err := d.close(ctx, s, path); err != nil {
				return err
			}
			continue
		}
		d.versions++
		doc.version, doc.state = d.versions, state
		s.expect(path, doc.version)
		err = s.conn.notify(ctx, "textDocument/didChange", map[string]any{
			"textDocument":   identifier{URI: doc.uri, Version: doc.version},
			"contentChanges": []map[string]string{{"text": text}},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reopen opens everything that was open again, in a new server. What cannot be
// read any more is left out.
func (d *documents) reopen(ctx context.Context, s *server) error {
	for path, doc := range d.open {
		used := doc.used
		delete(d.open, path)
		err := d.send(ctx, s, path)
		if _, unreadable := asFault(err); unreadable {
			continue
		}
		if err != nil {
			d.open[path] = doc
			return fmt.Errorf("open documents again: %w", err)
		}
		d.open[path].used = used
	}
	return nil
}
