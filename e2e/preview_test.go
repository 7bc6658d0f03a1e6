//go:build root

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// previewed is a sandbox in which testdata/preview/app.py listens.
type previewed struct {
	sandbox
	url   string // of the port, without a slash at its end
	token string
}

const previewPort = 3000

// mustPreview creates a sandbox and starts the program.
func mustPreview(t *testing.T, body map[string]any) previewed {
	t.Helper()
	p := previewed{sandbox: mustCreate(t, shared.api, body)}
	p.serve(t)
	return p
}

// serve starts the program and fetches the link.
func (p *previewed) serve(t *testing.T) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(repo, "e2e", "testdata", "preview", "app.py"))
	if err != nil {
		t.Fatal(err)
	}
	inSandbox(t, p.ID, "cat > /tmp/app.py <<'END OF THE PROGRAM'\n"+string(program)+"\nEND OF THE PROGRAM\n"+
		fmt.Sprintf("rm -f /tmp/app.log; nohup python3 /tmp/app.py %d > /tmp/app.log 2>&1 & until grep -q READY /tmp/app.log; do sleep 0.05; done", previewPort))
	p.link(t)
}

func (p *previewed) link(t *testing.T) {
	t.Helper()
	var link struct{ URL, Token string }
	if err := shared.api.do(t.Context(), "GET", fmt.Sprintf("/sandbox/%s/ports/%d/preview-url", p.ID, previewPort), nil, &link); err != nil {
		t.Fatal(err)
	}
	p.url, p.token = link.URL, link.Token
}

// here dials this machine for names below localhost, as browsers do.
func here(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, ".localhost") {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// previewClient returns a client with connections of its own.
func previewClient(t *testing.T) *http.Client {
	transport := &http.Transport{DialContext: here, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (p *previewed) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, body)
	if err == nil {
		req.Header.Set("X-Daytona-Preview-Token", p.token)
	}
	return req, err
}

// open asks for a path; the answer must be 200 and its body is still to be read.
func (p *previewed) open(t *testing.T, c *http.Client, path string) io.ReadCloser {
	t.Helper()
	req, err := p.request(t.Context(), "GET", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		t.Fatalf("GET %s: %s: %s", path, res.Status, text)
	}
	return res.Body
}

// mustAnswer wants the program's page.
func (p *previewed) mustAnswer(t *testing.T, c *http.Client) {
	t.Helper()
	body := p.open(t, c, "/")
	defer body.Close()
	if text, err := io.ReadAll(body); err != nil || !strings.Contains(string(text), "hello from port 3000") {
		t.Fatalf("the page: %q, %v", text, err)
	}
}

func (p *previewed) dial(ctx context.Context, c *http.Client) (*websocket.Conn, error) {
	conn, res, err := websocket.Dial(ctx, strings.Replace(p.url, "http", "ws", 1)+"/", &websocket.DialOptions{
		HTTPClient: c, HTTPHeader: http.Header{"X-Daytona-Preview-Token": {p.token}},
	})
	if err != nil && res != nil && res.Body != nil {
		text, _ := io.ReadAll(res.Body)
		err = fmt.Errorf("%w: %s", err, text)
	}
	return conn, err
}

func echo(ctx context.Context, conn *websocket.Conn, text string) error {
	if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return err
	}
	_, got, err := conn.Read(ctx)
	if err == nil && string(got) != text {
		err = fmt.Errorf("sent %q, got %q", text, got)
	}
	return err
}

