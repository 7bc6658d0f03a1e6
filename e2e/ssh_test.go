//go:build root

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sshBox is a sandbox in which OpenSSH's own clients log in.
type sshBox struct {
	sandbox
	host, port, token string
	config            string // a configuration file that knows the host as "box"
}

// mustSSH creates a sandbox and the access to it.
func mustSSH(t *testing.T, body map[string]any) sshBox {
	t.Helper()
	b := sshBox{sandbox: mustCreate(t, shared.api, body)}
	var access struct{ Token, SSHCommand string }
	if err := shared.api.do(t.Context(), "POST", "/sandbox/"+b.ID+"/ssh-access?expiresInMinutes=10", nil, &access); err != nil {
		t.Fatal(err)
	}
	b.token, b.port = access.Token, "22"
	words := strings.Fields(access.SSHCommand)
	for i, word := range words {
		if word == "-p" && i+1 < len(words) {
			b.port = words[i+1]
		}
	}
	b.host = words[len(words)-1][strings.LastIndex(words[len(words)-1], "@")+1:]
	var info struct{ SSHGatewayHostKeys []string }
	if err := shared.api.do(t.Context(), "GET", "/config", nil, &info); err != nil || len(info.SSHGatewayHostKeys) == 0 {
		t.Fatalf("host keys: %v %v", info, err)
	}
	dir := t.TempDir()
	known := ""
	for _, key := range info.SSHGatewayHostKeys {
		known += fmt.Sprintf("[%s]:%s %s\n", b.host, b.port, key)
	}
	b.config = filepath.Join(dir, "config")
	for file, text := range map[string]string{
		filepath.Join(dir, "known"): known,
		b.config: fmt.Sprintf("Host box\n HostName %s\n Port %s\n User %s\n UserKnownHostsFile %s\n GlobalKnownHostsFile /dev/null\n"+
			" StrictHostKeyChecking yes\n BatchMode yes\n LogLevel ERROR\n IdentityFile none\n ForwardAgent yes\n ServerAliveInterval 5\n",
			b.host, b.port, b.token, filepath.Join(dir, "known")),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// run runs a client, and returns what it printed and how it ended.
func (b sshBox) run(t *testing.T, stdin, name string, args ...string) (out, said string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, append([]string{"-F", b.config}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

func (b sshBox) must(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	out, said, err := b.run(t, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v, %q\n%s", name, strings.Join(args, " "), err, said, tail(out, 500))
	}
	return out
}

// TestSSH logs in with OpenSSH's own clients.
func TestSSH(t *testing.T) {
	t.Parallel()
	for _, isolation := range isolationsHere() {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			b := mustSSH(t, map[string]any{"isolation": isolation})
			t.Run("commands", b.commands)
			t.Run("last words", b.lastWords)
			t.Run("shell", b.shell)
			t.Run("files", b.files)
			t.Run("forwarding", b.forwarding)
			t.Run("git", b.git)
			t.Run("editor", b.editor)
			t.Run("ends", b.ends)
			t.Run("revoked", b.revoked)
		})
	}
}

func (b sshBox) commands(t *testing.T) {
	out, said, err := b.run(t, "", "ssh", "box", "echo out; echo err >&2; exit 3")
	if exit := new(exec.ExitError); !asExit(err, &exit) || exit.ExitCode() != 3 || out != "out\n" || said != "err\n" {
		t.Errorf("%q %q %v", out, said, err)
	}
	if out := b.must(t, "through a pipe", "ssh", "box", "cat"); out != "through a pipe" {
		t.Errorf("standard input: %q", out)
	}
	data := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	if out := b.must(t, data, "ssh", "box", "cat"); out != data {
		t.Errorf("%d bytes went in, %d came back", len(data), len(out))
	}
	// The agent of the person stays theirs.
	if out := b.must(t, "", "ssh", "-A", "box", "echo agent=$SSH_AUTH_SOCK; id -un"); !strings.HasPrefix(out, "agent=\n") {
		t.Errorf("an agent: %q", out)
	}
	if out, said, err := b.run(t, "", "ssh", "box", "kill -TERM $$"); err == nil {
		t.Errorf("a command that was killed: %q %q", out, said)
	}
	_, said, err = b.run(t, "", "ssh", "-o", "LogLevel=INFO", "-l", strings.Repeat("x", 32), "box", "true")
	if err == nil || !strings.Contains(said, "unknown or has expired") {
		t.Errorf("a wrong token: %v, %s", err, said)
	}
}

func asExit(err error, to **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError) //nolint:errorlint // Run returns it bare
	*to = e
	return ok
}

// lastWords sees that nothing of what a command prints last is lost.
func (b sshBox) lastWords(t *testing.T) {
	master := filepath.Join(t.TempDir(), "m")
	share := []string{"-o", "ControlMaster=auto", "-o", "ControlPath=" + master, "-o", "ControlPersist=60"}
	defer func() { _, _, _ = b.run(t, "", "ssh", append(share, "-O", "exit", "box")...) }()
	b.must(t, "", "ssh", append(share, "box", "true")...)
	for i := range 50 {
		options := share // one connection for all, but for terminals: those want one of their own
		if i%5 == 0 {
			options = []string{"-tt"}
		}
		want := fmt.Sprintf("first %d", i)
		out := b.must(t, "", "ssh", append(options, "box", "echo "+want+"; seq 2000; printf last")...)
		lines := strings.Split(strings.ReplaceAll(out, "\r", ""), "\n")
		if len(lines) != 2002 || lines[0] != want || lines[2000] != "2000" || lines[2001] != "last" {
			t.Errorf("run %d: %d lines, the last %q", i, len(lines), lines[len(lines)-1])
		}
	}
}

func (b sshBox) shell(t *testing.T) {
	out, _, err := b.run(t, "echo $((40+2)) $SSH_TTY; test -t 0 && echo a terminal; stty size; exit 5\n", "ssh", "-tt", "box")
	if exit := new(exec.ExitError); !asExit(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("how the shell ended: %v", err)
	}
	for _, want := range []string{"42 /dev/", "a terminal"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %q", want, out)
		}
	}
}

