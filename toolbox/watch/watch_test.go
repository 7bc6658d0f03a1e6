package watch_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"daytona/toolbox/launch"
	"daytona/toolbox/watch"
	"daytona/toolbox/wire"
)

// place is a directory and a service that watches it.
type place struct {
	t   *testing.T
	dir string
	url string
}

func newPlace(t *testing.T, c watch.Config) *place {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c.Space = &launch.Space{WorkDir: dir, Env: launch.NewEnviron([]string{"HOME=" + dir})}
	c.Log = slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	for _, route := range watch.New(c).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler(w, r); err != nil {
				body := wire.Describe(err, r, time.Now())
				_ = wire.JSON(w, body.StatusCode, body)
			}
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &place{t, dir, server.URL}
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) mkdir(name string) { p.t.Helper(); p.must(os.MkdirAll(p.path(name), 0o755)) }

func (p *place) write(name string) {
	p.t.Helper()
	p.must(os.WriteFile(p.path(name), []byte(name), 0o644))
}

func (p *place) rename(from, to string) {
	p.t.Helper()
	p.must(os.Rename(p.path(from), p.path(to)))
}

func (p *place) remove(name string) { p.t.Helper(); p.must(os.RemoveAll(p.path(name))) }

// stream is a watch under way.
type stream struct {
	p    *place
	next func() (watch.Event, error)
	seen []string
}

// watch starts to watch a path, by lines of JSON.
func (p *place) watch(path string, recursive bool) *stream {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	p.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.query(path, recursive), nil)
	p.must(err)
	res, err := http.DefaultClient.Do(req)
	p.must(err)
	p.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/x-ndjson" {
		text, _ := io.ReadAll(res.Body)
		p.t.Fatalf("status %d: %s", res.StatusCode, text)
	}
	decode := json.NewDecoder(bufio.NewReader(res.Body))
	s := &stream{p: p, next: func() (e watch.Event, err error) { return e, decode.Decode(&e) }}
	s.expect("ready " + path)
	return s
}

func (p *place) query(path string, recursive bool) string {
	return fmt.Sprintf("%s/files/watch?path=%s&recursive=%v", p.url, url.QueryEscape(path), recursive)
}

// word shows an event with paths from the place on.
func (s *stream) word(e watch.Event) string {
	path := strings.TrimPrefix(strings.TrimPrefix(e.Path, s.p.dir), "/")
	word := string(e.Type) + " " + path
	if e.OldPath != "" {
		word += " from " + strings.TrimPrefix(strings.TrimPrefix(e.OldPath, s.p.dir), "/")
	}
	if e.IsDir && e.Type != watch.Ready {
		word += "/"
	}
	return strings.TrimSpace(word)
}

// expect reads on until all events have come, in this order, and returns what
// came between them. What is modified is told as often as it likes.
func (s *stream) expect(want ...string) (others []string) {
	s.p.t.Helper()
	for _, w := range want {
		for {
			e, err := s.next()
			if err != nil {
				s.p.t.Fatalf("waiting for %q: %v; came: %s", w, err, strings.Join(s.seen[max(0, len(s.seen)-20):], ", "))
			}
			if e.Time.IsZero() {
				s.p.t.Errorf("%+v has no time", e)
			}
			got := s.word(e)
			s.seen = append(s.seen, got)
			if got == strings.TrimSpace(w) {
				break
			}
			if e.Type != watch.Modified {
				others = append(others, got)
			}
		}
	}
	return others
}

// exactly is expect with nothing in between.
func (s *stream) exactly(want ...string) {
	s.p.t.Helper()
	if others := s.expect(want...); len(others) > 0 {
		s.p.t.Errorf("unexpected: %s", strings.Join(others, ", "))
	}
}

func TestChangesOfOneDirectory(t *testing.T) {
	p := newPlace(t, watch.Config{})
	p.mkdir("d")
	p.mkdir("d/sub")
	s := p.watch("d", false)
	p.write("d/a")
	s.exactly("created d/a", "modified d/a")
	p.must(os.Chmod(p.path("d/a"), 0o600))
	s.exactly("modified d/a")
	p.rename("d/a", "d/b")
	s.exactly("renamed d/b from d/a")
	p.rename("d/b", "out")
	s.exactly("deleted d/b")
	p.rename("out", "d/c")
	s.exactly("moved-in d/c")
	p.write("d/sub/unseen")
	p.mkdir("d/new")
	p.write("d/new/unseen")
	s.exactly("created d/new/")
	p.remove("d/c")
	s.exactly("deleted d/c")
	p.remove("d/new")
	s.exactly("deleted d/new/")
	p.remove("d")
	s.expect("deleted d/")
	if e, err := s.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %+v, %v", e, err)
	}
}

