package sshgate_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"daytona/api/proxyapi"
	"daytona/internal/fault"
	"daytona/proxy/sshgate"
	"daytona/toolbox"
)

// plane is a control plane of one sandbox, whose toolbox is a real one in this
// process. Its ports are those of this machine.
type plane struct {
	proxyapi.ControlPlane
	toolbox *httptest.Server

	mu      sync.Mutex
	pass    proxyapi.Pass
	touched int
	shown   int
	refused error // what AdmitSSH answers to the token from now on
}

const token = "goodtoken"

func (p *plane) AdmitSSH(_ context.Context, given string) (proxyapi.Pass, error) {
	if given != token {
		return proxyapi.Pass{}, fault.New(fault.NotFound, "unknown")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown++
	return p.pass, p.refused
}

func (p *plane) refuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = err
}

// asked is how often the token was shown.
func (p *plane) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown
}

func (p *plane) Wake(context.Context, string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass.State = proxyapi.Started
	return nil
}

func (p *plane) Touch(string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touched++
}

func (p *plane) DialPort(ctx context.Context, _ string, port int) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fault.Wrap(err, fault.Upstream, "nothing listens on port %d", port)
	}
	return conn, nil
}

func (p *plane) RoundTripToolbox(r *http.Request, _ string) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = "http", p.toolbox.Listener.Addr().String()
	out.Header.Set(toolbox.TokenHeader, "secret")
	return http.DefaultTransport.RoundTrip(out)
}

func newPlane(t *testing.T) (*plane, string) {
	t.Helper()
	home := t.TempDir()
	box, err := toolbox.New(toolbox.Config{Token: "secret", Home: home, WorkDir: home, Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(box)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close(); box.Close() })
	p := &plane{toolbox: server, pass: proxyapi.Pass{SandboxID: "11111111-2222-4333-8444-555555555555", State: proxyapi.Started}}
	key, err := sshgate.HostKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- sshgate.New(sshgate.Config{Plane: p, HostKey: key, CheckEvery: 5 * time.Millisecond}).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p, l.Addr().String()
}

