package chunkstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"daytona/internal/chunkstore"
	"daytona/internal/fault"
	"daytona/internal/objectstore"
	"daytona/internal/objectstore/buckettest"
)

// faulty is a bucket that misbehaves.
type faulty struct {
	objectstore.Bucket
	puts    atomic.Int64
	failPut func(n int64) error // n counts from 1
	hang    atomic.Bool
	lie     func(data []byte) []byte // what is kept instead
}

func (f *faulty) Put(ctx context.Context, key string, body io.Reader, size int64, contentType string) (objectstore.Object, error) {
	n := f.puts.Add(1)
	if f.hang.Load() {
		<-ctx.Done()
		return objectstore.Object{}, ctx.Err()
	}
	if f.failPut != nil {
		if err := f.failPut(n); err != nil {
			return objectstore.Object{}, err
		}
	}
	if f.lie != nil && strings.Contains(key, "/chunks/") {
		data, err := io.ReadAll(body)
		if err != nil {
			return objectstore.Object{}, err
		}
		data = f.lie(data)
		return f.Bucket.Put(ctx, key, bytes.NewReader(data), int64(len(data)), contentType)
	}
	return f.Bucket.Put(ctx, key, body, size, contentType)
}

const prefix = "archives/o/s/"

func noise(seed uint64, n int) []byte {
	data := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = src.Read(data) // never fails
	return data
}

func quick(b objectstore.Bucket) chunkstore.Store {
	return chunkstore.Store{Bucket: b, Limit: 10 * time.Second, Pause: time.Millisecond}
}

func read(t *testing.T, s chunkstore.Store, ref chunkstore.Ref) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), prefix, ref)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, s chunkstore.Store, data []byte) chunkstore.Ref {
	t.Helper()
	ref, err := s.Write(t.Context(), prefix, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestStreamComesBack(t *testing.T) {
	for _, n := range []int{0, 1, 400 << 10, 30 << 20} {
		s := quick(buckettest.NewMemory())
		data := noise(1, n)
		ref := write(t, s, data)
		if ref.Size != int64(n) {
			t.Errorf("size %d, want %d", ref.Size, n)
		}
		if err := s.Verify(t.Context(), prefix, ref); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		if !bytes.Equal(read(t, s, ref), data) {
			t.Errorf("%d bytes came back different", n)
		}
	}
}

func TestSecondStreamSendsWhatIsNew(t *testing.T) {
	s := quick(buckettest.NewMemory())
	first := noise(2, 40<<20)
	write(t, s, first)
	second := append(append(append([]byte{}, first[:20<<20]...), "something in the middle"...), first[20<<20:]...)
	ref := write(t, s, second)
	if ref.Sent > 20<<20 || ref.Sent == 0 {
		t.Errorf("%d bytes were sent for a change of 23", ref.Sent)
	}
	if err := s.Prune(t.Context(), prefix, ref); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, s, ref), second) {
		t.Error("what was kept is not what was written")
	}
}

func TestBrokenOffStreamGoesOn(t *testing.T) {
	data := noise(3, 40<<20)
	f := &faulty{Bucket: buckettest.NewMemory()}
	f.failPut = func(n int64) error {
		if n > 4 {
			return fault.New(fault.Unavailable, "no more")
		}
		return nil
	}
	s := quick(f)
	if _, err := s.Write(t.Context(), prefix, bytes.NewReader(data)); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("got %v, want Unavailable", err)
	}
	f.failPut = nil
	ref := write(t, s, data)
	if ref.Sent > int64(len(data))-4*(512<<10) {
		t.Errorf("%d bytes were sent again", ref.Sent)
	}
	if !bytes.Equal(read(t, s, ref), data) {
		t.Error("the stream came back different")
	}
}

func TestPassingFailureIsTriedAgain(t *testing.T) {
	f := &faulty{Bucket: buckettest.NewMemory()}
	f.failPut = func(n int64) error {
		if n%3 != 0 {
			return errors.New("connection reset")
		}
		return nil
	}
	s := quick(f)
	s.Attempts = 5
	data := noise(4, 12<<20)
	ref := write(t, s, data)
	if !bytes.Equal(read(t, s, ref), data) {
		t.Error("the stream came back different")
	}
}

