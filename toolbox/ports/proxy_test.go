package ports_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"daytona/toolbox"
)

const token = "a-token-for-tests"

// server is a toolbox; the tests are about what a client sees of it.
func server(t *testing.T) *httptest.Server {
	t.Helper()
	dir := t.TempDir()
	box, err := toolbox.New(toolbox.Config{Token: token, Home: dir, WorkDir: dir, Environ: []string{"PATH=" + os.Getenv("PATH")}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(box)
	t.Cleanup(s.Close)
	return s
}

// app is a program that listens at an address.
func app(t *testing.T, address string, h http.HandlerFunc) (port string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Skipf("cannot listen at %s: %v", address, err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// answer is what a client sees.
type answer struct {
	status int
	header http.Header
	body   string
	// location is the redirect's target as clients resolve it, or nil.
	location *url.URL
}

func send(t *testing.T, method, url string, body io.Reader, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(toolbox.TokenHeader, token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	location, _ := res.Location()
	return answer{res.StatusCode, res.Header, string(content), location}
}

func number(t *testing.T, port string) int {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ownPort(s *httptest.Server) string {
	return strconv.Itoa(s.Listener.Addr().(*net.TCPAddr).Port)
}

func TestList(t *testing.T) {
	s := server(t)
	four := number(t, app(t, "127.0.0.1:0", nil))
	six := number(t, app(t, "[::1]:0", nil))
	any := number(t, app(t, ":0", nil))
	res := send(t, "GET", s.URL+"/port", nil)
	var got struct{ Ports []int }
	if err := json.Unmarshal([]byte(res.body), &got); err != nil || res.status != 200 {
		t.Fatalf("%d %s: %v", res.status, res.body, err)
	}
	for _, port := range []int{four, six, any} {
		if !slices.Contains(got.Ports, port) {
			t.Errorf("%d is not in %v", port, got.Ports)
		}
	}
	if slices.Contains(got.Ports, number(t, ownPort(s))) || !slices.IsSorted(got.Ports) || len(slices.Compact(slices.Clone(got.Ports))) != len(got.Ports) {
		t.Errorf("own port, order or doubles: %v", got.Ports)
	}
}

func TestInUse(t *testing.T) {
	s := server(t)
	used := 0
	for port := 9999; used == 0 && port >= 3000; port-- {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		used = port
		path := fmt.Sprintf("%s/port/%d/in-use", s.URL, port)
		if body := send(t, "GET", path, nil).body; strings.TrimSpace(body) != `{"isInUse":true}` {
			t.Errorf("%d while it is listened on: %s", port, body)
		}
		l.Close()
		if body := send(t, "GET", path, nil).body; strings.TrimSpace(body) != `{"isInUse":false}` {
			t.Errorf("%d afterwards: %s", port, body)
		}
	}
	for _, port := range []string{"2999", "10000", "x", "-3000", "99999999999999999999"} {
		res := send(t, "GET", s.URL+"/port/"+port+"/in-use", nil)
		if res.status != 400 || !strings.Contains(res.body, "between 3000 and 9999") {
			t.Errorf("%s: %d %s", port, res.status, res.body)
		}
	}
}

func TestProxyPassesRequestsOnAsTheyAre(t *testing.T) {
	s := server(t)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "127.0.0.7:0"} {
		port := app(t, address, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-App", "yes")
			w.WriteHeader(http.StatusTeapot)
			for name := range r.Header {
				if strings.HasPrefix(name, "X-Daytona") {
					fmt.Fprintf(w, "header %s; ", name)
				}
			}
			fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.RequestURI, body, r.Host, r.Header.Get("Authorization"))
		})
		for path, want := range map[string]string{"": "/", "/": "/", "/a//b/../c%2Fd?x=%20y&z;w": "/a//b/../c%2Fd?x=%20y&z;w"} {
			res := send(t, "PATCH", s.URL+"/proxy/"+port+path, strings.NewReader("payload"),
				"Authorization", "Bearer app", "X-Daytona-Toolbox-Path", "proxy")
			if want := fmt.Sprintf("PATCH %s payload localhost:%s Bearer app", want, port); res.body != want || res.status != http.StatusTeapot || res.header.Get("X-App") != "yes" {
				t.Errorf("%s: %d %q, want %q", path, res.status, res.body, want)
			}
		}
	}
}

// Both directions flow at the same time and byte by byte.
func TestProxyStreams(t *testing.T) {
	s := server(t)
	port := app(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := c.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "echo %s\n", lines.Text())
			if c.Flush() != nil {
				return
			}
		}
	})
	body, feed := io.Pipe()
	defer func() { _ = feed.Close() }()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/proxy/"+port+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(toolbox.TokenHeader, token)
	go func() { _, _ = io.WriteString(feed, "0\n") }()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer := bufio.NewReader(res.Body)
	for i := range 3 {
		if line, err := answer.ReadString('\n'); err != nil || line != fmt.Sprintf("echo %d\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
		if _, err := fmt.Fprintf(feed, "%d\n", i+1); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProxyWebSocket(t *testing.T) {
	s := server(t)
	port := app(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}})
		if err != nil {
			t.Error(err)
			return
		}
		kind, data, err := c.Read(r.Context())
		if err == nil {
			err = c.Write(r.Context(), kind, append([]byte("echo "), data...))
		}
		if err != nil {
			t.Error(err)
		}
		_ = c.Close(4001, "bye")
	})
	c, res, err := websocket.Dial(t.Context(), s.URL+"/proxy/"+port+"/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{toolbox.TokenHeader: {token}}, Subprotocols: []string{"chat"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != nil {
		defer res.Body.Close()
	}
	defer func() { _ = c.CloseNow() }()
	if c.Subprotocol() != "chat" {
		t.Errorf("sub-protocol %q", c.Subprotocol())
	}
	if err := c.Write(t.Context(), websocket.MessageBinary, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if kind, data, err := c.Read(t.Context()); err != nil || kind != websocket.MessageBinary || string(data) != "echo x" {
		t.Errorf("%v %q %v", kind, data, err)
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != 4001 {
		t.Errorf("close: %v", err)
	}
}

func TestProxyRedirectsStayBelowThePath(t *testing.T) {
	s := server(t)
	port := app(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/home" {
			fmt.Fprint(w, "at home")
			return
		}
		http.Redirect(w, r, "/home", http.StatusFound)
	})
	for _, path := range []string{"", "/", "/a/b/c"} {
		res := send(t, "GET", s.URL+"/proxy/"+port+path, nil)
		if res.location == nil || res.location.String() != s.URL+"/proxy/"+port+"/home" {
			t.Errorf("%s leads to %v", path, res.location)
		}
	}
}

