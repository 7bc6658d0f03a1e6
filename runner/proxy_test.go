package runner_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"daytona/api/runnerapi"
	"daytona/runner"
)

func TestServeToolboxForwards(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	big := strings.Repeat("x", 3<<20)
	if rec := w.request(http.MethodPost, s.ID, "/process/execute", `{"command":"cat > /dev/null; echo ok"}`); rec.Code != 200 {
		t.Errorf("execute: %d", rec.Code)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeToolbox(rw, r, s.ID) }))
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/files/upload?path=big",
		strings.NewReader("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"+big+"\r\n--B--\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "multipart/form-data; boundary=B")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("upload: %v %v", res, err)
	}
	res.Body.Close()
	if rec := w.request(http.MethodGet, s.ID, "/files/download?path=big&DAYTONA_SANDBOX_AUTH_KEY=secret", ""); rec.Code != 200 || rec.Body.String() != big {
		t.Errorf("download: %d, %d bytes", rec.Code, rec.Body.Len())
	}
}

func TestServeToolboxStripsCredentials(t *testing.T) {
	got := make(chan *http.Request, 1)
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got <- r }))
	defer sink.Close()
	for name, c := range map[string]struct {
		header http.Header
		query  string
		want   func(*http.Request) bool
	}{
		"authorization": {http.Header{"Authorization": {"Bearer x"}}, "", func(r *http.Request) bool { return r.Header.Get("Authorization") == "" }},
		"preview token": {http.Header{"X-Daytona-Preview-Token": {"x"}}, "", func(r *http.Request) bool { return r.Header.Get("X-Daytona-Preview-Token") == "" }},
		"our cookies": {http.Header{"Cookie": {"a=1; daytona-sandbox-auth-x=secret; b=2", "Daytona-Session=s"}}, "",
			func(r *http.Request) bool { return r.Header.Get("Cookie") == "a=1; b=2" }},
		"only our cookie": {http.Header{"Cookie": {"daytona-x=1"}}, "", func(r *http.Request) bool { _, ok := r.Header["Cookie"]; return !ok }},
		"query":           {nil, "a=%20b&DAYTONA_SANDBOX_AUTH_KEY=x&c=d", func(r *http.Request) bool { return r.URL.RawQuery == "a=%20b&c=d" }},
		"a token of the caller's": {http.Header{"X-Daytona-Toolbox-Token": {"mine"}}, "",
			func(r *http.Request) bool { return r.Header.Get("X-Daytona-Toolbox-Token") == "the real one" }},
		"it is marked as passed on": {http.Header{"Connection": {"X-Daytona-Toolbox-Forwarded"}, "X-Daytona-Toolbox-Forwarded": {""}}, "",
			func(r *http.Request) bool { return r.Header.Get("X-Daytona-Toolbox-Forwarded") == "1" }},
		"request id passes": {http.Header{"X-Request-Id": {"7"}}, "", func(r *http.Request) bool { return r.Header.Get("X-Request-Id") == "7" }},
		"host passes":       {http.Header{"X-Forwarded-Host": {"h"}}, "", func(r *http.Request) bool { return r.Header.Get("X-Forwarded-Host") == "h" }},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/a%2Fb", nil)
			req.URL.RawQuery = c.query
			for k, v := range c.header {
				req.Header[k] = v
			}
			runner.ForwardTo(sink.Listener.Addr().String(), "the real one", httptest.NewRecorder(), req)
			r := <-got
			if !c.want(r) {
				t.Errorf("arrived: %s %v", r.URL, r.Header)
			}
			if r.URL.EscapedPath() != "/a%2Fb" {
				t.Errorf("path: %s", r.URL.EscapedPath())
			}
		})
	}
}

// An answer may begin before the whole request has been read: the toolbox
// answers a bulk download while the transport still looks for the body's end.
func TestServeToolboxBothWaysAtOnce(t *testing.T) {
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := c.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 16)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			if err != nil {
				return
			}
			if err := c.Flush(); err != nil {
				return
			}
		}
	}))
	defer sink.Close()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		runner.ForwardTo(sink.Listener.Addr().String(), "token", w, r)
	}))
	defer front.Close()

	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL+"/echo", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = feed.Write([]byte("ping 0")) }()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for i := range 3 {
		want := fmt.Sprintf("ping %d", i)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("echo of %q: %q, %v", want, got, err)
		}
		if i < 2 {
			go func() { _, _ = fmt.Fprintf(feed, "ping %d", i+1) }()
		}
	}
	if err := feed.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("the end: %q, %v", rest, err)
	}
}

