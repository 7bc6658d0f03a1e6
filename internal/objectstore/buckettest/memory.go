package buckettest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5" // #nosec G501 -- as S3 makes its tags
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"daytona/internal/fault"
	"daytona/internal/objectstore"
)

// Memory is a bucket in memory, for tests of what uses one.
type Memory struct {
	mu      sync.Mutex
	objects map[string]kept
	uploads map[string]*upload
}

type kept struct {
	objectstore.Object
	data []byte
}

type upload struct {
	objectstore.Upload
	contentType string
	parts       map[int][]byte
}

// NewMemory returns an empty bucket.
func NewMemory() *Memory { return &Memory{objects: map[string]kept{}, uploads: map[string]*upload{}} }

// Check implements objectstore.Bucket.
func (m *Memory) Check(context.Context) error { return nil }

func tag(data []byte) string {
	sum := md5.Sum(data) // #nosec G401 -- no secret
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func readAll(ctx context.Context, body io.Reader, size int64) ([]byte, error) {
	data := make([]byte, size)
	n, err := io.ReadFull(body, data)
	if err != nil {
		if n < len(data) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			err = fault.Wrap(err, fault.Invalid, "the body ended before its length")
		}
		return nil, err
	}
	if _, err := body.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, ctx.Err()
}

// Put implements objectstore.Bucket.
func (m *Memory) Put(ctx context.Context, key string, body io.Reader, size int64, contentType string) (objectstore.Object, error) {
	if err := objectstore.CheckKey(key); err != nil {
		return objectstore.Object{}, err
	}
	data, err := readAll(ctx, body, size)
	if err != nil {
		return objectstore.Object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keep(key, data, contentType), nil
}

func (m *Memory) keep(key string, data []byte, contentType string) objectstore.Object {
	o := objectstore.Object{Key: key, Size: int64(len(data)), ETag: tag(data), ContentType: contentType, Modified: time.Now()}
	m.objects[key] = kept{o, data}
	return o
}

func (m *Memory) find(key string) (kept, error) {
	if err := objectstore.CheckKey(key); err != nil {
		return kept{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.objects[key]
	if !ok {
		return kept{}, fault.New(fault.NotFound, "there is no object %q", key)
	}
	return k, nil
}

// Get implements objectstore.Bucket.
func (m *Memory) Get(_ context.Context, key string, r *objectstore.Range) (io.ReadCloser, objectstore.Object, error) {
	k, err := m.find(key)
	if err != nil {
		return nil, objectstore.Object{}, err
	}
	data := k.data
	if r != nil {
		from, to := r.First, r.Last+1
		if from < 0 {
			from, to = max(0, k.Size-r.Last), k.Size
		}
		if to == 0 || to > k.Size {
			to = k.Size
		}
		if from >= k.Size {
			return nil, objectstore.Object{}, fault.New(fault.Invalid, "the object has no such range").WithCode("InvalidRange")
		}
		data = data[from:to]
	}
	return io.NopCloser(bytes.NewReader(data)), k.Object, nil
}

// Stat implements objectstore.Bucket.
func (m *Memory) Stat(_ context.Context, key string) (objectstore.Object, error) {
	k, err := m.find(key)
	return k.Object, err
}

// List implements objectstore.Bucket.
func (m *Memory) List(_ context.Context, q objectstore.Query) (objectstore.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var page objectstore.Page
	after := max(q.After, q.Token)
	most := cmp.Or(q.Max, 1000)
	for _, key := range slices.Sorted(maps.Keys(m.objects)) {
		rest, ok := strings.CutPrefix(key, q.Prefix)
		if !ok || key <= after {
			continue
		}
		if i := strings.Index(rest, "/"); q.Delimiter != "" && i >= 0 {
			if folded := key[:len(q.Prefix)+i+1]; !slices.Contains(page.Prefixes, folded) {
				page.Prefixes = append(page.Prefixes, folded)
			}
			continue
		}
		if len(page.Objects) == most {
			page.Next = page.Objects[most-1].Key
			break
		}
		page.Objects = append(page.Objects, m.objects[key].Object)
	}
	return page, nil
}

// Delete implements objectstore.Bucket.
func (m *Memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return objectstore.CheckKey(key)
}

// Begin implements objectstore.Bucket.
func (m *Memory) Begin(_ context.Context, key, contentType string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := rand.Text()
	m.uploads[id] = &upload{objectstore.Upload{Key: key, ID: id, Begun: time.Now()}, contentType, map[int][]byte{}}
	return id, objectstore.CheckKey(key)
}

func (m *Memory) upload(key, id string) (*upload, error) {
	u, ok := m.uploads[id]
	if !ok || u.Key != key {
		return nil, fault.New(fault.NotFound, "there is no such upload").WithCode("NoSuchUpload")
	}
	return u, nil
}

// PutPart implements objectstore.Bucket.
func (m *Memory) PutPart(ctx context.Context, key, id string, n int, body io.Reader, size int64) (objectstore.Part, error) {
	if n < 1 || n > objectstore.MaxParts {
		return objectstore.Part{}, fault.New(fault.Invalid, "part %d is not one of 1 to %d", n, objectstore.MaxParts)
	}
	data, err := readAll(ctx, body, size)
	if err != nil {
		return objectstore.Part{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.upload(key, id)
	if err != nil {
		return objectstore.Part{}, err
	}
	u.parts[n] = data
	return objectstore.Part{Number: n, Size: size, ETag: tag(data)}, nil
}

// Parts implements objectstore.Bucket.
func (m *Memory) Parts(_ context.Context, key, id string) (out []objectstore.Part, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.upload(key, id)
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Sorted(maps.Keys(u.parts)) {
		out = append(out, objectstore.Part{Number: n, Size: int64(len(u.parts[n])), ETag: tag(u.parts[n])})
	}
	return out, nil
}

// Complete implements objectstore.Bucket.
func (m *Memory) Complete(_ context.Context, key, id string, parts []objectstore.Part) (objectstore.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.upload(key, id)
	if err != nil {
		return objectstore.Object{}, err
	}
	var data []byte
	for _, p := range parts {
		piece, ok := u.parts[p.Number]
		if !ok || tag(piece) != p.ETag {
			return objectstore.Object{}, fault.New(fault.Invalid, "part %d is not there", p.Number).WithCode("InvalidPart")
		}
		data = append(data, piece...)
	}
	delete(m.uploads, id)
	return m.keep(key, data, u.contentType), nil
}

// Abort implements objectstore.Bucket.
func (m *Memory) Abort(_ context.Context, _, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.uploads, id)
	return nil
}

// Uploads implements objectstore.Bucket.
func (m *Memory) Uploads(_ context.Context, prefix string) (out []objectstore.Upload, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.uploads {
		if strings.HasPrefix(u.Key, prefix) {
			out = append(out, u.Upload)
		}
	}
	return out, nil
}
