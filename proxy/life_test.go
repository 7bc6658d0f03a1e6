package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"daytona/api/proxyapi"
	"daytona/controlplane/controlplanetest"
	"daytona/controlplane/sandbox"
	"daytona/proxy"
)

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func TestTheFirstRequestWakesASandbox(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, echo)
	b := w.box(map[string]any{"public": true, "labels": map[string]string{sandbox.LabelAutoWake: "true"}})
	b.post("/stop")
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { w.get(b.host(3000), "/").has(t, 200) })
	}
	all.Wait()
	asleep := w.box(map[string]any{"public": true})
	asleep.post("/stop")
	w.get(asleep.host(3000), "/").has(t, 503)
	private := w.box(map[string]any{"labels": map[string]string{sandbox.LabelAutoWake: "true"}})
	private.post("/stop")
	w.get(private.host(3000), "/").has(t, 401) // strangers wake nobody
	if got := w.Do(t, controlplanetest.Request{Path: "/api/sandbox/" + private.id, Key: w.Key}).Object(t)["state"]; got != "stopped" {
		t.Errorf("state %v", got)
	}
}

func TestSignedLinks(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, echo)
	w.listen(3001, echo)
	b := w.box(nil)
	var link struct{ URL, Token string }
	w.Do(t, controlplanetest.Request{Path: "/api/sandbox/" + b.id + "/ports/3000/signed-preview-url?expiresInSeconds=60", Key: w.Key}).JSON(t, &link)
	host := w.Previews.Host(3000, link.Token)
	w.get(host, "/").has(t, 200, "X-Forwarded-Host: "+host)
	w.get(w.Previews.Host(3001, link.Token), "/").has(t, 401) // for one port
	w.get(w.Previews.Host(2280, link.Token), "/version").has(t, 401)
	w.get(w.Previews.Host(3000, strings.Repeat("a", 16)), "/").has(t, 401)
	b.post("/ports/3000/signed-preview-url/" + link.Token + "/expire")
	w.get(host, "/").has(t, 401)
	w.Do(t, controlplanetest.Request{Path: "/api/sandbox/" + b.id + "/ports/3000/signed-preview-url", Key: w.Key}).JSON(t, &link)
	host = w.Previews.Host(3000, link.Token)
	w.get(host, "/").has(t, 200)
	w.Advance(time.Minute)
	w.get(host, "/").has(t, 401)
}

// A thousand connections at a time get through, and what they took is given back.
func TestManyConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	w := newWorld(t, nil)
	const many = 1000
	here := make(chan struct{}, many)
	release := make(chan struct{})
	w.listen(3000, func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).Flush()
		here <- struct{}{}
		<-release
		fmt.Fprint(rw, "done")
	})
	b := w.box(map[string]any{"public": true})
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := memory()
	client := &http.Transport{MaxIdleConnsPerHost: -1}
	var all sync.WaitGroup
	failed := make(chan string, many)
	for range many {
		all.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.address+"/", nil)
			if err != nil {
				failed <- err.Error()
				return
			}
			req.Host = b.host(3000)
			res, err := client.RoundTrip(req)
			if err != nil {
				failed <- err.Error()
				return
			}
			defer res.Body.Close()
			if data, err := io.ReadAll(res.Body); err != nil || string(data) != "done" {
				failed <- fmt.Sprintf("%d %q %v", res.StatusCode, data, err)
			}
		})
	}
	deadline := time.After(time.Minute)
	for range many {
		select {
		case <-here:
		case text := <-failed:
			t.Error(text)
		case <-deadline:
			t.Error("not all came through")
		}
		if t.Failed() {
			break
		}
	}
	during := memory()
	close(release)
	all.Wait()
	close(failed)
	for text := range failed {
		t.Error(text)
	}
	// Client, proxy and program are all in this process.
	if grown := (during - before) / many; grown > 600<<10 {
		t.Errorf("%d bytes for each connection", grown)
	}
}

// counting counts what is told of activity.
type counting struct {
	proxyapi.ControlPlane
	touched atomic.Int64
}

func (c *counting) Touch(id string) {
	c.touched.Add(1)
	c.ControlPlane.Touch(id)
}

