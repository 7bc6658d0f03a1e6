package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/controlplane/controlplanetest"
	"daytona/proxy"
)

func TestCredentialsDoNotReachTheProgram(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, echo)
	b, open := w.box(nil), w.box(map[string]any{"public": true})
	got := w.get(b.host(3000), "/p?a=%20b&DAYTONA_SANDBOX_AUTH_KEY="+b.token+"&c=d",
		"X-Daytona-Preview-Token: "+b.token, "Authorization: Bearer "+w.Key, "Proxy-Authorization: Basic x", "X-Daytona-Organization-ID: "+w.org(),
		"Cookie: a=1; daytona-sandbox-auth-"+b.id+"=secret; b=2; __Host-daytona-preview-nonce=n", "Cookie: Daytona-Other=3; c=4",
		"Referer: http://"+b.host(3000)+"/?x=1&DAYTONA_SANDBOX_AUTH_KEY="+b.token)
	got.has(t, 200, "GET /p?a=%20b&c=d HTTP/1.1", "Cookie: a=1; b=2; c=4", "/?x=1\n")
	got.lacks(t, b.token, w.Key, "secret", "authorization:", "x-daytona", "nonce")
	// A public sandbox's program has users of its own, but our key is not for it.
	w.get(open.host(3000), "/", "Authorization: Bearer its.own.token").has(t, 200, "Authorization: Bearer its.own.token")
	w.get(open.host(3000), "/", "Authorization: Bearer "+w.Key).lacks(t, w.Key)
	w.get(b.host(3000), "/", "Authorization: Basic dXNlcjpwYXNz", "X-Daytona-Preview-Token: "+b.token).has(t, 200, "Authorization: Basic dXNlcjpwYXNz")
}

func TestForwardedHeadersCannotBeMadeUp(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, echo)
	b := w.box(map[string]any{"public": true})
	lies := []string{
		"X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: gopher", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /evil",
		"X-Forwarded-Server: evil.example", "Forwarded: for=6.6.6.6;host=evil.example", "X-Real-IP: 6.6.6.6", "X-Client-IP: 6.6.6.6",
		"X-Original-URL: /admin", "X-Rewrite-URL: /admin", "Via: evil.example", "Connection: X-Forwarded-For, close",
		"X_Forwarded_For: 6.6.6.6", "x_forwarded-host: evil.example", "X_Real_IP: 6.6.6.6", "Proxy: http://evil.example/", "X_Daytona_Anything: evil",
		"X-Cluster-Client-IP: 6.6.6.6", "Fastly-Client-IP: 6.6.6.6",
	}
	got := w.get(b.host(3000), "/", lies...)
	got.has(t, 200, "X-Forwarded-For: 127.0.0.1\n", "X-Real-Ip: 127.0.0.1\n", "X-Forwarded-Host: "+b.host(3000)+"\n", "X-Forwarded-Proto: http\n")
	got.lacks(t, "6.6.6.6", "evil", "gopher", "/admin")
}

func TestTrustedProxiesAreBelieved(t *testing.T) {
	w := newWorld(t, func(c *proxy.Config) { c.Trusted = append(c.Trusted, prefix("127.0.0.0/8"), prefix("10.0.0.0/8")) })
	w.listen(3000, echo)
	b := w.box(map[string]any{"public": true})
	for chain, want := range map[string]string{
		"6.6.6.6":                    "6.6.6.6",
		"1.1.1.1, 6.6.6.6":           "6.6.6.6", // what is before the last one anybody may have made up
		"1.1.1.1, 6.6.6.6, 10.0.0.9": "6.6.6.6",
		"nonsense":                   "127.0.0.1",
	} {
		w.get(b.host(3000), "/", "X-Forwarded-For: "+chain, "X-Forwarded-Proto: https").has(t, 200, "X-Forwarded-For: "+want+"\n", "X-Forwarded-Proto: https\n")
	}
}