func TestHangingStoreIsAnError(t *testing.T) {
	f := &faulty{Bucket: buckettest.NewMemory()}
	f.hang.Store(true)
	s := chunkstore.Store{Bucket: f, Limit: 10 * time.Millisecond, Pause: time.Millisecond}
	_, err := s.Write(t.Context(), prefix, bytes.NewReader(noise(5, 1<<20)))
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("got %v", err)
	}
}

func TestLyingStoreIsFoundOut(t *testing.T) {
	data := noise(6, 20<<20)
	for name, lie := range map[string]func([]byte) []byte{
		"another byte": func(d []byte) []byte { d[len(d)/2] ^= 1; return d },
		"cut off":      func(d []byte) []byte { return d[:len(d)/2] },
		"empty":        func([]byte) []byte { return nil },
		"a bomb":       func([]byte) []byte { return zeros },
	} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{Bucket: buckettest.NewMemory(), lie: lie}
			s := quick(f)
			ref := write(t, s, data)
			r, err := s.Open(t.Context(), prefix, ref)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := io.Copy(io.Discard, r); !fault.Is(err, fault.Unprocessable) {
				t.Errorf("reading: got %v, want Unprocessable", err)
			}
			f.lie = nil
			// Each comparison takes out what is damaged, until all is sent again.
			for range 100 {
				err := s.Verify(t.Context(), prefix, ref)
				if err == nil {
					break
				}
				if !fault.Is(err, fault.Unprocessable) {
					t.Fatalf("verify: got %v, want Unprocessable", err)
				}
				ref = write(t, s, data)
			}
			if !bytes.Equal(read(t, s, ref), data) {
				t.Error("the stream came back different")
			}
		})
	}
}

// zeros unpack to far more than a chunk may have.
var zeros = func() []byte {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return enc.EncodeAll(make([]byte, 64<<20), nil)
}()

func TestLostPartIsAnError(t *testing.T) {
	b := buckettest.NewMemory()
	s := quick(b)
	ref := write(t, s, noise(7, 10<<20))
	m, err := s.Manifest(t.Context(), prefix, ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), prefix+"chunks/"+m.Chunks[1].Digest); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), prefix, ref); !fault.Is(err, fault.Unprocessable) {
		t.Errorf("got %v, want Unprocessable", err)
	}
}

func TestCloseEndsAReadUnderWay(t *testing.T) {
	b := &slow{Bucket: buckettest.NewMemory(), asked: make(chan struct{}, 100)}
	s := quick(b)
	ref := write(t, s, noise(8, 10<<20))
	b.on.Store(true)
	r, err := s.Open(t.Context(), prefix, ref)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, r); ended <- err }()
	<-b.asked
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

// slow answers for chunks only when nobody waits any more.
type slow struct {
	objectstore.Bucket
	on    atomic.Bool
	asked chan struct{}
}

func (s *slow) Get(ctx context.Context, key string, r *objectstore.Range) (io.ReadCloser, objectstore.Object, error) {
	if s.on.Load() && strings.Contains(key, "/chunks/") {
		s.asked <- struct{}{}
		<-ctx.Done()
		return nil, objectstore.Object{}, ctx.Err()
	}
	return s.Bucket.Get(ctx, key, r)
}

// discard is a bucket that keeps only names.
type discard struct {
	objectstore.Bucket
	mu   sync.Mutex
	most uint64
}

func (d *discard) Put(_ context.Context, key string, body io.Reader, size int64, _ string) (objectstore.Object, error) {
	_, err := io.Copy(io.Discard, body)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.most = max(d.most, mem.HeapInuse)
	return objectstore.Object{Key: key, Size: size}, err
}

func TestMemoryStaysFlat(t *testing.T) {
	d := &discard{Bucket: buckettest.NewMemory()}
	src := rand.NewChaCha8([32]byte{9})
	ref, err := quick(d).Write(t.Context(), prefix, io.LimitReader(src, 192<<20))
	if err != nil {
		t.Fatal(err)
	}
	if ref.Size != 192<<20 {
		t.Errorf("size %d", ref.Size)
	}
	if d.most > 128<<20 {
		t.Errorf("the heap grew to %d MiB", d.most>>20)
	}
}