// An open socket counts as activity while messages pass, in either direction, and
// not by its being open, nor by pings.
func TestAQuietSocketDoesNotCount(t *testing.T) {
	const idle = 50 * time.Millisecond
	plane := &counting{}
	w := newWorld(t, func(c *proxy.Config) {
		plane.ControlPlane = c.Plane
		c.Plane, c.IdleAfter = plane, idle
	})
	w.listen(3000, func(rw http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	})
	b := w.box(map[string]any{"public": true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+w.address+"/", &websocket.DialOptions{Host: b.host(3000)}) //nolint:bodyclose // Dial has read it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	talk := func() {
		t.Helper()
		if err := conn.Write(ctx, websocket.MessageText, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.Read(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for before := plane.touched.Load(); plane.touched.Load() < before+3; {
		talk()
	}
	reading := conn.CloseRead(ctx) // so that pongs are seen
	time.Sleep(3 * idle)           // the last message is long ago then
	quiet := plane.touched.Load()
	for end := time.Now().Add(6 * idle); time.Now().Before(end); {
		if err := conn.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := plane.touched.Load(); n != quiet {
		t.Errorf("a socket that only pings was counted %d times", n-quiet)
	}
	if reading.Err() != nil {
		t.Error("the socket has ended")
	}
}

func TestAProgramThatGoesAwayMidway(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/next" {
			return
		}
		fmt.Fprint(rw, "half")
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	})
	b := w.box(map[string]any{"public": true})
	res, err := w.roundTrip("GET", b.host(3000), "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("half an answer looks like a whole one: %q", data)
	}
	res.Body.Close()
	w.get(b.host(3000), "/next").has(t, 200)
}

func TestGRPCGoesByHTTP2(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "Grpc-Status")
		rw.Header().Set("Content-Type", "application/grpc")
		_ = http.NewResponseController(rw).Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			_, _ = rw.Write(buf[:n])
			_ = http.NewResponseController(rw).Flush()
			if err != nil {
				break
			}
		}
		rw.Header().Set("Grpc-Status", strconv.Itoa(2-r.ProtoMajor))
	})
	b := w.box(map[string]any{"public": true})
	client := &http.Transport{Protocols: new(http.Protocols)}
	client.Protocols.SetUnencryptedHTTP2(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	in, out := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.address+"/svc/Method", in)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = b.host(3000)
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	res, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	buf := make([]byte, 5)
	for _, part := range []string{"first", "other"} { // in both directions at once
		if _, err := io.WriteString(out, part); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != part {
			t.Fatalf("%q %v", buf, err)
		}
	}
	_ = out.Close() // a pipe's never fails
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Error(err)
	}
	if res.ProtoMajor != 2 || res.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%s, trailers %v", res.Proto, res.Trailer)
	}
}

func TestTemplates(t *testing.T) {
	for text, want := range map[string]string{
		"https://{{PORT}}-{{sandboxId}}.example.org":                 "https://3000-a-b.example.org",
		"http://{{PORT}}-{{sandboxId}}.proxy.localhost:3986":         "http://3000-a-b.proxy.localhost:3986",
		"https://{{sandboxId}}--{{PORT}}.p.example.org/":             "https://a-b--3000.p.example.org",
		"https://{{PORT}}.{{sandboxId}}.example.org":                 "https://3000.a-b.example.org",
		"https://daytona.example.org/preview/{{sandboxId}}/{{PORT}}": "https://daytona.example.org/preview/a-b/3000",
	} {
		tpl, err := proxyapi.ParseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := tpl.URL(3000, "a-b"); got != want {
			t.Errorf("%s gives %s, want %s", text, got, want)
		}
		if tpl.Suffix() == "" {
			continue
		}
		if port, ref, ours := tpl.Match(strings.ToUpper(tpl.Host(3000, "a-b"))); port != 3000 || ref != "a-b" || !ours {
			t.Errorf("%s does not match what it makes: %d %s %v", text, port, ref, ours)
		}
		if _, _, ours := tpl.Match("daytona.example.com"); ours {
			t.Errorf("%s takes another host", text)
		}
	}
	for _, text := range []string{"", "x", "{{PORT}}-{{sandboxId}}.example.org", "https://{{PORT}}.example.org", "https://{{PORT}}-{{sandboxId}}", "https://{{PORT}}-{{PORT}}-{{sandboxId}}.x.y",
		"https://x.y/{{sandboxId}}/{{PORT}}", "https://{{PORT}}-{{sandboxId}}.x.y/path", "ftp://{{PORT}}-{{sandboxId}}.x.y", "https://{{sandboxId}}.x.y/{{PORT}}"} {
		if tpl, err := proxyapi.ParseTemplate(text); err == nil {
			t.Errorf("%s was taken: %s", text, tpl)
		}
	}
}

func FuzzMatch(f *testing.F) {
	tpl, err := proxyapi.ParseTemplate("https://{{PORT}}-{{sandboxId}}.example.org")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("3000-a.example.org", "/preview/a/3000/x")
	f.Add("[::1]:80", "/preview//0")
	f.Fuzz(func(t *testing.T, host, path string) {
		if port, ref, _ := tpl.Match(host); port != 0 {
			if again, ref2, _ := tpl.Match(tpl.Host(port, ref)); again != port || ref2 != ref || port > 65535 {
				t.Errorf("%q: %d %q", host, port, ref)
			}
		}
		if port, ref, rest, ours := proxyapi.MatchPath(path); port != 0 {
			if !ours || fmt.Sprintf("/preview/%s/%d%s", ref, port, rest) != path {
				t.Errorf("%q: %d %q %q", path, port, ref, rest)
			}
		}
	})
}