func TestChangesBelow(t *testing.T) {
	p := newPlace(t, watch.Config{})
	p.mkdir("r/x/y")
	s := p.watch("r", true)
	p.write("r/x/y/f")
	s.exactly("created r/x/y/f", "modified r/x/y/f")
	p.mkdir("r/n/m")
	s.exactly("created r/n/", "created r/n/m/")
	p.write("r/n/m/f")
	s.exactly("created r/n/m/f")
	// A directory that moves keeps being watched, under its new name.
	p.rename("r/n", "r/x/moved")
	s.exactly("renamed r/x/moved from r/n/")
	p.write("r/x/moved/m/g")
	s.exactly("created r/x/moved/m/g")
	// One that leaves does not.
	p.rename("r/x", "outside")
	s.exactly("deleted r/x/")
	p.write("outside/y/unseen")
	p.write("outside/moved/m/unseen")
	// One that comes does, with what it holds.
	p.rename("outside", "r/back")
	s.expect("moved-in r/back/", "created r/back/moved/m/unseen")
	p.write("r/back/y/h")
	s.exactly("created r/back/y/h")
	p.remove("r/back")
	s.expect("deleted r/back/")
	// The same name again is another directory.
	p.mkdir("r/back")
	s.exactly("created r/back/")
	p.write("r/back/again")
	s.exactly("created r/back/again")
}

// What is made in a new directory before anybody can watch it is told as well.
func TestNothingIsLostInNewDirectories(t *testing.T) {
	p := newPlace(t, watch.Config{})
	p.mkdir("r")
	s := p.watch("r", true)
	const trees, depth = 20, 10
	want := map[string]bool{}
	for i := range trees {
		dir := fmt.Sprintf("r/%d", i)
		for j := range depth {
			p.mkdir(dir)
			file := fmt.Sprintf("%s/f%d", dir, j)
			p.write(file)
			want["created "+file] = true
			want["created "+dir+"/"] = true
			dir += "/d"
		}
	}
	told := map[string]int{}
	for missing := len(want); missing > 0; {
		e, err := s.next()
		if err != nil {
			t.Fatalf("%d are missing: %v", missing, err)
		}
		if word := s.word(e); e.Type == watch.Created {
			if told[word]++; told[word] == 1 && want[word] {
				missing--
			}
		}
	}
	for word, n := range told {
		if n > 1 {
			t.Errorf("%s was told %d times", word, n)
		}
	}
}

func TestFileIsSeenWhenReplaced(t *testing.T) {
	p := newPlace(t, watch.Config{})
	p.mkdir("d")
	p.write("d/f")
	p.write("d/other")
	s := p.watch("d/f", true)
	p.write("d/other")
	p.write("d/f")
	s.exactly("modified d/f")
	p.write("d/f.tmp")
	p.rename("d/f.tmp", "d/f")
	s.exactly("moved-in d/f")
	p.rename("d/f", "d/g")
	s.exactly("deleted d/f")
	p.write("d/f")
	s.exactly("created d/f")
	p.remove("d/f")
	s.exactly("deleted d/f")
}

func TestLinksAreNotFollowed(t *testing.T) {
	p := newPlace(t, watch.Config{})
	p.mkdir("r/d")
	p.mkdir("elsewhere")
	p.must(os.Symlink("..", p.path("r/d/loop")))
	p.must(os.Symlink("../elsewhere", p.path("r/link")))
	s := p.watch("r", true)
	p.write("elsewhere/unseen")
	p.must(os.Symlink(".", p.path("r/d/self")))
	s.exactly("created r/d/self")
	p.write("r/d/loop/via")
	s.exactly("created r/via")
	// The path itself may be a link.
	through := p.watch("r/link", true)
	p.write("elsewhere/seen")
	through.exactly("created r/link/seen")
}

func TestRequestsThatAreRefused(t *testing.T) {
	p := newPlace(t, watch.Config{Dirs: 3, Streams: 1})
	p.mkdir("a/b/c")
	get := func(rawURL string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rawURL, nil)
		p.must(err)
		res, err := http.DefaultClient.Do(req)
		p.must(err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		p.must(err)
		return res.StatusCode, string(text)
	}
	for _, test := range []struct {
		url, code string
		status    int
	}{
		{p.url + "/files/watch", "BAD_REQUEST", 400},
		{p.url + "/files/watch?path=a&recursive=perhaps", "BAD_REQUEST", 400},
		{p.url + "/files/watch?path=%00", "INVALID_FILE_PATH", 400},
		{p.query(strings.Repeat("n", 300), false), "INVALID_FILE_PATH", 400},
		{p.query("none", true), "FILE_NOT_FOUND", 404},
		{p.query("", true) + "&path=", "BAD_REQUEST", 400},
		{p.query(".", true), "WATCH_LIMIT", 422}, // ., a, b, c
	} {
		if status, body := get(test.url); status != test.status || !strings.Contains(body, `"`+test.code+`"`) {
			t.Errorf("%s: %d %s", test.url, status, body)
		}
	}
	s := p.watch("a", true)
	if status, body := get(p.query("a", true)); status != 429 || !strings.Contains(body, "WATCH_LIMIT") {
		t.Errorf("a second stream: %d %s", status, body)
	}
	// A limit that is met later on is told.
	p.mkdir("a/b/more")
	s.expect("created a/b/more/", "unwatched a/b/more/")
	p.remove("a/b/c")
	s.expect("deleted a/b/c/")
	p.mkdir("a/b/d")
	p.write("a/b/d/f")
	s.exactly("created a/b/d/", "created a/b/d/f")
}