// TestPreviewCurl goes through a preview as programs do, by curl.
func TestPreviewCurl(t *testing.T) {
	t.Parallel()
	for _, isolation := range isolationsHere() {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			p := mustPreview(t, map[string]any{"isolation": isolation})
			header := "X-Daytona-Preview-Token: " + p.token
			curl := func(want string, args ...string) string {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "curl", append([]string{"-sS", "--max-time", "60"}, args...)...)
				var out, said bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &said
				if err := cmd.Run(); err != nil || !strings.Contains(out.String(), want) {
					t.Errorf("curl %s: %v, %s\nwant %q in\n%s", strings.Join(args, " "), err, said.String(), want, tail(out.String(), 2<<10))
				}
				return out.String()
			}
			curl("hello from port 3000", "-H", header, p.url)
			curl(`"code":"UNAUTHORIZED"`, p.url)
			curl("HTTP/2 200", "--http2-prior-knowledge", "-i", "-H", header, p.url)
			curl("200 hello", "-H", header, "-o", filepath.Join(t.TempDir(), "x"), "-w", "%{http_code} hello", "--compressed", p.url)

			// An upload of unknown length, and its sum.
			sum := sha256.Sum256(bytes.Repeat([]byte("0123456789abcdef"), 1<<20))
			file := filepath.Join(t.TempDir(), "up.bin")
			if err := os.WriteFile(file, bytes.Repeat([]byte("0123456789abcdef"), 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			curl(hex.EncodeToString(sum[:]), "-H", header, "-H", "Transfer-Encoding: chunked", "-T", file, p.url+"/upload")
			curl(hex.EncodeToString(sum[:]), "-H", header, "-H", "Expect: 100-continue", "-T", file, p.url+"/upload")
			curl("67108864", "-H", header, "-o", "/dev/null", "-w", "%{size_download}", p.url+"/bytes/67108864")

			// Events come one by one.
			events := p.open(t, previewClient(t), "/events")
			first := make([]byte, len("data: 0\n\n"))
			if _, err := io.ReadFull(events, first); err != nil || string(first) != "data: 0\n\n" {
				t.Errorf("the first event: %q, %v", first, err)
			}
			events.Close()

			// A browser is shown the warning first, and gets its cookie.
			jar := filepath.Join(t.TempDir(), "jar")
			browser := []string{"-c", jar, "-b", jar, "-A", "Mozilla/5.0", "-H", "Accept: text/html"}
			curl("You are about to see a preview", append(browser, "-L", p.url+"/?DAYTONA_SANDBOX_AUTH_KEY="+p.token)...)
			curl("302", append(browser, "-X", "POST", "-o", "/dev/null", "-w", "%{http_code}", p.url+"/accept-daytona-preview-warning?redirect=/")...)
			curl("hello from port 3000", append(browser, p.url)...)

			p.mustType(t, previewClient(t))

			// A program's cookie stays with its host.
			if out := curl("own=1", "-i", "-H", header, p.url+"/cookie"); strings.Contains(out, "Domain=") {
				t.Errorf("a cookie for all: %s", out)
			}

			conn, err := p.dial(t.Context(), previewClient(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"x", strings.Repeat("y", 200), strings.Repeat("z", 30000)} {
				if err := echo(t.Context(), conn, text); err != nil {
					t.Error(err)
				}
			}
			if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
	}
}

// isolationsHere are those of the shared server.
func isolationsHere() []string {
	if list := os.Getenv("DAYTONA_E2E_ISOLATIONS"); list != "" {
		return strings.Split(list, ",")
	}
	if shared.external {
		return []string{defaultMode.isolation}
	}
	return []string{"gvisor", "runc"}
}

// mustType types into the terminal, as its page does, and wants what is printed.
func (p *previewed) mustType(t *testing.T, c *http.Client) {
	t.Helper()
	var terminal struct{ URL, Token string }
	if err := shared.api.do(t.Context(), "GET", "/sandbox/"+p.ID+"/ports/22222/preview-url", nil, &terminal); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	address := strings.Replace(terminal.URL, "http", "ws", 1) + "/ws?cols=90&rows=20"
	if conn, res, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: c}); err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a terminal for nobody in particular: %v", err)
		if conn != nil {
			_ = conn.CloseNow()
		}
	}
	conn, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: c, HTTPHeader: http.Header{"X-Daytona-Preview-Token": {terminal.Token}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	// What looks like a size is one only as a text; typed it is typed.
	if err := conn.Write(ctx, websocket.MessageText, []byte(`{"rows":31,"cols":101}`)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(ctx, websocket.MessageBinary, []byte("echo '")); err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(ctx, websocket.MessageBinary, []byte(`{"rows":7,"cols":7}`)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(ctx, websocket.MessageBinary, []byte("' | tr r R; stty size; echo $((6*7))-is-it\n")); err != nil {
		t.Fatal(err)
	}
	said := ""
	for !strings.Contains(said, "42-is-it") {
		_, data, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("%v after %q", err, said)
		}
		said += string(data)
	}
	for _, want := range []string{`{"Rows":7,"cols":7}`, "31 101"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %q", want, said)
		}
	}
}

// TestPreviewStops stops a sandbox under open connections: they end, and the
// address works again afterwards, also for a server that was woken by it.
func TestPreviewStops(t *testing.T) {
	t.Parallel()
	p := mustPreview(t, map[string]any{"public": true, "labels": map[string]string{"daytona.io/auto-wake": "true"}})
	c := previewClient(t)
	conn, err := p.dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	if err := echo(t.Context(), conn, "before"); err != nil {
		t.Fatal(err)
	}
	stream := p.open(t, c, "/events")
	defer stream.Close()
	if err := shared.api.do(t.Context(), "POST", "/sandbox/"+p.ID+"/stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("a WebSocket into a sandbox that was stopped: %v", err)
	}
	if _, err := io.Copy(io.Discard, stream); err == nil {
		t.Error("a stream that broke off looks whole")
	}
	if _, err := shared.api.waitFor(ctx, p.ID, "stopped"); err != nil {
		t.Fatal(err)
	}
	// The next request starts it. No program listens there yet, and that is said.
	req, err := p.request(t.Context(), "GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusBadGateway || !strings.Contains(string(text), "PORT_NOT_LISTENING") {
		t.Errorf("a sandbox that was woken: %s: %s", res.Status, text)
	}
	p.serve(t)
	p.mustAnswer(t, c)
}