func TestAnswersActOnTheirOwnHostAlone(t *testing.T) {
	w := newWorld(t, nil)
	b := w.box(map[string]any{"public": true})
	kept := []string{
		"Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "NEL", "Report-To",
		"X-Accel-Redirect", "X-Sendfile", "X-LIGHTTPD-send-file", "X-Reproxy-URL",
	}
	w.listen(3000, func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		if r.URL.Path == "/hints" {
			h.Set("Set-Cookie", "a=1; Domain=proxy.localhost")
			h.Set("Clear-Site-Data", "*")
			h.Set("Link", "</style.css>; rel=preload")
			rw.WriteHeader(http.StatusEarlyHints)
			clear(h)
			return
		}
		for _, c := range []string{"a=1; Domain=proxy.localhost; Path=/", "b=2; domain = .localhost;Secure", "daytona-sandbox-auth-x=stolen", "__Host-Daytona-preview-nonce=x", "c=3"} {
			h.Add("Set-Cookie", c)
		}
		for _, name := range kept {
			h.Set(name, "x")
		}
		h.Set("X-App", "kept")
		if to := r.URL.Query().Get("to"); to != "" {
			h.Set("Location", to)
			rw.WriteHeader(302)
		}
	})
	got := w.get(b.host(3000), "/")
	if c := fmt.Sprint(got.header["Set-Cookie"]); c != "[a=1; Path=/ b=2;Secure c=3]" {
		t.Errorf("cookies %s", c)
	}
	for _, name := range kept {
		if got.header.Get(name) != "" {
			t.Errorf("%s: %s", name, got.header.Get(name))
		}
	}
	hints := w.raw("GET /hints HTTP/1.1\r\nHost: " + b.host(3000) + "\r\nConnection: close\r\n\r\n")
	first, rest, _ := strings.Cut(hints, "\r\n\r\n")
	if first != "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload" || !strings.HasPrefix(rest, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("hints: %q", hints)
	}
	if got.header.Get("X-App") != "kept" {
		t.Error("a header of the program is gone")
	}
	by := w.get(w.address, "/preview/"+b.id+"/3000/")
	if by.header.Get("Set-Cookie") != "" || !strings.HasPrefix(by.header.Get("Content-Security-Policy"), "sandbox ") || strings.Contains(by.header.Get("Content-Security-Policy"), "allow-same-origin") {
		t.Errorf("by path: %v", by.header)
	}
	for to, want := range map[string]string{
		"/x?y":                         "/x?y",
		"http://localhost:3000/in?a#b": "/in?a#b",
		"http://127.0.0.1:3000":        "/",
		"http://[::1]:3000//evil":      "/.//evil",
		"http://localhost:8080/other":  w.Previews.URL(8080, b.id) + "/other",
		"https://example.com/":         "https://example.com/",
		"http://10.0.0.1/":             "http://10.0.0.1/",
		"http://localhost:99999999/":   "http://localhost:99999999/",
		"javascript:alert(1)":          "javascript:alert(1)",
	} {
		if got := w.get(b.host(3000), "/?to="+url.QueryEscape(to)).header.Get("Location"); got != want {
			t.Errorf("%s led to %s, want %s", to, got, want)
		}
	}
	if got := w.get(w.address, "/preview/"+b.id+"/3000/?to="+url.QueryEscape("/x")).header.Get("Location"); got != "/preview/"+b.id+"/3000/x" {
		t.Errorf("by path: %s", got)
	}
}

