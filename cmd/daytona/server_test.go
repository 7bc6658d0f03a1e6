//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"daytona/controlplane/auth"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"daytona": func() { os.Exit(run()) }})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/scripts"})
}

// process is a server in a process of its own.
type process struct {
	cmd      *exec.Cmd
	url, key string
	dir      string
	out, err *output
	ended    chan error
}

// output collects what a process writes, while it may be read.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// noToolbox stands where a toolbox belongs: no sandbox is made in these tests.
// It must be harmless all the same if it is run. This test program would not
// be: it would start servers that start it again.
const noToolbox = "/bin/true"

// start runs a server until it is ready.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{dir: dir, out: &output{}, err: &output{}, ended: make(chan error, 1)}
	p.cmd = exec.CommandContext(t.Context(), filepath.Join(binDir(t), "daytona"), append([]string{
		"server", "--data", dir, "--isolation=fake", "--listen=127.0.0.1:0", "--log-format=json", "--toolbox", noToolbox,
	}, args...)...)
	p.cmd.Stdout = p.out
	logs, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		lines := bufio.NewScanner(logs)
		for lines.Scan() {
			fmt.Fprintln(p.err, lines.Text())
			var line struct{ Msg, URL string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "server.ready" {
				ready <- line.URL
			}
		}
		p.ended <- p.cmd.Wait()
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	select {
	case url, ok := <-ready:
		if !ok {
			t.Fatalf("the server ended: %s", p.err)
		}
		p.url = url
	case <-time.After(time.Minute):
		t.Fatal("the server is not ready")
	}
	key, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	if err == nil {
		p.key = strings.TrimSpace(string(key))
	}
	return p
}

// binDir is where testscript put the program.
func binDir(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("daytona")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(path)
}

func (p *process) get(t *testing.T, path, key string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// stop sends a signal and waits for the end.
func (p *process) stop(t *testing.T, signal syscall.Signal) error {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("the server does not end: %s", p.err)
		return nil
	}
}