func (b sshBox) files(t *testing.T) {
	dir := t.TempDir()
	data := []byte(strings.Repeat("file transfer\n", 300_000))
	if err := os.MkdirAll(filepath.Join(dir, "tree", "inner"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"tree/a file", "tree/inner/b"} {
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	b.must(t, "", "scp", "-q", "-r", "-p", filepath.Join(dir, "tree"), "box:/tmp/tree")
	b.must(t, "", "scp", "-q", "-r", "-O", filepath.Join(dir, "tree"), "box:/tmp/tree-old") // the old protocol
	b.must(t, "", "scp", "-q", "box:/tmp/tree/inner/b", filepath.Join(dir, "back"))
	if got, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("scp: %d bytes came back, %v", len(got), err)
	}
	out := b.must(t, "", "ssh", "box", "cmp '/tmp/tree/a file' '/tmp/tree-old/a file' && stat -c %a '/tmp/tree/a file'")
	if out != "640\n" {
		t.Errorf("mode %q", out)
	}
	batch := filepath.Join(dir, "batch")
	text := "cd /tmp\nmkdir sftp\nput " + filepath.Join(dir, "back") + " sftp/x\nrename sftp/x sftp/y\nls -l sftp\nget sftp/y " + filepath.Join(dir, "again") + "\nrm sftp/y\nrmdir sftp\n"
	if err := os.WriteFile(batch, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.must(t, "", "sftp", "-q", "-b", batch, "box")
	if got, err := os.ReadFile(filepath.Join(dir, "again")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("sftp: %d bytes came back, %v", len(got), err)
	}
}

func (b sshBox) forwarding(t *testing.T) {
	// To a port of the sandbox.
	b.must(t, "", "ssh", "box", "mkdir -p /tmp/www && echo inside > /tmp/www/index.html && cd /tmp/www && (setsid nohup python3 -m http.server 8123 --bind 127.0.0.1 > /dev/null 2>&1 < /dev/null &) && until curl -s localhost:8123 > /dev/null; do sleep 0.1; done")
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	// From a port of the sandbox to this machine.
	local, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "outside") })}
	go func() { _ = server.Serve(local) }()
	defer server.Close()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-F", b.config, "-N", "-o", "ExitOnForwardFailure=yes",
		"-L", fmt.Sprintf("127.0.0.1:%d:localhost:8123", port), "-R", "18123:"+local.Addr().String(), "box")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	deadline, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	for {
		req, err := http.NewRequestWithContext(deadline, "GET", fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			text, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if string(text) != "inside\n" {
				t.Errorf("-L: %q", text)
			}
			break
		}
		if pause(deadline) != nil {
			t.Fatalf("-L: %v %s", err, said.String())
		}
	}
	if out := b.must(t, "", "ssh", "box", "curl -sS --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:18123/"); out != "outside" {
		t.Errorf("-R: %q %s", out, said.String())
	}
	// Nothing but the sandbox itself can be reached.
	if out, said, err := b.run(t, "GET / HTTP/1.0\r\n\r\n", "ssh", "-W", local.Addr().String(), "box"); err == nil && strings.Contains(out, "outside") {
		t.Errorf("-W: this machine was reached: %q %s", out, said)
	}
}

func (b sshBox) git(t *testing.T) {
	b.must(t, "", "ssh", "box", `set -e; export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b
git init -q --bare -b main /tmp/repo.git; git init -q -b main /tmp/seed; cd /tmp/seed; echo first > file; git add .; git commit -q -m first; git push -q /tmp/repo.git main`)
	dir := filepath.Join(t.TempDir(), "clone")
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Env = append(os.Environ(), "GIT_SSH_COMMAND=ssh -F "+b.config, "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@b")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	git("clone", "-q", "ssh://box/tmp/repo.git", dir)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	git("-C", dir, "commit", "-q", "-am", "second")
	git("-C", dir, "push", "-q")
	if out := b.must(t, "", "ssh", "box", "git -C /tmp/repo.git show main:file"); out != "second\n" {
		t.Errorf("pushed %q", out)
	}
}