func TestRawRequests(t *testing.T) {
	w := newWorld(t, nil)
	reached := make(chan string, 100)
	w.listen(3000, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reached <- r.Method + " " + r.URL.Path + " " + string(body)
	})
	b := w.box(map[string]any{"public": true})
	host := "Host: " + b.host(3000) + "\r\n"
	for name, tt := range map[string]struct {
		request string
		want    string // beginning of the answer; "" is none at all
		reaches string // what the program may see; "" is nothing
	}{
		"two lengths":                 {"POST / HTTP/1.1\r\n" + host + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", "HTTP/1.1 400", ""},
		"length and chunks":           {"POST /one HTTP/1.1\r\n" + host + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + host + "\r\n", "HTTP/1.1", "POST /one "},
		"an odd encoding":             {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 501", ""},
		"an encoding hidden by space": {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400", ""},
		"two hosts":                   {"GET / HTTP/1.1\r\n" + host + "Host: other\r\n\r\n", "HTTP/1.1 400", ""},
		"no host":                     {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400", ""},
		"a header folded":             {"GET / HTTP/1.1\r\n" + host + "X: a\r\n Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n", "HTTP/1.1", "GET / "},
		"a bare return in a header":   {"GET / HTTP/1.1\r\n" + host + "X: a\rY: b\r\n\r\n", "HTTP/1.1 400", ""},
		"NUL in a header":             {"GET / HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n", "HTTP/1.1 400", ""},
		"the host of another port in an absolute address": {"GET http://127.0.0.1:22/ HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", "HTTP/1.1", ""}, // the server's own front page
		"the sandbox's network in an absolute address":    {"GET http://10.211.0.2:3000/ HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", "HTTP/1.1", ""},
		"CONNECT":               {"CONNECT 10.211.0.2:80 HTTP/1.1\r\nHost: 10.211.0.2:80\r\nConnection: close\r\n\r\n", "HTTP/1.1 404", ""},
		"CONNECT to a preview":  {"CONNECT " + b.host(3000) + " HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", "HTTP/1.1 400", ""},
		"TRACE":                 {"TRACE / HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", "HTTP/1.1 400", ""},
		"huge headers":          {"GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("x", 100<<10) + "\r\n\r\n", "HTTP/1.1 431", ""},
		"an address in a host":  {"GET / HTTP/1.1\r\nHost: 3000-127.0.0.1.proxy.localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 404", ""},
		"a slash in a host":     {"GET / HTTP/1.1\r\nHost: 3000-" + b.id + "/.proxy.localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 400", ""},
		"another domain behind": {"GET / HTTP/1.1\r\nHost: 3000-" + b.id + ".proxy.localhost.evil.example\r\nConnection: close\r\n\r\n", "HTTP/1.1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.raw(tt.request)
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("answer %.200q, want %s", got, tt.want)
			}
			select {
			case seen := <-reached:
				if tt.reaches == "" || !strings.HasPrefix(seen, tt.reaches) {
					t.Errorf("the program saw %q", seen)
				}
			default:
				if tt.reaches != "" {
					t.Error("the program saw nothing")
				}
			}
			select {
			case more := <-reached:
				t.Errorf("and %q", more)
			default:
			}
		})
	}
}

// Headers that come byte by byte and never end hold nobody up, and not for ever.
func TestSlowHeaders(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	w := newWorld(t, nil)
	w.listen(3000, echo)
	b := w.box(map[string]any{"public": true})
	const many = 300
	conns := make([]net.Conn, many)
	for i := range conns {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nX: ", b.host(3000))
		conns[i] = conn
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(stop)
	all.Go(func() {
		for tick := time.Tick(100 * time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick:
				for _, conn := range conns {
					_, _ = io.WriteString(conn, "x") // it may have been closed already
				}
			}
		}
	})
	for range 20 {
		w.get(b.host(3000), "/").has(t, 200)
	}
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		var timeout net.Error
		if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatal("a connection is still open")
		}
	}
}

func TestAnswersThatAreNotHTTP(t *testing.T) {
	w := newWorld(t, nil)
	b := w.box(map[string]any{"public": true})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := make(chan string, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				_, _ = conn.Read(buf)
				_, _ = io.WriteString(conn, <-answers)
			}()
		}
	}()
	w.Runner.SetPort(3000, l.Addr().String())
	for _, answer := range []string{
		"SSH-2.0-OpenSSH\r\n", "", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 400<<10) + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "HTTP/1.1 999999 X\r\n\r\n",
	} {
		answers <- answer
		res, err := w.roundTrip("POST", b.host(3000), "/", strings.NewReader("x"))
		if err != nil {
			t.Errorf("%.40q: %v", answer, err)
			continue
		}
		res.Body.Close()
		if res.StatusCode != 502 {
			t.Errorf("%.40q: %d", answer, res.StatusCode)
		}
	}
}

