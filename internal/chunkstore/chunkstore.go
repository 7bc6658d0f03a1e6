// Package chunkstore keeps streams in a bucket as chunks that are cut where the
// content says so, each under the digest of its content.
//
// A stream that is written again, because it broke off or has changed a little,
// costs only the chunks that are not there yet: that is how it is resumed and how
// the next one is incremental. Memory does not grow with the stream.
//
// Below a prefix, which must end in "/":
//
//	chunks/<sha256>          one chunk, compressed with zstd; the name is the digest of its content
//	manifests/<sha256>.json  the chunks of one stream in their order; the name is the digest of the file
package chunkstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/restic/chunker"
	"golang.org/x/sync/errgroup"

	"daytona/internal/fault"
	"daytona/internal/objectstore"
)

const (
	minChunk    = 512 << 10
	averageBits = 22 // chunks of 4 MiB, on average
	maxChunk    = 8 << 20
	// polynomial decides where chunks are cut. Another one would cut elsewhere,
	// so that nothing would be found again.
	polynomial = chunker.Pol(0x3DA3358B4DC173)
	// parallel bounds how many chunks are on their way; each takes up to two
	// times maxChunk of memory.
	parallel = 3

	maxManifest = 64 << 20
)

// Store is a bucket in which streams are kept.
type Store struct {
	Bucket objectstore.Bucket
	// Limit is how long one request may take before it counts as failed;
	// 0 is a minute.
	Limit time.Duration
	// Attempts is how often a request is made before its failure counts; 0 is 3.
	Attempts int
	// Pause is the wait before the second attempt, doubled for each further
	// one; 0 is half a second.
	Pause time.Duration
}

// Chunk is a piece of a stream.
type Chunk struct {
	Digest string `json:"digest"` // SHA-256 of the content, hex
	Size   int64  `json:"size"`
}

// Manifest names what a stream consists of.
type Manifest struct {
	Version int     `json:"version"`
	Size    int64   `json:"size"`
	Digest  string  `json:"digest"` // SHA-256 of the stream, hex
	Chunks  []Chunk `json:"chunks"`
}

// Ref says where a stream is.
type Ref struct {
	Manifest string `json:"manifest"` // SHA-256 of the manifest, hex
	Size     int64  `json:"size"`     // of the stream, in bytes
	Digest   string `json:"digest"`   // SHA-256 of the stream, hex
	// Sent is how many bytes Write had to send, compressed; the rest was there.
	Sent int64 `json:"sent"`
}

const version = 1

// Write keeps a stream below a prefix. When it fails, what was sent stays and
// need not be sent again.
func (s Store) Write(ctx context.Context, prefix string, r io.Reader) (Ref, error) {
	there, err := s.list(ctx, prefix+"chunks/")
	if err != nil {
		return Ref{}, err
	}
	w := writer{Store: s, prefix: prefix, there: there, free: make(chan []byte, parallel)}
	for range parallel {
		w.free <- nil
	}
	m, err := w.run(ctx, r)
	if err != nil {
		return Ref{}, err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return Ref{}, err
	}
	ref := Ref{Manifest: digestOf(data), Size: m.Size, Digest: m.Digest, Sent: w.sent}
	err = s.put(ctx, manifestKey(prefix, ref.Manifest), data, "application/json")
	return ref, err
}

type writer struct {
	Store
	prefix string
	there  map[string]bool // keys
	free   chan []byte     // buffers for chunks

	mu   sync.Mutex
	sent int64
}