// manyConns is how many connections are open at a time.
const manyConns = 1000

// TestPreviewMany holds a thousand connections open at once: half are
// WebSockets that all talk, half are downloads that nobody takes.
func TestPreviewMany(t *testing.T) {
	p := mustPreview(t, nil)
	c := previewClient(t)
	pid := 0
	if !shared.external {
		pid = shared.cmd.Process.Pid
	}
	idle := residentOf(t, pid)

	socks := make([]*websocket.Conn, manyConns/2)
	bodies := make([]io.ReadCloser, manyConns/2)
	defer func() {
		for _, s := range socks {
			if s != nil {
				_ = s.CloseNow()
			}
		}
		for _, b := range bodies {
			if b != nil {
				b.Close()
			}
		}
	}()
	const size = 64 << 20 // far more than buffers on the way hold
	err := together(manyConns, 50, func(i int) error {
		if i%2 == 0 {
			conn, err := p.dial(t.Context(), c)
			socks[i/2] = conn
			return err
		}
		req, err := p.request(t.Context(), "GET", "/bytes/"+strconv.Itoa(size), nil)
		if err != nil {
			return err
		}
		res, err := c.Do(req)
		if err != nil {
			return err
		}
		bodies[i/2] = res.Body
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	talk := func() {
		t.Helper()
		if err := together(len(socks), 50, func(i int) error { return echo(t.Context(), socks[i], strings.Repeat("m", 1024)) }); err != nil {
			t.Fatal(err)
		}
	}
	talk()
	full := residentOf(t, pid)
	for range 10 {
		talk()
	}
	later := residentOf(t, pid)
	t.Logf("resident: %d MiB before, %d MiB with %d connections, %d MiB after 5,000 more messages", idle>>20, full>>20, manyConns, later>>20)
	if grown := later - full; grown > 48<<20 {
		t.Errorf("the server's memory grew by %d MiB while connections stayed the same", grown>>20)
	}
	p.mustAnswer(t, c)
}

// together calls do(0) to do(n-1), at most width at a time.
func together(n, width int, do func(i int) error) error {
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	slots := make(chan struct{}, width)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := do(i); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(errs) > 3 {
		errs = append(errs[:3:3], fmt.Errorf("and %d more of %d", len(errs)-3, n))
	}
	return errors.Join(errs...)
}

// residentOf is what a process holds in memory, 0 for one of somebody else.
func residentOf(t *testing.T, pid int) int64 {
	t.Helper()
	if pid == 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func sshHostKeys(t *testing.T) string {
	t.Helper()
	var info struct{ SSHGatewayHostKeys []string }
	if err := shared.api.do(t.Context(), "GET", "/config", nil, &info); err != nil || len(info.SSHGatewayHostKeys) == 0 {
		t.Fatalf("host keys: %v %v", info, err)
	}
	return strings.Join(info.SSHGatewayHostKeys, " ")
}

// TestPreviewKilled kills the server, proxy and runner in one, under open
// connections: clients learn at once, and the next server serves them all.
func TestPreviewKilled(t *testing.T) {
	if shared.external {
		t.Skip("this test kills the server, and this one is not ours")
	}
	p := mustPreview(t, nil)
	c := previewClient(t)
	conn, err := p.dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	download := p.open(t, c, "/bytes/"+strconv.Itoa(8<<30))
	defer download.Close()
	if _, err := io.CopyN(io.Discard, download, 1<<20); err != nil {
		t.Fatal(err)
	}
	hostKeys := sshHostKeys(t)
	shared.kill()
	defer func() {
		if !t.Failed() {
			return
		}
		if shared.api.do(context.Background(), "GET", "/health", nil, nil) != nil {
			_ = shared.start() // for those who come after
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("a WebSocket through a server that was killed: %v", err)
	}
	if _, err := io.Copy(io.Discard, download); err == nil {
		t.Error("a download that broke off looks whole")
	}
	restart(t, defaultMode)
	if now := sshHostKeys(t); now != hostKeys {
		t.Errorf("the SSH host keys were %s and are %s", hostKeys, now)
	}
	p.mustAnswer(t, c)
	again, err := p.dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := echo(t.Context(), again, "after"); err != nil {
		t.Error(err)
	}
	_ = again.CloseNow()
	// What the program saw of it all is two connections that ended: it goes on.
	var seen struct{ Headers map[string]string }
	body := p.open(t, c, "/seen")
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&seen); err != nil {
		t.Fatal(err)
	}
	if u, _ := url.Parse(p.url); seen.Headers["x-forwarded-host"] != u.Host || seen.Headers["host"] != "localhost:3000" {
		t.Errorf("headers %v", seen.Headers)
	}
}