func TestCookiesWorkForTheSandboxsOwnPagesOnly(t *testing.T) {
	w := newWorld(t, func(c *proxy.Config) { c.Warning = false })
	w.listen(3000, echo)
	w.listen(3001, echo)
	b, other := w.box(nil), w.box(nil)
	host, origin := b.host(3000), "http://"+b.host(3000)
	cookie, at := w.signIn(b, 3000, w.Key)
	if at != "/deep?x=1" {
		t.Errorf("led to %s", at)
	}
	for _, tt := range []struct {
		name    string
		method  string
		host    string
		headers []string
		status  int
	}{
		{"typed", "GET", host, nil, 200},
		{"the page itself", "POST", host, []string{"Origin: " + origin}, 200},
		{"a page of the sandbox's other port", "POST", host, []string{"Origin: http://" + b.host(3001)}, 200},
		{"a page of another sandbox", "POST", host, []string{"Origin: http://" + other.host(3000)}, 401},
		{"a page of another sandbox, without an origin", "GET", host, []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"}, 401},
		{"a page of another site", "GET", host, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors", "Origin: https://evil.example"}, 401},
		{"a page without an origin of its own", "GET", host, []string{"Origin: null"}, 401},
		{"a frame in another site", "GET", host, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 401},
		{"a link on another site", "GET", host, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200},
		{"a form of another site", "POST", host, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 401},
		{"the sandbox's other port", "GET", b.host(3001), nil, 401},
		{"another sandbox", "GET", other.host(3000), nil, 401},
		{"the terminal, from a page of the sandbox", "GET", b.host(22222), []string{"Origin: " + origin}, 401},
	} {
		if got := w.send(tt.method, tt.host, "/", "", append(tt.headers, "Cookie: "+cookie)...); got.status != tt.status {
			t.Errorf("%s: status %d, want %d", tt.name, got.status, tt.status)
		}
	}
	// It ends with the rights of the key by which it was got.
	w.Do(t, controlplanetest.Request{Method: "DELETE", Path: "/api/sandbox/" + b.id, Key: w.Key})
	w.get(host, "/", "Cookie: "+cookie).has(t, 401)
}

// signIn goes the way of a browser to a port, and returns the cookie and where it
// led.
func (w *world) signIn(b box, port int, key string) (cookie, at string) {
	w.t.Helper()
	html := "Accept: text/html"
	first := w.get(b.host(port), "/deep?x=1", html, browser)
	if first.status != 307 {
		w.t.Fatalf("%d %s", first.status, first.body)
	}
	nonce, _, _ := strings.Cut(first.header.Get("Set-Cookie"), ";")
	page, err := url.Parse(first.header.Get("Location"))
	if err != nil || !strings.HasPrefix(page.String(), w.URL+"/sign-in?") {
		w.t.Fatalf("led to %s, %v", page, err)
	}
	w.get(w.address, page.RequestURI(), html).has(w.t, 200, "Sign in", b.host(port))
	form := w.send("POST", w.address, page.RequestURI(), url.Values{"key": {key}}.Encode(), "Content-Type: application/x-www-form-urlencoded", "Origin: "+w.URL)
	if form.status != 303 {
		w.t.Fatalf("%d %s", form.status, form.body)
	}
	back, err := url.Parse(form.header.Get("Location"))
	if err != nil || back.Host != b.host(port) {
		w.t.Fatalf("led to %s, %v", back, err)
	}
	// The code is good for this browser alone.
	w.get(back.Host, back.RequestURI()).has(w.t, 401)
	w.get(back.Host, back.RequestURI(), "Cookie: daytona-preview-nonce=AAAAAAAAAAAAAAAAAAAAAAAAAA").has(w.t, 401)
	last := w.get(back.Host, back.RequestURI(), "Cookie: "+nonce)
	if last.status != 303 {
		w.t.Fatalf("%d %s", last.status, last.body)
	}
	for _, line := range last.header["Set-Cookie"] {
		if strings.HasPrefix(line, "daytona-sandbox-auth-") {
			if !strings.Contains(line, "HttpOnly") || !strings.Contains(line, "SameSite=Lax") || strings.Contains(line, "Domain") {
				w.t.Errorf("cookie %s", line)
			}
			cookie, _, _ = strings.Cut(line, ";")
		}
	}
	return cookie, last.header.Get("Location")
}

func TestSigningInLeadsNowhereElse(t *testing.T) {
	w := newWorld(t, nil)
	b := w.box(nil)
	_, stranger := w.Tenant(t, "stranger")
	nonce := strings.Repeat("0", 64)
	for _, back := range []string{"https://evil.example/", "http://evil.example/", "http://" + b.host(3000) + ".evil.example/", "http://user@" + b.host(3000) + "/",
		"//" + b.host(3000) + "/", "javascript:alert(1)", "", "http://3000-" + b.id + ".proxy.localhost:1/"} {
		path := "/sign-in?" + url.Values{"back": {back}, "nonce": {nonce}}.Encode()
		if got := w.send("POST", w.address, path, "key="+w.Key, "Content-Type: application/x-www-form-urlencoded"); got.status != 400 {
			t.Errorf("%s: %d %s", back, got.status, got.header.Get("Location"))
		}
	}
	path := "/sign-in?" + url.Values{"back": {"http://" + b.host(3000) + "/"}, "nonce": {nonce}}.Encode()
	form := "Content-Type: application/x-www-form-urlencoded"
	w.send("POST", w.address, path, "key=nonsense", form).has(t, 401, "not a valid API key")
	w.send("POST", w.address, path, "key="+stranger, form).has(t, 403, "no access")
	w.send("POST", w.address, path, "key="+w.Key, form, "Origin: https://evil.example").has(t, 403)
	for _, to := range []string{"//evil.example", "https://evil.example", `/\evil.example`, "x"} {
		cookie := "Cookie: daytona-preview-nonce=AAAAAAAAAAAAAAAAAAAAAAAAAA"
		got := w.send("POST", b.host(3000), "/accept-daytona-preview-warning?redirect="+url.QueryEscape(to), "", cookie)
		if got.status != 302 || got.header.Get("Location") != "/" {
			t.Errorf("%s: %d %s", to, got.status, got.header.Get("Location"))
		}
	}
	w.send("POST", b.host(3000), "/accept-daytona-preview-warning?redirect=/", "", "Origin: https://evil.example").has(t, 403)
}

func TestCORS(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, echo)
	w.listen(3001, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Access-Control-Allow-Origin", "https://app.example")
	})
	b, open := w.box(nil), w.box(map[string]any{"public": true})
	origin := "Origin: https://app.example"
	preflight := []string{origin, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-daytona-preview-token"}
	for _, host := range []string{b.host(3000), open.host(3000)} {
		got := w.send("OPTIONS", host, "/", "", preflight...)
		if got.status != 204 || got.header.Get("Access-Control-Allow-Origin") != "https://app.example" || got.header.Get("Access-Control-Allow-Headers") != "x-daytona-preview-token" ||
			!strings.Contains(got.header.Get("Access-Control-Allow-Methods"), "PUT") || got.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d %v", host, got.status, got.header)
		}
	}
	if got := w.get(b.host(3000), "/", origin, "X-Daytona-Preview-Token: "+b.token); got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != "https://app.example" || got.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", got.status, got.header)
	}
	if got := w.get(open.host(3000), "/", "Origin: http://"+open.host(8080)); got.header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("the sandbox's own page: %v", got.header)
	}
	if got := w.get(open.host(3000), "/", origin, "X-Daytona-Disable-CORS: true"); got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("turned off: %v", got.header)
	}
	if got := w.get(open.host(3001), "/", "Origin: https://other.example"); got.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("the program's word: %v", got.header)
	}
	if got := w.get(b.host(3000), "/", origin); got.status != 401 || got.header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("a refusal must be readable: %d %v", got.status, got.header)
	}
}