func (w *writer) run(ctx context.Context, r io.Reader) (Manifest, error) {
	m := Manifest{Version: version}
	whole := sha256.New()
	cut := chunker.NewWithBoundaries(r, polynomial, minChunk, maxChunk)
	cut.SetAverageBits(averageBits)
	group, gctx := errgroup.WithContext(ctx)
	failed := func() error {
		for {
			var buffer []byte
			select {
			case buffer = <-w.free:
			case <-gctx.Done():
				return context.Cause(gctx)
			}
			if cap(buffer) < maxChunk {
				buffer = make([]byte, 0, maxChunk)
			}
			c, err := cut.Next(buffer[:0])
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			whole.Write(c.Data)
			digest := digestOf(c.Data)
			m.Chunks = append(m.Chunks, Chunk{Digest: digest, Size: int64(len(c.Data))})
			m.Size += int64(len(c.Data))
			key := chunkKey(w.prefix, digest)
			if w.there[key] {
				w.free <- c.Data
				continue
			}
			w.there[key] = true
			group.Go(func() error {
				defer func() { w.free <- c.Data }()
				return w.send(gctx, key, c.Data)
			})
		}
	}()
	err := group.Wait()
	if err == nil || failed != nil && !errors.Is(failed, context.Canceled) {
		err = failed
	}
	m.Digest = sum(whole)
	return m, err
}

func (w *writer) send(ctx context.Context, key string, content []byte) error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	packed := enc.EncodeAll(content, nil)
	if err := w.put(ctx, key, packed, "application/zstd"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent += int64(len(packed))
	return nil
}

// Manifest reads what a stream consists of. NotFound and Unprocessable say that
// it is not there, or not what was written.
func (s Store) Manifest(ctx context.Context, prefix string, ref Ref) (Manifest, error) {
	var m Manifest
	data, err := s.get(ctx, manifestKey(prefix, ref.Manifest), maxManifest)
	if err != nil {
		return m, err
	}
	if digestOf(data) != ref.Manifest {
		return m, damaged("the list of its parts")
	}
	if err := json.Unmarshal(data, &m); err != nil || m.Version != version || m.Size != ref.Size || m.Digest != ref.Digest {
		return m, damaged("the list of its parts")
	}
	return m, nil
}

// Verify reads every byte of a stream back and compares. Chunks that are not
// what was written are removed, so that the next Write sends them again.
func (s Store) Verify(ctx context.Context, prefix string, ref Ref) error {
	m, err := s.Manifest(ctx, prefix, ref)
	if err != nil {
		if fault.Is(err, fault.Unprocessable) {
			err = errors.Join(err, s.remove(ctx, manifestKey(prefix, ref.Manifest)))
		}
		return err
	}
	seen := map[string]bool{}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, c := range m.Chunks {
		if seen[c.Digest] {
			continue
		}
		seen[c.Digest] = true
		group.Go(func() error {
			_, err := s.chunk(gctx, prefix, c)
			if fault.Is(err, fault.Unprocessable) {
				err = errors.Join(err, s.remove(gctx, chunkKey(prefix, c.Digest)))
			}
			return err
		})
	}
	return group.Wait()
}

// Open reads a stream. Each byte was compared with its digest before the reader
// gets it; damage is an error Unprocessable. Close ends a Read under way.
func (s Store) Open(ctx context.Context, prefix string, ref Ref) (io.ReadCloser, error) {
	m, err := s.Manifest(ctx, prefix, ref)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{cancel: cancel, ahead: make(chan chan piece, parallel-1), ctx: ctx}
	go func() {
		defer close(r.ahead)
		for _, c := range m.Chunks {
			got := make(chan piece, 1)
			select {
			case r.ahead <- got:
			case <-ctx.Done():
				return
			}
			go func() {
				data, err := s.chunk(ctx, prefix, c)
				got <- piece{data, err}
			}()
		}
	}()
	return r, nil
}

type piece struct {
	data []byte
	err  error
}

