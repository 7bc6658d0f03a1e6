package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"daytona/api/proxyapi"
	"daytona/internal/fault"
	"daytona/internal/lazyregexp"
	"daytona/proxy/activity"
)

//go:embed assets
var assetFiles embed.FS

// terminal serves the web terminal: a page, and a socket behind which is a
// terminal of the sandbox.
type terminal struct{ proxy *Proxy }

const (
	terminalScrollback = 256 << 10 // bytes that come again after a reload
	terminalLinger     = time.Hour // how long a shell waits for its window to come back
)

func (t *terminal) serve(w http.ResponseWriter, r *http.Request, to target, pass proxyapi.Pass, m *activity.Meter) {
	name, asset := strings.CutPrefix(r.URL.Path, "/assets/")
	switch {
	case r.URL.Path == "/ws":
		if err := t.socket(w, r, pass, m); err != nil {
			t.proxy.fail(w, r, err)
		}
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		t.proxy.fail(w, r, fault.New(fault.NotFound, "not found: this is the terminal of the sandbox"))
	case r.URL.Path == "/" && to.origin == "":
		t.proxy.fail(w, r, fault.New(fault.Unprocessable, "The terminal has an address of its own: %s", t.proxy.Template.URL(to.port, to.ref)))
	case r.URL.Path == "/":
		t.file(w, r, "terminal.html")
	case asset:
		t.file(w, r, name)
	default:
		t.proxy.fail(w, r, fault.New(fault.NotFound, "not found: the terminal is at /"))
	}
}

func (t *terminal) file(w http.ResponseWriter, r *http.Request, name string) {
	data, err := fs.ReadFile(assetFiles, "assets/"+name)
	if err != nil || strings.HasSuffix(name, ".md") {
		t.proxy.fail(w, r, fault.New(fault.NotFound, "not found"))
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
}

// validSession is a name that the page makes.
var validSession = lazyregexp.New(`^web-[a-z0-9]{8,64}$`)

// Close codes of the socket, beside the usual ones.
const statusEnded websocket.StatusCode = 4000 // the shell has ended

// socket connects a WebSocket with a terminal, which it makes unless the session
// is there already.
func (t *terminal) socket(w http.ResponseWriter, r *http.Request, pass proxyapi.Pass, m *activity.Meter) error {
	if !upgrades(r) {
		return fault.New(fault.Invalid, "this is a WebSocket: ask for an upgrade")
	}
	q := r.URL.Query()
	session := q.Get("session")
	if session == "" {
		session = "web-" + strings.ToLower(rand.Text())
	}
	if !validSession.MatchString(session) {
		return fault.New(fault.Invalid, "session must be web- and 8 to 64 lower-case letters or digits")
	}
	box := &toolboxClient{t.proxy.Plane, pass.SandboxID}
	cols, rows := number(q.Get("cols"), 80), number(q.Get("rows"), 24)
	if err := box.open(r.Context(), session, cols, rows); err != nil {
		return err
	}
	inner, err := box.connect(r.Context(), session)
	if err != nil {
		return err
	}
	defer func() { _ = inner.CloseNow() }()
	// Accept compares the origin with the host: no other site's page gets in.
	outer, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil //nolint:nilerr // Accept has answered
	}
	defer func() { _ = outer.CloseNow() }()
	outer.SetReadLimit(1 << 20)
	inner.SetReadLimit(1 << 20)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		defer cancel()
		t.input(ctx, outer, inner, box, session, m)
	}()
	code, reason := t.output(ctx, outer, inner, m)
	_ = outer.Close(code, reason) // the browser may have gone
	return nil
}

func number(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= 1000 {
		return n
	}
	return otherwise
}