func TestPagesForPeople(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(3000, echo)
	b := w.box(map[string]any{"public": true})
	html := "Accept: text/html,application/xhtml+xml"
	warning := w.get(b.host(3000), "/x?y=1", html, browser)
	warning.has(t, 200, "about to see a preview", "/accept-daytona-preview-warning?redirect=%2Fx%3Fy%3D1")
	if warning.header.Get("X-Frame-Options") != "DENY" || !strings.Contains(warning.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("%v", warning.header)
	}
	accepted := w.send("POST", b.host(3000), "/accept-daytona-preview-warning?redirect=%2Fx%3Fy%3D1", "", browser, "Origin: http://"+b.host(3000), "Sec-Fetch-Site: same-origin")
	cookie, _, _ := strings.Cut(accepted.header.Get("Set-Cookie"), ";")
	if accepted.status != 302 || accepted.header.Get("Location") != "/x?y=1" || cookie != "daytona-preview-page-accepted=true" {
		t.Errorf("%d %v", accepted.status, accepted.header)
	}
	for _, headers := range [][]string{{"Cookie: " + cookie}, {"X-Daytona-Skip-Preview-Warning: true"}, {"Sec-Fetch-Mode: cors"}} {
		w.get(b.host(3000), "/", append(headers, html, browser)...).has(t, 200, "GET / HTTP/1.1")
	}
	w.get(b.host(3000), "/", html, "User-Agent: curl/8").has(t, 200, "GET / HTTP/1.1")
	w.get(b.host(3002), "/", html, browser, "Cookie: "+cookie).has(t, 502, "<h1>Nothing listens on this port", "3000")
	b.post("/stop")
	w.get(b.host(3000), "/", html, browser).has(t, 503, "<h1>This sandbox is not running", "stopped", "Try again")
	w.get(b.host(3000), "/").has(t, 503, `"code":"SANDBOX_NOT_STARTED"`, `"source":"DAYTONA_PROXY"`)
	w.get("nonsense.proxy.localhost", "/<script>alert(1)</script>", html, browser).has(t, 404, "<h1>Nothing here")
}