type reader struct {
	ctx    context.Context
	cancel context.CancelFunc
	ahead  chan chan piece
	rest   []byte
	err    error
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		got, more := <-r.ahead
		if !more {
			if r.err = r.ctx.Err(); r.err == nil {
				r.err = io.EOF
			}
			return 0, r.err
		}
		select {
		case piece := <-got:
			r.rest, r.err = piece.data, piece.err
		case <-r.ctx.Done():
			r.err = r.ctx.Err()
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *reader) Close() error {
	r.cancel()
	return nil
}

// Prune removes what is below a prefix and belongs to none of the streams named.
func (s Store) Prune(ctx context.Context, prefix string, keep ...Ref) error {
	wanted := map[string]bool{}
	for _, ref := range keep {
		m, err := s.Manifest(ctx, prefix, ref)
		if err != nil {
			return err
		}
		wanted[manifestKey(prefix, ref.Manifest)] = true
		for _, c := range m.Chunks {
			wanted[chunkKey(prefix, c.Digest)] = true
		}
	}
	there, err := s.list(ctx, prefix)
	if err != nil {
		return err
	}
	for key := range there {
		if wanted[key] || strings.HasSuffix(key, "/") {
			continue
		}
		if err := s.remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes everything below a prefix.
func (s Store) Remove(ctx context.Context, prefix string) error {
	return objectstore.DeletePrefix(ctx, s.Bucket, prefix)
}

func (s Store) chunk(ctx context.Context, prefix string, c Chunk) ([]byte, error) {
	if c.Size < 0 || c.Size > maxChunk {
		return nil, damaged("the list of its parts")
	}
	packed, err := s.get(ctx, chunkKey(prefix, c.Digest), maxChunk+maxChunk/8)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.Wrap(err, fault.Unprocessable, "object storage has lost part of it (%s)", c.Digest[:min(12, len(c.Digest))])
	}
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunk))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	data, err := dec.DecodeAll(packed, make([]byte, 0, c.Size))
	if err != nil || int64(len(data)) != c.Size || digestOf(data) != c.Digest {
		return nil, damaged("part " + c.Digest[:min(12, len(c.Digest))])
	}
	return data, nil
}

func damaged(what string) error {
	return fault.New(fault.Unprocessable, "object storage gives back other bytes than were stored: %s is damaged", what)
}

func (s Store) list(ctx context.Context, prefix string) (map[string]bool, error) {
	keys := map[string]bool{}
	for token := ""; ; {
		var page objectstore.Page
		err := s.try(ctx, func(ctx context.Context) (err error) {
			page, err = s.Bucket.List(ctx, objectstore.Query{Prefix: prefix, Token: token})
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			keys[o.Key] = true
		}
		if token = page.Next; token == "" {
			return keys, nil
		}
	}
}

func (s Store) put(ctx context.Context, key string, data []byte, contentType string) error {
	return s.try(ctx, func(ctx context.Context) error {
		_, err := s.Bucket.Put(ctx, key, bytes.NewReader(data), int64(len(data)), contentType)
		return err
	})
}

func (s Store) get(ctx context.Context, key string, most int64) (data []byte, err error) {
	err = s.try(ctx, func(ctx context.Context) error {
		body, _, err := s.Bucket.Get(ctx, key, nil)
		if err != nil {
			return err
		}
		defer body.Close()
		data, err = io.ReadAll(io.LimitReader(body, most))
		return err
	})
	return data, err
}

func (s Store) remove(ctx context.Context, key string) error {
	return s.try(ctx, func(ctx context.Context) error { return s.Bucket.Delete(ctx, key) })
}

// try makes a request until it succeeds or was made often enough. What the store
// says for good is not asked again.
func (s Store) try(ctx context.Context, request func(context.Context) error) error {
	limit, attempts, pause := s.Limit, s.Attempts, s.Pause
	if limit == 0 {
		limit = time.Minute
	}
	if attempts == 0 {
		attempts = 3
	}
	if pause == 0 {
		pause = 500 * time.Millisecond
	}
	for n := 1; ; n++ {
		call, cancel := context.WithTimeout(ctx, limit)
		err := request(call)
		late := call.Err() != nil
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case late:
			err = fault.Wrap(err, fault.Unavailable, "object storage did not answer within %s", limit)
		case fault.Is(err, fault.NotFound), fault.Is(err, fault.Invalid):
			return err
		}
		if n >= attempts {
			if fault.KindOf(err) == fault.Internal {
				err = fault.Wrap(err, fault.Unavailable, "object storage failed")
			}
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause << (n - 1)):
		}
	}
}

func chunkKey(prefix, digest string) string    { return prefix + "chunks/" + digest }
func manifestKey(prefix, digest string) string { return fmt.Sprintf("%smanifests/%s.json", prefix, digest) }

func digestOf(data []byte) string {
	d := sha256.Sum256(data)
	return hex.EncodeToString(d[:])
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