// input passes on what the browser sends, and sets the size that it says.
func (t *terminal) input(ctx context.Context, outer, inner *websocket.Conn, box *toolboxClient, session string, m *activity.Meter) {
	for {
		kind, data, err := outer.Read(ctx)
		if err != nil {
			return
		}
		// What is typed comes as bytes, so that nothing that is pasted is taken for
		// a size. Text that is no size is taken for typed, too.
		var size struct{ Rows, Cols int }
		if kind == websocket.MessageText && len(data) > 0 && data[0] == '{' && json.Unmarshal(data, &size) == nil && size.Rows > 0 && size.Cols > 0 {
			box.resize(ctx, session, min(size.Cols, 1000), min(size.Rows, 1000))
			continue
		}
		note(m)
		if inner.Write(ctx, websocket.MessageBinary, data) != nil {
			return
		}
	}
}

// output passes on what the terminal prints, as whole characters, and returns
// how to close.
func (t *terminal) output(ctx context.Context, outer, inner *websocket.Conn, m *activity.Meter) (websocket.StatusCode, string) {
	var held []byte // the beginning of a character
	for {
		kind, data, err := inner.Read(ctx)
		if err != nil {
			var closed websocket.CloseError
			if errors.As(err, &closed) && (closed.Code == websocket.StatusNormalClosure || strings.Contains(closed.Reason, "exitCode")) {
				return statusEnded, "the shell has ended"
			}
			return websocket.StatusServiceRestart, "The sandbox cannot be reached."
		}
		if kind == websocket.MessageText {
			continue // about the session
		}
		note(m)
		data = append(held, data...)
		whole := wholeRunes(data)
		held = append([]byte(nil), data[whole:]...)
		if whole == 0 {
			continue
		}
		if outer.Write(ctx, websocket.MessageText, []byte(strings.ToValidUTF8(string(data[:whole]), "\uFFFD"))) != nil {
			return websocket.StatusGoingAway, ""
		}
	}
}

func note(m *activity.Meter) {
	if m != nil {
		m.Note()
	}
}

// wholeRunes is how much of b is not the beginning of a character that is still
// to be completed.
func wholeRunes(b []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		at := len(b) - back
		if utf8.RuneStart(b[at]) {
			if !utf8.FullRune(b[at:]) {
				return at
			}
			break
		}
	}
	return len(b)
}

// toolboxClient speaks to the toolbox of a sandbox.
type toolboxClient struct {
	plane proxyapi.ControlPlane
	id    string
}

// RoundTrip implements http.RoundTripper.
func (c *toolboxClient) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.plane.RoundTripToolbox(r, c.id)
}

// open makes a session, unless there is one by that name.
func (c *toolboxClient) open(ctx context.Context, session string, cols, rows int) error {
	status, said, err := c.post(ctx, "/process/pty", map[string]any{
		"id": session, "cols": cols, "rows": rows,
		"scrollback": terminalScrollback, "linger": int(terminalLinger.Seconds()),
	})
	switch {
	case err != nil:
		return err
	case status < 300 || status == http.StatusConflict:
		return nil
	}
	return fault.New(fault.Unavailable, "The sandbox opens no terminal: %s", said)
}

func (c *toolboxClient) resize(ctx context.Context, session string, cols, rows int) {
	// One that has ended has no size; the socket tells.
	_, _, _ = c.post(ctx, "/process/pty/"+url.PathEscape(session)+"/resize", map[string]any{"cols": cols, "rows": rows})
}

func (c *toolboxClient) post(ctx context.Context, path string, body any) (status int, said string, err error) {
	data, err := json.Marshal(body)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://toolbox"+path, bytes.NewReader(data))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	var answer struct{ Message string }
	_ = json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&answer) // what there is of it
	return res.StatusCode, answer.Message, nil
}

func (c *toolboxClient) connect(ctx context.Context, session string) (*websocket.Conn, error) {
	conn, res, err := websocket.Dial(ctx, "ws://toolbox/process/pty/"+url.PathEscape(session)+"/connect", &websocket.DialOptions{ //nolint:bodyclose // Dial has read it
		HTTPClient: &http.Client{Transport: c}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		if res != nil {
			err = fmt.Errorf("%w (%s)", err, res.Status)
		}
		return nil, fault.Wrap(err, fault.Unavailable, "The terminal of the sandbox cannot be reached")
	}
	return conn, nil
}
