// Package buckettest is the suite that every objectstore.Bucket passes.
package buckettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/internal/fault"
	"daytona/internal/objectstore"
)

// Run runs the suite on an empty bucket, of which it uses keys below "suite/".
func Run(t *testing.T, b objectstore.Bucket) {
	ctx := t.Context()
	if err := b.Check(ctx); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		f    func(*testing.T, objectstore.Bucket, string)
	}{
		{"objects", objects}, {"ranges", ranges}, {"lists", lists}, {"pages", pages}, {"short body", shortBody},
		{"parts", parts}, {"bad parts", badParts}, {"resume", resume}, {"write", write}, {"delete prefix", deletePrefix},
		{"at once", atOnce}, {"cancelled", cancelled}, {"keys", keys}, {"folder marker", folderMarker},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(t, b, "suite/"+strings.ReplaceAll(tt.name, " ", "-")+"/") })
	}
}

func put(t *testing.T, b objectstore.Bucket, key, text string) objectstore.Object {
	t.Helper()
	o, err := b.Put(t.Context(), key, strings.NewReader(text), int64(len(text)), "text/plain")
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return o
}

func get(t *testing.T, b objectstore.Bucket, key string, r *objectstore.Range) (string, objectstore.Object) {
	t.Helper()
	body, o, err := b.Get(t.Context(), key, r)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return string(data), o
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got %v, want a fault of kind %s", err, kind)
	}
}

func objects(t *testing.T, b objectstore.Bucket, dir string) {
	key := dir + "a b+c/ä.tar"
	_, err := b.Stat(t.Context(), key)
	wantKind(t, err, fault.NotFound)
	_, _, err = b.Get(t.Context(), key, nil)
	wantKind(t, err, fault.NotFound)
	o := put(t, b, key, "first")
	if text, got := get(t, b, key, nil); text != "first" || got.Size != 5 || got.ETag != o.ETag || got.ContentType != "text/plain" {
		t.Errorf("got %q, %+v after %+v", text, got, o)
	}
	put(t, b, key, "the second")
	got, err := b.Stat(t.Context(), key)
	if err != nil || got.Size != 10 || got.ETag == o.ETag || time.Since(got.Modified) > time.Hour {
		t.Errorf("stat: %+v, %v", got, err)
	}
	put(t, b, dir+"empty", "")
	if text, got := get(t, b, dir+"empty", nil); text != "" || got.Size != 0 {
		t.Errorf("empty: %q, %+v", text, got)
	}
	for range 2 { // the second finds nothing
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	_, err = b.Stat(t.Context(), key)
	wantKind(t, err, fault.NotFound)
}

func ranges(t *testing.T, b objectstore.Bucket, dir string) {
	put(t, b, dir+"x", "0123456789")
	for _, tt := range []struct {
		r    objectstore.Range
		want string
	}{{objectstore.Range{First: 2, Last: 4}, "234"}, {objectstore.Range{First: 7, Last: -1}, "789"}, {objectstore.Range{First: -1, Last: 3}, "789"}, {objectstore.Range{First: 8, Last: 99}, "89"}} {
		if text, o := get(t, b, dir+"x", &tt.r); text != tt.want || o.Size != 10 {
			t.Errorf("%v: %q, %+v", tt.r, text, o)
		}
	}
	_, _, err := b.Get(t.Context(), dir+"x", &objectstore.Range{First: 10, Last: 12})
	wantKind(t, err, fault.Invalid)
}

func lists(t *testing.T, b objectstore.Bucket, dir string) {
	for _, key := range []string{"b", "a/2", "a/1", "a-", "c/d/e"} {
		put(t, b, dir+key, key)
	}
	list := func(q objectstore.Query) (keys []string) {
		t.Helper()
		page, err := b.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			keys = append(keys, strings.TrimPrefix(o.Key, dir))
		}
		for _, p := range page.Prefixes {
			keys = append(keys, "<"+strings.TrimPrefix(p, dir)+">")
		}
		return keys
	}
	for _, tt := range []struct {
		q    objectstore.Query
		want []string
	}{
		{objectstore.Query{Prefix: dir}, []string{"a-", "a/1", "a/2", "b", "c/d/e"}},
		{objectstore.Query{Prefix: dir, Delimiter: "/"}, []string{"a-", "b", "<a/>", "<c/>"}},
		{objectstore.Query{Prefix: dir + "a/"}, []string{"a/1", "a/2"}},
		{objectstore.Query{Prefix: dir + "a"}, []string{"a-", "a/1", "a/2"}},
		{objectstore.Query{Prefix: dir, After: dir + "a/1"}, []string{"a/2", "b", "c/d/e"}},
		{objectstore.Query{Prefix: dir + "none"}, nil},
	} {
		if got := list(tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
		}
	}
}