func TestProxyErrors(t *testing.T) {
	s := server(t)
	open := app(t, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	switches := app(t, "127.0.0.1:0", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "odd")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	for _, test := range []struct {
		path   string
		status int
		code   string
		words  []string
	}{
		{closed + "/x", 502, "PORT_NOT_LISTENING", []string{"nothing listens on port " + closed, open}},
		{switches + "/x", 502, "BAD_GATEWAY", []string{"unasked"}},
		{open + "/x", 502, "BAD_GATEWAY", []string{"broke off"}},
		{ownPort(s) + "/version", 403, "FORBIDDEN", []string{"the toolbox's own"}},
		{"0/x", 400, "BAD_REQUEST", []string{"between 1 and 65535"}},
		{"x", 400, "BAD_REQUEST", []string{"between 1 and 65535"}},
	} {
		res := send(t, "GET", s.URL+"/proxy/"+test.path, nil)
		var got struct {
			StatusCode           int
			Message, Code, Error string
		}
		if err := json.Unmarshal([]byte(res.body), &got); err != nil {
			t.Fatalf("%s: %v in %q", test.path, err, res.body)
		}
		if res.status != test.status || got.StatusCode != test.status || got.Code != test.code || got.Error != http.StatusText(test.status) {
			t.Errorf("%s: %d %s", test.path, res.status, res.body)
		}
		for _, w := range test.words {
			if !strings.Contains(got.Message, w) {
				t.Errorf("%s: %q is not in %q", test.path, w, got.Message)
			}
		}
	}
	if res := send(t, "GET", s.URL+"/proxy/"+open+"/x", nil, toolbox.TokenHeader, "wrong"); res.status != 401 {
		t.Errorf("without the token: %d", res.status)
	}
}

// An answer that breaks off must not look whole, and one without end in its head
// must not fill the memory.
func TestProxyHostileAnswers(t *testing.T) {
	s := server(t)
	raw := func(text string) string {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				buf := make([]byte, 4096)
				_, _ = c.Read(buf) // the request's head
				_, _ = io.WriteString(c, text)
				_ = c.Close()
			}
		}()
		return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	for name, text := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/proxy/"+raw(text)+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(toolbox.TokenHeader, token)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if body, err := io.ReadAll(res.Body); err == nil || string(body) != "short" {
			t.Errorf("%s: %q, %v", name, body, err)
		}
		res.Body.Close()
	}
	endless := "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 2000) + "\r\n"
	for _, text := range []string{endless, "", "nonsense\r\n\r\n"} {
		if res := send(t, "GET", s.URL+"/proxy/"+raw(text)+"/", nil); res.status != 502 || !strings.Contains(res.body, "broke off") {
			t.Errorf("%.10q: %d %s", text, res.status, res.body)
		}
	}
	close := "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nto the end"
	if res := send(t, "GET", s.URL+"/proxy/"+raw(close)+"/", nil); res.status != 200 || res.body != "to the end" {
		t.Errorf("%d %s", res.status, res.body)
	}
}