func TestFirstKey(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	if status, body := p.get(t, "/api/api-keys/current", p.key); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if info, err := os.Stat(filepath.Join(dir, "admin.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := p.stop(t, syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, p.err)
	}
	if want := "Admin API key: " + p.key + "\n"; p.out.String() != want {
		t.Errorf("printed %q, want %q", p.out, want)
	}
	if strings.Contains(p.err.String(), p.key) {
		t.Error("the log has the key")
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); !os.IsNotExist(err) {
		t.Errorf("%s stays: %v", stateFile, err)
	}

	again := start(t, dir)
	if status, _ := again.get(t, "/api/api-keys/current", p.key); status != 200 || again.out.String() != "" {
		t.Errorf("after a restart: %d, printed %q", status, again.out)
	}
	if err := again.stop(t, syscall.SIGINT); err != nil {
		t.Error(err)
	}
}

// TestFirstKeySurvivesACrash: the value is in the file before the database has
// it; what dies in between is finished by the next start.
func TestFirstKeySurvivesACrash(t *testing.T) {
	dir := t.TempDir()
	value := auth.NewValue()
	write(t, filepath.Join(dir, "admin.key"), value+"\n")
	p := start(t, dir)
	if status, body := p.get(t, "/api/api-keys/current", value); status != 200 || p.key != value {
		t.Errorf("%d %s", status, body)
	}
	if err := p.stop(t, syscall.SIGKILL); err == nil {
		t.Error("a killed server ended well")
	}
	again := start(t, dir)
	if status, _ := again.get(t, "/api/api-keys/current", value); status != 200 {
		t.Errorf("after kill -9: %d", status)
	}
}

func TestOneServerADataDirectory(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	out, err := exec.CommandContext(t.Context(), filepath.Join(binDir(t), "daytona"), "server", "--data", dir, "--isolation=fake", "--listen=127.0.0.1:0").CombinedOutput()
	want := fmt.Sprintf("in use by another server (process %d)", p.cmd.Process.Pid)
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err = exec.CommandContext(t.Context(), filepath.Join(binDir(t), "daytona"), "server", "--data", t.TempDir(), "--isolation=fake", "--listen", l.Addr().String()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--listen: ") || !strings.Contains(string(out), "address already in use") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestStopLetsRequestsEnd: a request that was under way when the signal came is
// answered; a second signal does not wait.
func TestStopLetsRequestsEnd(t *testing.T) {
	slow := func(t *testing.T, p *process) (net.Conn, *bufio.Reader) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		// The body is promised, so the request is under way until it comes.
		fmt.Fprintf(conn, "PUT /api/sandbox/x/labels HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 13\r\nExpect: 100-continue\r\n\r\n", p.key)
		r := bufio.NewReader(conn)
		line, err := r.ReadString('\n')
		if err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%q %v", line, err)
		}
		return conn, r
	}
	t.Run("soft", func(t *testing.T) {
		p := start(t, t.TempDir(), "--shutdown-timeout=50s")
		conn, r := slow(t, p)
		defer conn.Close()
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the server stops listening", func() bool {
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		fmt.Fprint(conn, `{"labels":{}}`)
		rest, _ := io.ReadAll(r)
		if !strings.Contains(string(rest), "404 Not Found") {
			t.Errorf("the request under way got %q", rest)
		}
		if err := <-p.ended; err != nil {
			t.Errorf("%v\n%s", err, p.err)
		}
	})
	t.Run("hard", func(t *testing.T) {
		p := start(t, t.TempDir(), "--shutdown-timeout=20ms")
		conn, _ := slow(t, p)
		defer conn.Close()
		if err := p.stop(t, syscall.SIGTERM); err != nil {
			t.Errorf("%v\n%s", err, p.err)
		}
		if !strings.Contains(p.err.String(), "requests were cut off") {
			t.Errorf("the log does not say so: %s", p.err)
		}
	})
	t.Run("second signal", func(t *testing.T) {
		p := start(t, t.TempDir(), "--shutdown-timeout=1h")
		conn, _ := slow(t, p)
		defer conn.Close()
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the server stops listening", func() bool {
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		if err := p.stop(t, syscall.SIGTERM); err == nil {
			t.Error("it went on to the end")
		}
	})
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAdminKeyCreate(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	out, err := exec.CommandContext(t.Context(), filepath.Join(binDir(t), "daytona"), "admin", "key", "create", "--data", dir, "--name", "spare").Output()
	if err != nil {
		t.Fatal(err)
	}
	value := strings.TrimSpace(string(out))
	if !regexp.MustCompile(`^dtn_[0-9a-f]{64}$`).MatchString(value) {
		t.Fatalf("printed %q", out)
	}
	if status, body := p.get(t, "/api/api-keys/current", value); status != 200 || !strings.Contains(body, `"name":"spare"`) {
		t.Errorf("%d %s", status, body)
	}
}

func TestDown(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	down := func() string {
		out, err := exec.CommandContext(t.Context(), filepath.Join(binDir(t), "daytona"), "down", "--data", dir, "--isolation=fake", "--toolbox", noToolbox, "--log-level=error").CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return string(out)
	}
	if out := down(); !strings.Contains(out, fmt.Sprintf("server stopped (process %d)", p.cmd.Process.Pid)) {
		t.Errorf("printed %s", out)
	}
	if err := <-p.ended; err != nil {
		t.Errorf("%v\n%s", err, p.err)
	}
	if out := down(); strings.Contains(out, "server stopped") || !strings.Contains(out, "sandboxes stopped: 0") {
		t.Errorf("the second time: %s", out)
	}
	again := start(t, dir)
	if status, _ := again.get(t, "/api/sandbox", p.key); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

func TestTracesAreExported(t *testing.T) {
	bodies := make(chan string, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && r.URL.Path == "/v1/traces" {
			bodies <- string(body)
		}
	}))
	defer collector.Close()
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_BSP_SCHEDULE_DELAY": "50",
	} {
		t.Setenv(name, value)
	}
	p := start(t, t.TempDir())
	if status, body := p.get(t, "/api/api-keys/current", p.key); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	deadline := time.After(20 * time.Second)
	for {
		select {
		case body := <-bodies: // protobuf leaves texts as they are
			if strings.Contains(body, "GET /api/api-keys/current") && strings.Contains(body, "daytona.request_id") {
				return
			}
		case <-deadline:
			t.Fatal("no span of the request reached the collector")
		}
	}
}
