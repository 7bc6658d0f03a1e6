//go:build root

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestToolbox is about what a plain HTTP client gets of a toolbox, where no
// published SDK has a call for it.
func TestToolbox(t *testing.T) {
	for _, isolation := range []string{"gvisor", "runc"} {
		t.Run(isolation, func(t *testing.T) {
			api := alone(t, mode{isolation: isolation})
			sb := mustCreate(t, api, nil)
			box := &toolboxClient{client: api, id: sb.ID}
			t.Run("runner's routes", func(t *testing.T) { testRunnersRoutes(t, box) })
			t.Run("ports", func(t *testing.T) { testPorts(t, box) })
			t.Run("watch", func(t *testing.T) { testWatch(t, box) })
			t.Run("metrics", func(t *testing.T) { testMetrics(t, box) })
		})
	}
}

// toolboxClient speaks to one sandbox by the path of the present era.
type toolboxClient struct {
	*client
	id string
}

func (c *toolboxClient) base() string {
	return strings.TrimSuffix(c.url, "/api") + "/toolbox/" + c.id
}

func (c *toolboxClient) request(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base()+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	return http.DefaultClient.Do(req)
}

// get sends a request and decodes its answer, which must have the status.
func (c *toolboxClient) get(t *testing.T, want int, method, path, body string, out any) string {
	t.Helper()
	res, err := c.request(t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		t.Fatalf("%s %s: status %d, want %d: %s, %v", method, path, res.StatusCode, want, text, err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return string(text)
}

func (c *toolboxClient) socket(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	conn, res, err := websocket.Dial(t.Context(), c.base()+path, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + c.key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != nil {
		res.Body.Close()
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func (c *toolboxClient) sh(t *testing.T, command string) string {
	t.Helper()
	r := mustExec(t, c.client, c.id, command)
	if r.ExitCode != 0 {
		t.Fatalf("%s: exit code %d: %s", command, r.ExitCode, r.Result)
	}
	return r.Result
}

func testRunnersRoutes(t *testing.T, box *toolboxClient) {
	before := box.sh(t, "env | sort | grep ^DAYTONA")
	evil := `{"token":"stolen","sandboxId":"evil","env":{"EVIL":"1"},"set":{"EVIL":"1"}}`
	for _, path := range []string{"/init", "/env", "//init", "/%69nit", "/x/../init", "/x/%2e%2e/init", "/init/"} {
		box.get(t, http.StatusNotFound, http.MethodPost, path, evil, nil)
		if err := box.do(t.Context(), http.MethodPost, "/toolbox/"+box.id+"/toolbox"+path, json.RawMessage(evil), nil); status(err) != http.StatusNotFound {
			t.Errorf("%s by the old path: %v", path, err)
		}
	}
	if after := box.sh(t, "env | sort | grep -e ^DAYTONA -e ^EVIL"); after != before {
		t.Errorf("the environment was %q and is %q", before, after)
	}
}

// A program that answers an upgrade by echoing one frame of a WebSocket.
const socketServer = `
import base64, hashlib, socket
s = socket.create_server(("127.0.0.1", 8001))
while True:
    c, _ = s.accept()
    head = b""
    while b"\r\n\r\n" not in head:
        head += c.recv(4096)
    key = [l.split(b": ")[1] for l in head.split(b"\r\n") if l.lower().startswith(b"sec-websocket-key")][0]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    frame = c.recv(4096)
    size, mask = frame[1] & 127, frame[2:6]
    text = bytes(b ^ mask[i % 4] for i, b in enumerate(frame[6:6 + size]))
    c.sendall(bytes([0x81, size]) + text)
    c.recv(4096)
    c.close()
`

func testPorts(t *testing.T, box *toolboxClient) {
	var list struct{ Ports []int }
	box.get(t, 200, "GET", "/port", "", &list)
	if list.Ports == nil || slices.Contains(list.Ports, 8000) || slices.Contains(list.Ports, 2280) {
		t.Errorf("ports of an idle sandbox: %v", list.Ports)
	}
	if text := box.get(t, 502, "GET", "/proxy/8000/", "", nil); !strings.Contains(text, "nothing listens on port 8000") {
		t.Errorf("nobody listens: %s", text)
	}
	box.get(t, 403, "GET", "/proxy/2280/version", "", nil)
	box.get(t, 400, "GET", "/port/80/in-use", "", nil)

	box.sh(t, "mkdir -p /tmp/www/dir && echo hello > /tmp/www/dir/f && cat > /tmp/ws.py <<'END'\n"+socketServer+"END\n"+
		"cd /tmp/www && (setsid python3 -m http.server 8000 >/dev/null 2>&1 & setsid python3 -m http.server --bind ::1 8002 >/dev/null 2>&1 & setsid python3 /tmp/ws.py >/dev/null 2>&1 &)")
	for deadline := time.Now().Add(time.Minute); ; {
		box.get(t, 200, "GET", "/port", "", &list)
		if slices.Contains(list.Ports, 8000) && slices.Contains(list.Ports, 8001) && slices.Contains(list.Ports, 8002) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("ports: %v", list.Ports)
		}
	}
	var used struct{ IsInUse bool }
	if box.get(t, 200, "GET", "/port/8000/in-use", "", &used); !used.IsInUse {
		t.Error("8000 is not in use")
	}
	if box.get(t, 200, "GET", "/port/8003/in-use", "", &used); used.IsInUse {
		t.Error("8003 is in use")
	}
	for _, port := range []int{8000, 8002} {
		if text := box.get(t, 200, "GET", fmt.Sprintf("/proxy/%d/dir/f", port), "", nil); text != "hello\n" {
			t.Errorf("through the proxy: %q", text)
		}
		// The program sends this one on to /dir/, which must lead back to it.
		if text := box.get(t, 200, "GET", fmt.Sprintf("/proxy/%d/dir", port), "", nil); !strings.Contains(text, ">f<") {
			t.Errorf("after a redirect: %q", text)
		}
	}
	if text := box.get(t, 502, "GET", "/proxy/8003/", "", nil); !strings.Contains(text, "8000, 8001, 8002") {
		t.Errorf("the ports that have a listener are not named: %s", text)
	}
	conn := box.socket(t, "/proxy/8001/")
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "hello" {
		t.Errorf("echo: %q, %v", data, err)
	}
}

// change is an event of a watch.
type change struct {
	Type, Path, OldPath string
	IsDir               bool
}

// await reads changes until one is as wanted.
func await(t *testing.T, next func() (change, error), want change) {
	t.Helper()
	var seen []change
	for {
		got, err := next()
		if err != nil {
			t.Fatalf("waiting for %+v: %v; came: %+v", want, err, seen)
		}
		if got == want {
			return
		}
		seen = append(seen, got)
	}
}

func testWatch(t *testing.T, box *toolboxClient) {
	const root = "/home/daytona/watched"
	box.sh(t, "mkdir -p "+root+"/sub")
	query := "/files/watch?recursive=true&path=" + url.QueryEscape(root)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := box.request(ctx, http.MethodGet, query, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	decode := json.NewDecoder(bufio.NewReader(res.Body))
	lines := func() (c change, err error) { return c, decode.Decode(&c) }

	conn := box.socket(t, query)
	frames := func() (c change, err error) {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return c, err
		}
		return c, json.Unmarshal(data, &c)
	}
	both := func(want change) {
		t.Helper()
		await(t, lines, want)
		await(t, frames, want)
	}
	both(change{Type: "ready", Path: root, IsDir: true})
	// One change of each kind, by processes and by the toolbox itself.
	box.sh(t, "echo x > "+root+"/sub/f")
	both(change{Type: "created", Path: root + "/sub/f"})
	box.sh(t, "echo y >> "+root+"/sub/f")
	both(change{Type: "modified", Path: root + "/sub/f"})
	box.get(t, 200, "POST", "/files/move?source="+root+"/sub/f&destination="+root+"/g", "", nil)
	both(change{Type: "renamed", Path: root + "/g", OldPath: root + "/sub/f"})
	box.sh(t, "mkdir -p /tmp/made/a/b && echo z > /tmp/made/a/b/c && mv /tmp/made "+root+"/")
	// A move from another file system is a copy.
	if box.sh(t, "stat -c %d /tmp "+root+" | uniq | wc -l") == "1\n" {
		both(change{Type: "moved-in", Path: root + "/made", IsDir: true})
	} else {
		both(change{Type: "created", Path: root + "/made", IsDir: true})
	}
	both(change{Type: "created", Path: root + "/made/a/b/c"})
	box.sh(t, "mkdir -p "+root+"/deep/er/still && echo 1 > "+root+"/deep/er/still/f")
	both(change{Type: "created", Path: root + "/deep/er/still/f"})
	box.sh(t, "rm "+root+"/g")
	both(change{Type: "deleted", Path: root + "/g"})
	box.sh(t, "rm -r "+root)
	both(change{Type: "deleted", Path: root, IsDir: true})
	if _, err := lines(); err != io.EOF { //nolint:errorlint // exactly that: a body that ends properly
		t.Errorf("the stream goes on: %v", err)
	}
	if _, err := frames(); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the socket's end: %v", err)
	}
	box.get(t, 404, "GET", query, "", nil)
}

// metrics are what a sandbox uses.
type metrics struct {
	CPUCount, MemTotal, MemUsed, MemCache, DiskTotal, DiskUsed, DiskFree, TimestampUnix int64

	CPUUsedPct float64
	Timestamp  time.Time
}

func testMetrics(t *testing.T, box *toolboxClient) {
	measure := func() (m metrics) {
		t.Helper()
		box.get(t, 200, "GET", "/system/metrics", "", &m)
		return m
	}
	const mib = 1 << 20
	idle := measure()
	if idle.CPUCount != 1 || idle.MemTotal != 1024*mib || idle.DiskTotal < 2700*mib || idle.DiskTotal > 3100*mib ||
		idle.DiskFree != idle.DiskTotal-idle.DiskUsed || idle.MemUsed <= 0 || idle.CPUUsedPct < 0 || idle.CPUUsedPct > 40 ||
		time.Since(idle.Timestamp).Abs() > time.Minute || idle.Timestamp.Unix() != idle.TimestampUnix {
		t.Errorf("idle: %+v", idle)
	}
	box.sh(t, `setsid python3 -c 'x = bytearray(b"x") * (300 << 20)
while True: pass' >/dev/null 2>&1 & head -c 100M /dev/urandom > /tmp/filling && sync`)
	var busy metrics
	for deadline := time.Now().Add(time.Minute); ; {
		busy = measure()
		// One that could use a processor to the full gets what others leave: on
		// a busy machine that is little.
		if busy.CPUUsedPct > 4 && busy.CPUUsedPct > 2*idle.CPUUsedPct && busy.MemUsed > idle.MemUsed+280*mib && busy.DiskUsed > idle.DiskUsed+95*mib {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("idle %+v, busy %+v", idle, busy)
		}
	}
	if busy.MemUsed > idle.MemUsed+600*mib || busy.DiskUsed > idle.DiskUsed+200*mib || busy.CPUUsedPct > 100 {
		t.Errorf("idle %+v, busy %+v", idle, busy)
	}
}
