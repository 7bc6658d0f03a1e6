package ociregistry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A push may not fill the disk: what comes is counted as it comes, whatever a
// client has announced, and refused where its owner has as much as it may have,
// or where the disk has only the reserve left. The upload is removed then.

// room is how much each owner has.
type room struct {
	mu     sync.Mutex
	owners map[string]*held
}

type held struct {
	mu      sync.Mutex
	bytes   int64
	counted time.Time // when the disk was asked; what came since is added
}

const (
	// recount is how long a count is believed: what was removed counts until
	// then. An owner that would be refused is counted anew after hurriedRecount.
	recount        = time.Minute
	hurriedRecount = 2 * time.Second
	// lookEvery is how many bytes may come between two looks at the disk.
	lookEvery = 16 << 20
	// reservedFiles is how many files the disk must have room for.
	reservedFiles = 10_000
)

// refusal says why no more is taken.
type refusal struct {
	status     int
	code, text string
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

// bounded has a request's body counted, and its answer say why when it was
// refused. done removes what was refused; it is called after the answer.
func (r *Registry) bounded(w http.ResponseWriter, req *http.Request) (_ http.ResponseWriter, done func()) {
	repository := repositoryOf(req.URL.Path)
	if req.Body == nil || req.Body == http.NoBody || repository == "" {
		return w, func() {}
	}
	owner := repository
	if r.c.Owner != nil {
		owner = r.c.Owner(repository)
	}
	b := &countedBody{ReadCloser: req.Body, r: r, owner: owner, announced: max(0, req.ContentLength)}
	req.Body = b
	return &honestAnswer{ResponseWriter: w, body: b}, func() {
		if b.refused == nil {
			return
		}
		defer r.forget(owner)
		defer linger(w, b.ReadCloser)
		r.c.Log.WarnContext(req.Context(), "registry.refused", "repository", repository, "reason", b.refused.text)
		if m := upload.FindStringSubmatch(req.URL.Path); m != nil {
			err := r.driver.Delete(context.WithoutCancel(req.Context()), "/docker/registry/v2/repositories/"+m[1]+"/_uploads/"+m[2])
			if ignoreUnknown(err) != nil {
				r.c.Log.WarnContext(req.Context(), "what was refused stays for a day", "repository", repository, "error", err)
			}
		}
	}
}

// linger reads on for a moment after an answer that came before the end of the
// body: a connection that is closed with something unread is reset, and the
// client would never see the answer.
func linger(w http.ResponseWriter, body io.Reader) {
	control := http.NewResponseController(w)
	if control.Flush() != nil || control.SetReadDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, body) // ends at the deadline at the latest
}

// forget has an owner counted anew.
func (r *Registry) forget(owner string) {
	r.room.mu.Lock()
	defer r.room.mu.Unlock()
	delete(r.room.owners, owner)
}

var (
	content = regexp.MustCompile(`^/v2/(.+)/(blobs/uploads|manifests)/`)
	upload  = regexp.MustCompile(`^/v2/(.+)/blobs/uploads/([0-9a-f-]{36})$`)
)

func repositoryOf(path string) string {
	if m := content.FindStringSubmatch(path); m != nil {
		return m[1]
	}
	return ""
}

