package proxy_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"daytona/toolbox"
)

// TestTerminal types into a terminal whose shell is a real one of this machine.
func TestTerminal(t *testing.T) {
	w := newWorld(t, nil)
	home := t.TempDir()
	inside, err := toolbox.New(toolbox.Config{Token: "secret", Home: home, WorkDir: home, Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "SHELL=/bin/sh"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(inside.Close)
	w.Runner.Toolbox = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Header.Set(toolbox.TokenHeader, "secret")
		inside.ServeHTTP(rw, r)
	})
	b := w.box(map[string]any{"public": true})
	page := w.get(b.host(22222), "/", "X-Daytona-Preview-Token: "+b.token)
	page.has(t, 200, "<title>Terminal</title>", "terminal.js")
	if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "http") {
		t.Errorf("the page may load from elsewhere: %s", csp)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dial := func(session string, header http.Header) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, "ws://"+w.address+"/ws?cols=90&rows=20&session="+session, &websocket.DialOptions{Host: b.host(22222), HTTPHeader: header})
	}
	const session = "web-0123456789abcdef"
	mine := http.Header{"X-Daytona-Preview-Token": {b.token}}
	for name, header := range map[string]http.Header{ // also of a public sandbox
		"nobody in particular": nil,
		"another site's page":  {"X-Daytona-Preview-Token": {b.token}, "Origin": {"https://evil.example"}},
		"the sandbox's page":   {"X-Daytona-Preview-Token": {b.token}, "Origin": {"http://" + b.host(3000)}},
	} {
		conn, res, err := dial(session, header) //nolint:bodyclose // Dial has read it
		if err == nil {
			_ = conn.CloseNow()
		}
		if err == nil || res == nil || res.StatusCode != 401 && res.StatusCode != 403 {
			t.Errorf("%s gets a terminal: %v", name, err)
		}
	}
	if _, res, err := dial("../../etc", mine); err == nil || res == nil || res.StatusCode != 400 { //nolint:bodyclose // Dial has read it
		t.Errorf("an odd name of a session: %v", err)
	}
	open := func() (write func(websocket.MessageType, string), await func(string) string, end func()) {
		t.Helper()
		conn, _, err := dial(session, mine) //nolint:bodyclose // Dial has read it
		if err != nil {
			t.Fatal(err)
		}
		write = func(kind websocket.MessageType, text string) {
			t.Helper()
			if err := conn.Write(ctx, kind, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		said := ""
		await = func(want string) string {
			t.Helper()
			for !strings.Contains(said, want) {
				_, data, err := conn.Read(ctx)
				if err != nil {
					t.Fatalf("%v after %q", err, said)
				}
				said += string(data)
			}
			return said
		}
		return write, await, func() { _ = conn.CloseNow() }
	}
	write, await, end := open()
	// What looks like a size is one only as a text; what is typed is typed.
	write(websocket.MessageText, `{"rows":31,"cols":101}`)
	write(websocket.MessageBinary, "echo '")
	write(websocket.MessageBinary, `{"rows":7,"cols":7}`)
	write(websocket.MessageBinary, "' | tr r R; stty size; echo $((6*7))-is-it\n")
	said := await("42-is-it")
	for _, want := range []string{`{"Rows":7,"cols":7}`, "31 101"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %q", want, said)
		}
	}
	end()
	// The window comes back: the same shell, and what it had printed.
	write, await, end = open()
	defer end()
	await("42-is-it")
	write(websocket.MessageBinary, "exit\n")
}