func pages(t *testing.T, b objectstore.Bucket, dir string) {
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("%s%d", dir, i))
		put(t, b, want[i], "x")
	}
	var got []string
	q := objectstore.Query{Prefix: dir, Max: 3}
	for n := 0; ; n++ {
		page, err := b.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			got = append(got, o.Key)
		}
		if q.Token = page.Next; q.Token == "" {
			break
		}
		if n > 5 {
			t.Fatal("the list never ends")
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func shortBody(t *testing.T, b objectstore.Bucket, dir string) {
	put(t, b, dir+"x", "before")
	_, err := b.Put(t.Context(), dir+"x", strings.NewReader("abc"), 1000, "")
	wantKind(t, err, fault.Invalid)
	if text, _ := get(t, b, dir+"x", nil); text != "before" {
		t.Errorf("a body that was broken off is %q", text)
	}
	broken := errors.New("broken off")
	if _, err := b.Put(t.Context(), dir+"x", &lastly{err: broken}, 5, ""); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if text, _ := get(t, b, dir+"x", nil); text != "before" {
		t.Errorf("a body that failed with its last byte is %q", text)
	}
}

// lastly fails together with its last byte.
type lastly struct{ err error }

func (l *lastly) Read(p []byte) (int, error) { return copy(p, "after"), l.err }

func random(t *testing.T, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}

func parts(t *testing.T, b objectstore.Bucket, dir string) {
	key, data := dir+"big", random(t, objectstore.MinPart+1000)
	id, err := b.Begin(t.Context(), key, "application/x-tar")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Stat(t.Context(), key); !fault.Is(err, fault.NotFound) {
		t.Errorf("an upload under way is seen: %v", err)
	}
	var made []objectstore.Part
	for i, piece := range [][]byte{data[:objectstore.MinPart], data[objectstore.MinPart:]} {
		for range 2 { // a part may be sent again
			p, err := b.PutPart(t.Context(), key, id, i+1, bytes.NewReader(piece), int64(len(piece)))
			if err != nil {
				t.Fatal(err)
			}
			if made = append(made[:i], p); p.Number != i+1 || p.ETag == "" {
				t.Errorf("part %+v", p)
			}
		}
	}
	listed, err := b.Parts(t.Context(), key, id)
	if err != nil || len(listed) != 2 || listed[1].Size != 1000 || listed[0].Number != 1 {
		t.Errorf("parts: %+v, %v", listed, err)
	}
	open, err := b.Uploads(t.Context(), dir)
	if err != nil || len(open) != 1 || open[0].ID != id || open[0].Key != key {
		t.Errorf("uploads: %+v, %v", open, err)
	}
	o, err := b.Complete(t.Context(), key, id, made)
	if err != nil || o.Size != int64(len(data)) {
		t.Fatalf("complete: %+v, %v", o, err)
	}
	if text, o := get(t, b, key, nil); text != string(data) || o.ContentType != "application/x-tar" {
		t.Errorf("the object differs from its parts: %d bytes, %+v", len(text), o)
	}
	if open, err := b.Uploads(t.Context(), dir); err != nil || len(open) != 0 {
		t.Errorf("uploads after the end: %+v, %v", open, err)
	}
}

func badParts(t *testing.T, b objectstore.Bucket, dir string) {
	key := dir + "x"
	if _, err := b.PutPart(t.Context(), key, "00000000-0000-0000-0000-000000000000", 1, strings.NewReader("a"), 1); !fault.Is(err, fault.NotFound) {
		t.Errorf("a part of no upload: %v", err)
	}
	id, err := b.Begin(t.Context(), key, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutPart(t.Context(), key, id, objectstore.MaxParts+1, strings.NewReader("a"), 1); !fault.Is(err, fault.Invalid) {
		t.Errorf("part 10001: %v", err)
	}
	if _, err := b.Complete(t.Context(), key, id, []objectstore.Part{{Number: 1, ETag: `"00000000000000000000000000000000"`}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("complete with a part that is not there: %v", err)
	}
	for range 2 {
		if err := b.Abort(t.Context(), key, id); err != nil {
			t.Error(err)
		}
	}
	_, err = b.Stat(t.Context(), key)
	wantKind(t, err, fault.NotFound)
}

func resume(t *testing.T, b objectstore.Bucket, dir string) {
	key, data := dir+"x", random(t, objectstore.PartSize+4321)
	id, err := b.Begin(t.Context(), key, "")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken off")
	open := func(limit int) func(int64) (io.ReadCloser, error) {
		return func(from int64) (io.ReadCloser, error) {
			if limit < 0 && from != objectstore.PartSize {
				t.Errorf("went on at %d", from)
			}
			if limit < 0 {
				return io.NopCloser(bytes.NewReader(data[from:])), nil
			}
			return io.NopCloser(io.MultiReader(bytes.NewReader(data[from:limit]), failing{broken})), nil
		}
	}
	if _, err := objectstore.Resume(t.Context(), b, key, id, open(objectstore.PartSize+100)); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if _, err := objectstore.Resume(t.Context(), b, key, id, open(-1)); err != nil {
		t.Fatal(err)
	}
	if text, _ := get(t, b, key, nil); text != string(data) {
		t.Error("the object differs")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func write(t *testing.T, b objectstore.Bucket, dir string) {
	for _, n := range []int{0, 10, objectstore.PartSize, objectstore.PartSize + 1} {
		data := random(t, n)
		o, err := objectstore.Write(t.Context(), b, dir+"x", bytes.NewReader(data), "")
		if err != nil || o.Size != int64(n) {
			t.Fatalf("%d bytes: %+v, %v", n, o, err)
		}
		if text, _ := get(t, b, dir+"x", nil); text != string(data) {
			t.Errorf("%d bytes: the object differs", n)
		}
	}
	broken := errors.New("broken off")
	_, err := objectstore.Write(t.Context(), b, dir+"y", io.MultiReader(bytes.NewReader(random(t, objectstore.PartSize+5)), failing{broken}), "")
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	_, err = b.Stat(t.Context(), dir+"y")
	wantKind(t, err, fault.NotFound)
	if open, err := b.Uploads(t.Context(), dir); err != nil || len(open) != 0 {
		t.Errorf("left: %+v, %v", open, err)
	}
}

func deletePrefix(t *testing.T, b objectstore.Bucket, dir string) {
	for _, key := range []string{"a/1", "a/2/3", "ab/1"} {
		put(t, b, dir+key, "x")
	}
	if _, err := b.Begin(t.Context(), dir+"a/4", ""); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := objectstore.DeletePrefix(t.Context(), b, dir+"a/"); err != nil {
			t.Fatal(err)
		}
	}
	page, err := b.List(t.Context(), objectstore.Query{Prefix: dir})
	if err != nil || len(page.Objects) != 1 || page.Objects[0].Key != dir+"ab/1" {
		t.Errorf("left: %+v, %v", page, err)
	}
	if open, err := b.Uploads(t.Context(), dir); err != nil || len(open) != 0 {
		t.Errorf("uploads left: %+v, %v", open, err)
	}
	for _, bad := range []string{"", "/", dir + "a", "../"} {
		if err := objectstore.DeletePrefix(t.Context(), b, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// atOnce: whoever reads sees one of the objects, whole.
func atOnce(t *testing.T, b objectstore.Bucket, dir string) {
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			text := strings.Repeat(string(rune('a'+i)), 100_000)
			if _, err := b.Put(t.Context(), dir+"x", strings.NewReader(text), int64(len(text)), ""); err != nil {
				t.Errorf("put: %v", err)
			}
			body, _, err := b.Get(t.Context(), dir+"x", nil)
			if err != nil {
				t.Errorf("get: %v", err)
				return
			}
			defer body.Close()
			data, err := io.ReadAll(body)
			if err != nil || len(data) != 100_000 || bytes.Count(data, data[:1]) != len(data) {
				t.Errorf("a mixture of %d bytes, %v", len(data), err)
			}
		})
	}
	all.Wait()
}

func cancelled(t *testing.T, b objectstore.Bucket, dir string) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(make([]byte, 1000))
		cancel()
		w.CloseWithError(context.Canceled)
	}()
	if _, err := b.Put(ctx, dir+"x", r, 1_000_000, ""); err == nil {
		t.Error("a cancelled put succeeded")
	}
	_, err := b.Stat(t.Context(), dir+"x")
	wantKind(t, err, fault.NotFound)
}

func keys(t *testing.T, b objectstore.Bucket, dir string) {
	for _, key := range []string{"", "/", dir + "../x", dir + "a//b", dir + "./x", "/" + dir, dir + "a\x00b", dir + strings.Repeat("x", 300), strings.Repeat("a/", 600)} {
		if _, err := b.Put(t.Context(), key, strings.NewReader("x"), 1, ""); !fault.Is(err, fault.Invalid) {
			t.Errorf("put %q: %v", key, err)
		}
		if _, err := b.Stat(t.Context(), key); !fault.Is(err, fault.Invalid) {
			t.Errorf("stat %q: %v", key, err)
		}
	}
}

func folderMarker(t *testing.T, b objectstore.Bucket, dir string) {
	put(t, b, dir+"f/", "")
	put(t, b, dir+"f/x", "inside")
	if text, _ := get(t, b, dir+"f/x", nil); text != "inside" {
		t.Errorf("got %q", text)
	}
	if o, err := b.Stat(t.Context(), dir+"f/"); err != nil || o.Size != 0 {
		t.Errorf("marker: %+v, %v", o, err)
	}
	if err := objectstore.DeletePrefix(t.Context(), b, dir); err != nil {
		t.Error(err)
	}
	page, err := b.List(t.Context(), objectstore.Query{Prefix: dir})
	if err != nil || len(page.Objects) != 0 {
		t.Errorf("left: %+v, %v", page, err)
	}
}