// countedBody is the body of a request that brings content. The library reads it
// only when it knows that the caller may push there.
type countedBody struct {
	io.ReadCloser
	r         *Registry
	owner     string
	announced int64
	began     bool
	unseen    int64 // came since the last look at the disk
	refused   *refusal
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	if b.refused != nil {
		return 0, b.refused
	}
	if !b.began {
		b.began = true
		if err := b.take(0, b.announced); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	if terr := b.take(int64(n), 0); terr != nil {
		return 0, terr
	}
	return n, err
}

// take counts n bytes, and checks that expected more would fit.
func (b *countedBody) take(n, expected int64) error {
	err := b.r.charge(b.owner, n, expected)
	if b.unseen += n; err == nil && (b.unseen >= lookEvery || expected > 0) {
		b.unseen = 0
		err = b.r.look(expected)
	}
	if err != nil && !errors.As(err, &b.refused) {
		b.r.c.Log.Error("the registry cannot tell how much room there is", "error", err)
		b.refused = &refusal{http.StatusInternalServerError, "UNKNOWN", "the registry cannot tell how much room there is; its log says why"}
	}
	if b.refused != nil {
		return b.refused
	}
	return nil
}

// charge adds n bytes to what an owner has, unless that and expected more is
// beyond the limit.
func (r *Registry) charge(owner string, n, expected int64) error {
	if r.c.Limit <= 0 {
		return nil
	}
	r.room.mu.Lock()
	if r.room.owners == nil {
		r.room.owners = map[string]*held{}
	}
	h := r.room.owners[owner]
	if h == nil {
		h = &held{}
		r.room.owners[owner] = h
	}
	r.room.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	age := r.c.Now().Sub(h.counted)
	if over := h.bytes+n+expected > r.c.Limit; age >= recount || over && age >= hurriedRecount {
		bytes, err := r.Held(owner)
		if err != nil {
			return err
		}
		h.bytes, h.counted = bytes, r.c.Now()
	}
	if h.bytes+n+expected > r.c.Limit {
		return &refusal{http.StatusRequestEntityTooLarge, "DENIED", fmt.Sprintf(
			"%s holds %d MiB of images, and may hold %d: this push does not fit. Delete images there (what they alone needed goes within hours), or ask the operator to raise the limit of pushed images",
			owner, h.bytes>>20, r.c.Limit>>20)}
	}
	h.bytes += n
	return nil
}

// look refuses when the disk has less than the reserve and need bytes left.
func (r *Registry) look(need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(r.c.Dir, &st); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was pushed yet
	} else if err != nil {
		return fmt.Errorf("free space of %s: %w", r.c.Dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if free-need < r.c.Reserve || st.Files > reservedFiles && st.Ffree < reservedFiles {
		return &refusal{http.StatusInsufficientStorage, "UNKNOWN", fmt.Sprintf(
			"the registry's disk is full: it has room for %d MiB and %d files, of which %d MiB and %d files are kept in reserve. Tell the operator",
			free>>20, st.Ffree, r.c.Reserve>>20, reservedFiles)}
	}
	return nil
}

// Held is how many bytes an owner has in the repositories below its name: each
// blob once, and uploads under way.
func (r *Registry) Held(owner string) (sum int64, err error) {
	root := filepath.Join(r.c.Dir, "docker", "registry", "v2")
	blobs := map[string]bool{}
	err = filepath.WalkDir(filepath.Join(root, "repositories", filepath.FromSlash(owner)), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it was just removed
		case err != nil:
			return err
		case d.Name() == "link": // …/<algorithm>/<digest>/link
			blobs[filepath.Base(filepath.Dir(path))] = true
		case d.Name() == "data" && strings.Contains(path, "/_uploads/"):
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for b := range blobs {
		if len(b) < 2 {
			continue
		}
		// A tag's link leads to no file of its own.
		if info, err := os.Stat(filepath.Join(root, "blobs", "sha256", b[:2], b, "data")); err == nil {
			sum += info.Size()
		}
	}
	return sum, nil
}

// honestAnswer gives the reason of a refusal in place of what the library makes
// of a body that broke off.
type honestAnswer struct {
	http.ResponseWriter
	body     *countedBody
	answered bool
}

// Unwrap is for http.ResponseController.
func (a *honestAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a *honestAnswer) WriteHeader(status int) {
	refused := a.body.refused
	if refused == nil {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	if a.answered {
		return
	}
	a.answered = true
	text, err := json.Marshal(map[string]any{"errors": []map[string]string{{"code": refused.code, "message": refused.text}}})
	if err != nil {
		text = []byte(`{"errors":[]}`)
	}
	a.Header().Del("Content-Length")
	a.Header().Set("Content-Type", "application/json")
	a.Header().Set("Connection", "close") // the rest of the body is not read
	a.ResponseWriter.WriteHeader(refused.status)
	_, _ = a.ResponseWriter.Write(text)
}

// Write implements io.Writer.
func (a *honestAnswer) Write(p []byte) (int, error) {
	if a.body.refused == nil {
		return a.ResponseWriter.Write(p)
	}
	a.WriteHeader(a.body.refused.status)
	return len(p), nil
}