// A client that takes nothing must not make the server's memory grow, and is
// told that it missed something.
func TestSlowClientIsToldOfOverflow(t *testing.T) {
	p := newPlace(t, watch.Config{Queue: 16})
	p.mkdir("d")
	s := p.watch("d", false)
	// More than the connection and the queue can hold while nobody reads.
	name := strings.Repeat("n", 200)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20000 {
			file := p.path(fmt.Sprintf("d/%s%d", name, i%100))
			if os.WriteFile(file, nil, 0o644) != nil || os.Remove(file) != nil {
				t.Error("cannot write")
				return
			}
		}
	}()
	<-done
	s.expect("overflow")
	// What was on its way may overflow once more. After that it is complete.
	for i := range 1000 {
		last := fmt.Sprintf("d/last%d", i)
		p.write(last)
		for {
			e, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			if word := s.word(e); word == "created "+last {
				return
			} else if word == "overflow" {
				break
			}
		}
	}
	t.Error("it overflows without end")
}

func TestClientThatStallsIsLetGo(t *testing.T) {
	p := newPlace(t, watch.Config{Streams: 1, Stall: 50 * time.Millisecond})
	p.mkdir("d")
	_ = p.watch("d", false) // takes nothing any more
	name := strings.Repeat("n", 200)
	deadline := time.Now().Add(30 * time.Second)
	for i := 0; ; i++ {
		for j := range 2000 {
			file := p.path(fmt.Sprintf("d/%s%d", name, j%100))
			p.must(os.WriteFile(file, nil, 0o644))
			p.must(os.Remove(file))
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.query("none", false), nil)
		p.must(err)
		res, err := http.DefaultClient.Do(req)
		p.must(err)
		res.Body.Close()
		if res.StatusCode == http.StatusNotFound {
			return // its place is free: the request got as far as the path
		}
		if time.Now().After(deadline) {
			t.Fatal("the stream goes on")
		}
	}
}

func TestWebSocket(t *testing.T) {
	p := newPlace(t, watch.Config{})
	p.mkdir("d")
	dial := func() *stream {
		c, res, err := websocket.Dial(t.Context(), p.query("d", true), &websocket.DialOptions{Subprotocols: []string{"X-Daytona-SDK-Version~0.218.0"}})
		p.must(err)
		if res.Body != nil {
			res.Body.Close()
		}
		t.Cleanup(func() { _ = c.CloseNow() })
		s := &stream{p: p, next: func() (e watch.Event, err error) {
			kind, data, err := c.Read(t.Context())
			if err != nil {
				return e, err
			}
			if kind != websocket.MessageText || bytes.ContainsRune(data, '\n') {
				t.Errorf("frame %v %q", kind, data)
			}
			return e, json.Unmarshal(data, &e)
		}}
		s.expect("ready d")
		return s
	}
	s := dial()
	p.write("d/f")
	s.exactly("created d/f")
	p.remove("d")
	s.expect("deleted d/")
	if _, err := s.next(); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the end: %v", err)
	}
	_, res, err := websocket.Dial(t.Context(), p.query("d", true), nil)
	if err == nil || res == nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("a path that is not there: %v, %v", res, err)
	}
	if res != nil && res.Body != nil {
		res.Body.Close()
	}
}

// A stream that nobody listens to any more is given up, though nothing changes.
func TestStreamEndsWithItsClient(t *testing.T) {
	for _, kind := range []string{"lines", "frames"} {
		t.Run(kind, func(t *testing.T) {
			p := newPlace(t, watch.Config{Streams: 1})
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			if kind == "lines" {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.query(".", false), nil)
				p.must(err)
				res, err := http.DefaultClient.Do(req)
				p.must(err)
				defer res.Body.Close()
			} else {
				c, res, err := websocket.Dial(ctx, p.query(".", false), nil)
				p.must(err)
				if res.Body != nil {
					res.Body.Close()
				}
				defer func() { _ = c.CloseNow() }()
				go func() {
					<-ctx.Done()
					_ = c.CloseNow()
				}()
			}
			leave()
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.query("none", false), nil)
				p.must(err)
				res, err := http.DefaultClient.Do(req)
				p.must(err)
				res.Body.Close()
				if res.StatusCode == http.StatusNotFound {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("the stream goes on")
				}
			}
		})
	}
}