func dial(t *testing.T, address, user string) (*ssh.Client, error) {
	t.Helper()
	c, err := ssh.Dial("tcp", address, &ssh.ClientConfig{User: user, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 20 * time.Second}) //nolint:gosec // the key is the test's own
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func login(t *testing.T) (*plane, *ssh.Client) {
	t.Helper()
	p, address := newPlane(t)
	c, err := dial(t, address, token)
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

func TestWhoMayLogIn(t *testing.T) {
	_, address := newPlane(t)
	for _, user := range []string{"", "root", "goodtokenx", strings.Repeat("a", 10_000)} {
		if _, err := dial(t, address, user); err == nil {
			t.Errorf("%.20q was let in", user)
		}
	}
	if _, err := dial(t, address, token); err != nil {
		t.Error(err)
	}
}

func TestExec(t *testing.T) {
	p, c := login(t)
	run := func(command, input string) (stdout, stderr string, err error) {
		t.Helper()
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		var out, errs bytes.Buffer
		s.Stdin, s.Stdout, s.Stderr = strings.NewReader(input), &out, &errs
		_ = s.Setenv("LC_TEST", "yes") // refused where a client may not
		err = s.Run(command)
		return out.String(), errs.String(), err
	}
	out, errs, err := run(`read x; echo "got $x $LC_TEST"; echo bad >&2; exit 7`, "in\n")
	exit, ok := errors.AsType[*ssh.ExitError](err)
	if out != "got in yes\n" || errs != "bad\n" || !ok || exit.ExitStatus() != 7 {
		t.Errorf("%q %q %v", out, errs, err)
	}
	_, _, err = run("kill -TERM $$; sleep 60", "")
	if exit, ok := errors.AsType[*ssh.ExitError](err); !ok || exit.Signal() != "TERM" {
		t.Errorf("%v", err)
	}
	big := make([]byte, 8<<20)
	rand.Read(big)
	if out, _, err = run("sha256sum", string(big)); err != nil || !strings.HasPrefix(out, fmt.Sprintf("%x", sha256.Sum256(big))) {
		t.Errorf("%q %v", out, err)
	}
	if out, _, err = run("head -c 8388608 /dev/zero", ""); err != nil || len(out) != 8<<20 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if p.touched == 0 {
		t.Error("logging in is no activity")
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Setenv("LD_PRELOAD", "/x"); err == nil {
		t.Error("LD_PRELOAD was taken")
	}
	if ok, err := s.SendRequest("auth-agent-req@openssh.com", true, nil); ok || err != nil {
		t.Errorf("agent: %v %v", ok, err)
	}
}

func TestTerminal(t *testing.T) {
	_, c := login(t)
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.RequestPty("vt100", 30, 100, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	in, _ := s.StdinPipe()
	out, _ := s.StdoutPipe()
	if err := s.Start(`stty size; echo $TERM; read x; stty size; trap 'echo int; exit 5' INT; echo ready; sleep 60`); err != nil {
		t.Fatal(err)
	}
	await(t, out, "30 100\r\nvt100\r\n")
	if err := s.WindowChange(40, 120); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "go")
	await(t, out, "40 120\r\nready")
	fmt.Fprint(in, "\x03")
	await(t, out, "int")
	if exit, ok := errors.AsType[*ssh.ExitError](s.Wait()); !ok || exit.ExitStatus() != 5 {
		t.Errorf("%v", exit)
	}
}

func await(t *testing.T, r io.Reader, want string) {
	t.Helper()
	var got []byte
	one := make([]byte, 1)
	for !strings.Contains(string(got), want) {
		if _, err := r.Read(one); err != nil {
			t.Fatalf("%v; %q is not in %q", err, want, got)
		}
		got = append(got, one[0])
	}
}

func TestForwarding(t *testing.T) {
	_, c := login(t)
	echo, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }()
		}
	}()
	there := func(conn net.Conn, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		want := bytes.Repeat([]byte("0123456789"), 100_000)
		go func() {
			_, _ = conn.Write(want)
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
	}
	there(c.Dial("tcp", echo.Addr().String()))
	for _, address := range []string{"10.0.0.1:80", "169.254.169.254:80", "example.org:80", "127.0.0.1:2280", "127.0.0.1:1"} {
		if conn, err := c.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("%s was reached", address)
		}
	}
	remote, err := c.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := remote.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	conn, err := net.Dial("tcp", remote.Addr().String()) //nolint:noctx // a test
	there(conn, err)
	if err := remote.Close(); err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.Dial("tcp", remote.Addr().String()) //nolint:noctx // a test
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the port is still open")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestNotRunning(t *testing.T) {
	p, address := newPlane(t)
	p.pass.State, p.pass.Why = "stopped", "idle"
	try := func() (string, error) {
		t.Helper()
		c, err := dial(t, address, token)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		out, err := s.CombinedOutput("echo hello")
		return string(out), err
	}
	if out, err := try(); err == nil || !strings.Contains(out, "not running") || !strings.Contains(out, "idle") {
		t.Errorf("%q %v", out, err)
	}
	p.mu.Lock()
	p.pass.AutoWake = true
	p.mu.Unlock()
	if out, err := try(); err != nil || out != "hello\n" {
		t.Errorf("%q %v", out, err)
	}
}

// A login ends with its token when that is revoked, and not when it expires or
// nobody can be asked.
func TestRevoked(t *testing.T) {
	p, c := login(t)
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	in, _ := s.StdinPipe()
	out, _ := s.StdoutPipe()
	if err := s.Start("cat"); err != nil {
		t.Fatal(err)
	}
	talk := func(text string) {
		t.Helper()
		fmt.Fprint(in, text)
		await(t, out, text)
	}
	talk("before")
	for _, harmless := range []error{
		fault.New(fault.NotFound, "expired"), fault.New(fault.Unavailable, "the server is away"), errors.New("broken"),
	} {
		p.refuse(harmless)
		before := p.asked()
		for deadline := time.Now().Add(10 * time.Second); p.asked() < before+3; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nobody asks")
			}
		}
		talk(harmless.Error())
	}
	p.refuse(fault.New(fault.NotFound, "unknown").WithCode(proxyapi.CodeRevoked))
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		_ = err // how the client puts it does not matter
	case <-time.After(20 * time.Second):
		t.Error("the login goes on")
	}
}

func TestHostKeyIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	first, err := sshgate.HostKey(file)
	if err != nil {
		t.Fatal(err)
	}
	second, err := sshgate.HostKey(file)
	if err != nil || !bytes.Equal(first.PublicKey().Marshal(), second.PublicKey().Marshal()) {
		t.Errorf("%v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := sshgate.HostKey(file); err == nil {
		t.Error("a key that everybody can read was taken")
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(file, 0o600)
	if _, err := sshgate.HostKey(file); err == nil {
		t.Error("nonsense was taken")
	}
}