func TestServeToolboxWebSocket(t *testing.T) {
	done := make(chan string, 1)
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			done <- err.Error()
			return
		}
		_, data, err := c.Read(r.Context())
		if err != nil {
			done <- err.Error()
			return
		}
		done <- string(data)
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("close: %v", err)
		}
	}))
	defer sink.Close()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		runner.ForwardTo(sink.Listener.Addr().String(), "token", w, r)
	}))
	defer front.Close()
	c, res, err := websocket.Dial(t.Context(), front.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != nil {
		defer res.Body.Close()
	}
	if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != "hello" {
		t.Errorf("arrived: %q", got)
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("close: %v", err)
	}
}

func TestServeToolboxErrors(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	stopped := spec()
	w.create(stopped)
	if _, err := w.Stop(t.Context(), stopped.ID, true); err != nil {
		t.Fatal(err)
	}
	expect := func(id string, status int, message string) {
		t.Helper()
		rec := w.request(http.MethodGet, id, "/version?x=1", "")
		var body struct {
			StatusCode                   int
			Message, Error, Code, Source string
			Timestamp, Path, Method      string
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if rec.Code != status || body.StatusCode != status || body.Message != message || body.Error != http.StatusText(status) ||
			body.Path != "/version" || body.Method != "GET" || body.Timestamp == "" || body.Code == "" ||
			rec.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	}
	expect("nobody", 404, "Sandbox with ID nobody not found")
	expect(stopped.ID, 400, "Sandbox is not running")
	w.close()
	expect(s.ID, 503, "the runner is shutting down")
}

func TestRequestDuringEnd(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	answer := make(chan *httptest.ResponseRecorder, 1)
	marker := w.roots.Path(s.ID) + "/began"
	go func() {
		answer <- w.request(http.MethodPost, s.ID, "/process/execute", `{"command":"touch `+marker+`; sleep 600"}`)
	}()
	eventually(t, "the command runs", func() bool { return exists(marker) })
	if err := w.driver.End(s.ID, runnerapi.End{Cause: runnerapi.CauseOutOfMemory}); err != nil {
		t.Fatal(err)
	}
	if rec := <-answer; rec.Code != 502 || !strings.Contains(rec.Body.String(), `"statusCode":502`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestDialPort(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	if _, err := w.DialPort(t.Context(), s.ID, 0); err == nil {
		t.Error("port 0 was dialled")
	}
	if _, err := w.DialPort(t.Context(), "nobody", 80); err == nil {
		t.Error("a sandbox that does not exist was dialled")
	}
	c, err := w.DialPort(t.Context(), s.ID, 2280)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A client must not give a sandbox another identity, token or environment.
func TestServeToolboxKeepsTheRunnersRoutes(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	evil := `{"token":"mine","env":{"A":"evil"},"set":{"A":"evil"}}`
	for _, path := range []string{"/init", "/env", "//init", "/./init", "/x/../init", "/%69nit", "/init/", "/init?x=1", "/env/."} {
		rec := w.request(http.MethodPost, s.ID, path, evil)
		if rec.Code != http.StatusNotFound || !strings.Contains(rec.Body.String(), `"code":"NOT_FOUND"`) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	rec := w.request(http.MethodPost, s.ID, "/process/execute", `{"command":"echo A=$A"}`)
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `A=\n`) {
		t.Errorf("afterwards: %d %s", rec.Code, rec.Body)
	}
}

func TestServeToolboxMeasures(t *testing.T) {
	w := newWorld(t, nil)
	s := spec(func(s *runnerapi.Spec) { s.CPU, s.MemoryMiB, s.DiskMiB = 1.5, 512, 1024 })
	w.create(s)
	rec := w.request(http.MethodGet, s.ID, "/system/metrics", "")
	var got struct {
		CPUCount, MemTotal, MemUsed, MemCache, DiskTotal, DiskUsed, DiskFree, TimestampUnix *int64

		CPUUsedPct *float64
		Timestamp  time.Time
	}
	dec := json.NewDecoder(rec.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("%d: %v", rec.Code, err)
	}
	if got.MemUsed == nil || got.MemCache == nil || got.DiskUsed == nil || got.CPUUsedPct == nil || got.TimestampUnix == nil {
		t.Fatalf("something is missing: %+v", got)
	}
	if *got.CPUCount != 2 || *got.MemTotal != 512<<20 || *got.DiskTotal != 1024<<20 || *got.DiskFree != *got.DiskTotal-*got.DiskUsed ||
		got.Timestamp.Unix() != *got.TimestampUnix {
		t.Errorf("%+v", got)
	}
	if rec := w.request(http.MethodPost, s.ID, "/system/metrics", "{}"); rec.Code != http.StatusNotFound {
		t.Errorf("POST: %d", rec.Code)
	}
	if rec := w.request(http.MethodGet, "nobody", "/system/metrics", ""); rec.Code != http.StatusNotFound {
		t.Errorf("of nobody: %d", rec.Code)
	}
}
