//go:build root

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startProxy starts bin/daytona proxy beside the shared server and waits until
// it answers.
func startProxy(t *testing.T, address, key, data string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(shared.binary(), "proxy", "--server", strings.TrimSuffix(shared.api.url, "/api"), "--listen", address, //nolint:noctx // it is killed below
		"--ssh-listen", "127.0.0.1:0", "--data", data)
	cmd.Env = append(cmd.Environ(), "DAYTONA_PROXY_KEY="+key)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the proxy said:\n%s", tail(log.String(), 4<<10))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for (&client{url: "http://" + address}).do(ctx, "GET", "/health", nil, nil) != nil {
		if pause(ctx) != nil {
			t.Fatal("the proxy does not answer")
		}
	}
	return cmd
}

// TestProxyRole reaches a sandbox through a proxy in a process of its own, which
// is killed under open connections.
func TestProxyRole(t *testing.T) {
	if shared.external {
		t.Skip("this test needs the server's data directory")
	}
	t.Parallel()
	p := mustPreview(t, nil)
	out, err := exec.CommandContext(t.Context(), shared.binary(), "admin", "proxy-key", "--data", shared.dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(out))
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	address, data := "127.0.0.1:"+strconv.Itoa(port), filepath.Join(t.TempDir(), "data")
	running := startProxy(t, address, key, data)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport}
	p.mustAnswer(t, c)
	conn, err := p.dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := echo(t.Context(), conn, "through two"); err != nil {
		t.Fatal(err)
	}
	// The terminal's page, and the toolbox behind it.
	var terminal struct{ URL, Token string }
	if err := shared.api.do(t.Context(), "GET", "/sandbox/"+p.ID+"/ports/22222/preview-url", nil, &terminal); err != nil {
		t.Fatal(err)
	}
	page := previewed{sandbox: p.sandbox, url: terminal.URL, token: terminal.Token}
	body := page.open(t, c, "/")
	if text, err := io.ReadAll(body); err != nil || !strings.Contains(string(text), "<title>Terminal</title>") {
		t.Errorf("the terminal: %v %s", err, text)
	}
	body.Close()
	stream := p.open(t, c, "/bytes/"+fmt.Sprint(8<<30))
	if _, err := io.CopyN(io.Discard, stream, 1<<20); err != nil {
		t.Fatal(err)
	}
	_ = running.Process.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("a WebSocket through a proxy that was killed: %v", err)
	}
	if _, err := io.Copy(io.Discard, stream); err == nil {
		t.Error("a download that broke off looks whole")
	}
	stream.Close()
	_ = conn.CloseNow()
	startProxy(t, address, key, data)
	p.mustAnswer(t, c)

	// Another key opens nothing.
	stranger := exec.CommandContext(ctx, shared.binary(), "proxy", "--server", strings.TrimSuffix(shared.api.url, "/api"), "--listen", "127.0.0.1:0", "--ssh-listen", "off",
		"--data", data, "--proxy-key", "dtp_wrong")
	if out, err := stranger.CombinedOutput(); err == nil || !strings.Contains(string(out), "proxy-key") {
		t.Errorf("a proxy with a wrong key: %v %s", err, out)
	}
}