// editor goes through what VS Code does to get its server going: a shell without
// a terminal is fed a script that looks around, unpacks what was copied over,
// starts a server in the background, and tells its port between markers; the
// login stays open meanwhile, with a dynamic forward to that port.
func (b sshBox) editor(t *testing.T) {
	script := `id=$1
echo "$id: running"
uname -rsv; getconf LONG_BIT; uname -m; id -u; echo "$HOME"; command -v tar curl flock || true
set -e
dir="$HOME/.editor-server/bin/0123"; mkdir -p "$dir"; umask 077
if ! mkdir "$dir/.lock" 2>/dev/null; then echo locked; exit 1; fi
tar -xzf - -C "$dir" --no-same-owner < /tmp/editor.tgz
chmod +x "$dir/server"
log="$dir/log"; token="$dir/token"; echo secret > "$token"
nohup "$dir/server" "$token" > "$log" 2>&1 < /dev/null &
echo $! > "$dir/pid"
for i in $(seq 200); do port=$(sed -n 's/^listening on //p' "$log"); test -n "$port" && break; sleep 0.1; done
rmdir "$dir/.lock"
echo "$id: start"; echo "listeningOn==$port=="; echo "SSH_AUTH_SOCK==$SSH_AUTH_SOCK=="; echo "platform==linux=="; echo "$id: end"
`
	dir := t.TempDir()
	server := `#!/usr/bin/env python3
import http.server, socketserver
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"editor")
s = socketserver.TCPServer(("127.0.0.1", 0), H)
print("listening on", s.server_address[1], flush=True)
s.serve_forever()
`
	if err := os.WriteFile(filepath.Join(dir, "server"), []byte(server), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := command(dir, "tar", "-czf", "editor.tgz", "server"); err != nil {
		t.Fatal(err)
	}
	b.must(t, "", "scp", "-q", filepath.Join(dir, "editor.tgz"), "box:/tmp/editor.tgz")
	socks, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-F", b.config, "-T", "-D", fmt.Sprint(socks), "-o", "ConnectTimeout=15", "box", "bash", "-s", "--", "mark")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	if _, err := io.WriteString(in, script); err != nil {
		t.Fatal(err)
	}
	text, port := "", ""
	for buf := make([]byte, 4096); !strings.Contains(text, "mark: end"); {
		n, err := out.Read(buf)
		text += string(buf[:n])
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	if _, rest, ok := strings.Cut(text, "listeningOn=="); ok {
		port, _, _ = strings.Cut(rest, "==")
	}
	got, err := exec.CommandContext(ctx, "curl", "-sS", "--socks5-hostname", fmt.Sprintf("127.0.0.1:%d", socks), "http://127.0.0.1:"+port+"/version").CombinedOutput()
	if err != nil || string(got) != "editor" {
		t.Errorf("the editor's server at %q: %q, %v\n%s", port, got, err, text)
	}
	// The server outlives the login, as the next window expects.
	cancel()
	_ = cmd.Wait()
	if out := b.must(t, "", "ssh", "box", "curl -sS http://127.0.0.1:"+port+"/"); out != "editor" {
		t.Errorf("after the login: %q", out)
	}
}

// revoked sees that a login ends when its token is taken back, and goes on when
// another token takes its place.
func (b sshBox) revoked(t *testing.T) {
	if err := shared.api.do(t.Context(), "POST", "/sandbox/"+b.ID+"/start", nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.api.waitFor(t.Context(), b.ID, "started"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-F", b.config, "box", "echo ready; cat; sleep 600")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if err := shared.api.do(ctx, "POST", "/sandbox/"+b.ID+"/ssh-access", nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, said, err := b.run(t, "", "ssh", "-o", "LogLevel=INFO", "box", "true"); err == nil || !strings.Contains(said, "unknown or has expired") {
		t.Errorf("a login by a token that was replaced: %v, %s", err, said)
	}
	answer := make([]byte, 6)
	if _, err := io.WriteString(in, "still\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, answer); err != nil || string(answer) != "still\n" {
		t.Errorf("an open login whose token was replaced: %q, %v", answer, err)
	}
	if err := shared.api.do(ctx, "DELETE", "/sandbox/"+b.ID+"/ssh-access", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || ctx.Err() != nil {
		t.Errorf("an open login whose token was revoked: %v", err)
	}
}

// ends sees that a login ends with its sandbox's run.
func (b sshBox) ends(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-F", b.config, "box", "echo ready; sleep 600")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if err := shared.api.do(ctx, "POST", "/sandbox/"+b.ID+"/stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || ctx.Err() != nil {
		t.Errorf("a login in a sandbox that was stopped: %v", err)
	}
	if _, err := shared.api.waitFor(ctx, b.ID, "stopped"); err != nil {
		t.Fatal(err)
	}
	if _, said, err := b.run(t, "", "ssh", "box", "true"); err == nil || !strings.Contains(said, "not running") {
		t.Errorf("a login in a stopped sandbox: %v, %s", err, said)
	}
}
