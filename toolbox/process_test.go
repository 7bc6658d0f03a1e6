package toolbox_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"daytona/toolbox"
)

type executed struct {
	ExitCode  int
	Code      int
	Result    string
	Message   string
	Artifacts struct{ Charts []map[string]any }
}

func TestExecute(t *testing.T) {
	s := newSandbox(t)
	s.write("greeting", "hello\n")
	for _, test := range []struct {
		name   string
		body   string
		exit   int
		result string // a part of it
	}{
		{"output", `{"command":"echo out; echo err >&2"}`, 0, "out\nerr\n"},
		{"exit code", `{"command":"exit 42"}`, 42, ""},
		{"last line decides", `{"command":"false\ntrue"}`, 0, ""},
		{"ended by a signal", `{"command":"kill -9 $$"}`, 137, ""},
		{"unknown program", `{"command":"no-such-program"}`, 127, "not found"},
		{"work directory", `{"command":"cat greeting"}`, 0, "hello\n"},
		{"relative directory", `{"command":"pwd","cwd":"home"}`, 0, "/home\n"},
		{"home", `{"command":"pwd; echo ~","cwd":"~"}`, 0, "/home\n"},
		{"variables", `{"command":"echo \"$A\" $B","envs":{"A":"x  y","B":"2"}}`, 0, "x  y 2\n"},
		{"arithmetic of bash", `{"command":"(( 1 < 2 )) && echo yes"}`, 0, "yes\n"},
		{"quotes and lines", `{"command":"cat <<'E'\n$x 'y' \"z\"\nE"}`, 0, "$x 'y' \"z\"\n"},
		{"input is at its end", `{"command":"cat; echo done"}`, 0, ""},
		{"no UTF-8", `{"command":"printf 'a\\377b'"}`, 0, "a\uFFFDb"},
		{"missing directory", `{"command":"ls","cwd":"/no/such/dir"}`, -1, "chdir /no/such/dir: no such file or directory"},
		{"a file as directory", `{"command":"ls","cwd":"greeting"}`, -1, "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *s
			s.t = t
			var got executed
			s.want(200, "POST", "/process/execute", test.body, &got)
			if got.ExitCode != test.exit || got.Code != test.exit || !strings.Contains(got.Result, test.result) {
				t.Errorf("got %+v, want exit %d and %q", got, test.exit, test.result)
			}
		})
	}
}

func TestExecuteRefuses(t *testing.T) {
	s := newSandbox(t)
	for body, want := range map[string][2]string{
		`{"command":""}`:                        {"BAD_REQUEST", "command cannot be empty"},
		`{"command":" \n"}`:                     {"BAD_REQUEST", "command cannot be empty"},
		`{}`:                                    {"BAD_REQUEST", "command cannot be empty"},
		`{"command":"x","envs":{"1A":"x"}}`:     {"BAD_REQUEST", "invalid environment variable name: '1A'"},
		`{"command":"x","envs":{"A":"\u0000"}}`: {"BAD_REQUEST", "NUL"},
		`{"command":"x","timeout":0.5}`:         {"INVALID_REQUEST_BODY", "timeout"},
		`{"command":"x","timeout":-1}`:          {"INVALID_REQUEST_BODY", "timeout"},
		`{"command":["x"]}`:                     {"INVALID_REQUEST_BODY", "command"},
		`{`:                                     {"INVALID_REQUEST_BODY", "JSON"},
	} {
		s.wantError(400, want[0], want[1], "POST", "/process/execute", body)
	}
}

// What SDKs of the first era send, as they send it.
func TestExecuteLegacyWrapping(t *testing.T) {
	s := newSandbox(t)
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	old := []string{"X-Daytona-Source", "python-sdk", "X-Daytona-SDK-Version", "0.25.6", "X-Daytona-Toolbox-Path", "api"}
	code := `print("it's", '$HOME', "a\\b")`
	for _, test := range []struct{ name, command, result string }{
		{"command", `sh -c "echo '` + b64(`echo "$HOME/x" 'single' \$y`) + `' | base64 -d | sh"`, s.dir + "/home/x single $y\n"},
		{"variables", `sh -c "export K=$(echo '` + b64("v  v") + `' | base64 -d); echo '` + b64(`echo "$K"`) + `' | base64 -d | sh"`, "v  v\n"},
		{"python", `sh -c "echo '` + b64(` sh -c 'python3 -u -c "exec(__import__(\"base64\").b64decode(\"`+b64(code)+`\").decode())" ' `) + `' | base64 -d | sh"`, "it's $HOME a\\b\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *s
			s.t = t
			var got executed
			s.want(200, "POST", "/process/execute", map[string]any{"command": test.command}, &got, old...)
			if got.ExitCode != 0 || got.Result != test.result {
				t.Errorf("got %d %q, want %q", got.ExitCode, got.Result, test.result)
			}
		})
	}
	// In the old splitting a double quote inside single ones is text, and so
	// is a dollar: with a shell both would mean something else.
	var got executed
	s.want(200, "POST", "/process/execute", `{"command":"sh -c 'echo \"$0\"' $HOME"}`, &got, old...)
	if got.Result != "$HOME\n" {
		t.Errorf("split: %q", got.Result)
	}
	s.want(200, "POST", "/process/execute", `{"command":"sh -c 'echo \"$0\"' $HOME"}`, &got, "X-Daytona-SDK-Version", "0.190.0")
	if got.Result != s.dir+"/home\n" {
		t.Errorf("by the shell: %q", got.Result)
	}
	s.want(200, "POST", "/process/execute", `{"command":"sh -c 'exit 3'","cwd":"/none"}`, &got, old...)
	if got.ExitCode != -1 {
		t.Errorf("start failure: %+v", got)
	}
}

func TestStrictClientsGetNoNewMembers(t *testing.T) {
	s := newSandbox(t)
	_, body := s.do("POST", "/process/execute", `{"command":"true"}`, "User-Agent", "OpenAPI-Generator/1.0.0/go")
	if strings.TrimSpace(body) != `{"exitCode":0,"result":""}` {
		t.Errorf("execute: %s", body)
	}
	s.write("f", "")
	if _, body = s.do("GET", "/files/info?path=f", nil, "User-Agent", "OpenAPI-Generator/1.0.0/go"); strings.Contains(body, "modifiedAt") {
		t.Errorf("info: %s", body)
	}
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// wantDead waits until the processes named in files are gone.
func wantDead(t *testing.T, files ...string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err != nil {
			t.Fatal(err)
		}
		for alive(pid) {
			if time.Now().After(deadline) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Fatalf("%s: process %d lives on", file, pid)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// family is a command that starts processes in its own group, in another
// session, and below that, writes their numbers to files, and waits for ever.
const family = `echo started
sleep 1000 & echo $! > group
setsid sh -c 'echo $$ > session; sleep 1000 & echo $! > below; wait' &
until [ -s group ] && [ -s session ] && [ -s below ]; do sleep 0.01; done
echo $$ > leader
wait`

func TestTimeoutKillsEverythingAndKeepsTheOutput(t *testing.T) {
	s := newSandbox(t)
	resp, body := s.do("POST", "/process/execute", map[string]any{"command": family, "timeout": 2})
	var got struct{ Message, Code, Result string }
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 408 || got.Code != "PROCESS_EXECUTION_TIMEOUT" || !strings.Contains(got.Message, "timeout") || got.Result != "started\n" {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
	wantDead(t, s.dir+"/group", s.dir+"/session", s.dir+"/below", s.dir+"/leader")
}

func TestDisconnectKillsEverything(t *testing.T) {
	s := newSandbox(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(s.request("POST", "/process/execute", map[string]any{"command": family}).WithContext(ctx))
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if content, err := os.ReadFile(s.dir + "/leader"); err == nil && len(content) > 0 {
			break
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			t.Fatalf("not started: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the request ended with %v", err)
	}
	wantDead(t, s.dir+"/group", s.dir+"/session", s.dir+"/below", s.dir+"/leader")
}

func TestBackgroundProcessDoesNotHoldTheAnswer(t *testing.T) {
	s := newSandbox(t)
	var got executed
	// The process left behind writes long after the answer: it must neither
	// block nor be killed by a closed pipe.
	s.want(200, "POST", "/process/execute", map[string]any{
		"command": "(echo $BASHPID > pid; until [ -e go ]; do sleep 0.01; done; echo more; echo more; touch finished; sleep 1000) & until [ -s pid ]; do :; done; echo front",
	}, &got)
	if got.ExitCode != 0 || got.Result != "front\n" {
		t.Errorf("got %+v", got)
	}
	s.write("go", "")
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Stat(s.dir + "/finished"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the background process was killed or is blocked")
		}
		time.Sleep(5 * time.Millisecond)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(s.read("pid")))
	if err != nil || pid <= 1 { // 0 would be this process's own group
		t.Fatalf("the background process says it is %d: %v", pid, err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
}

func TestHugeOutputIsBoundedAndSaysSo(t *testing.T) {
	const limit = 1 << 20
	s := newSandbox(t, func(c *toolbox.Config) { c.MaxOutput = limit })
	var got executed
	s.want(200, "POST", "/process/execute", `{"command":"head -c 20000000 /dev/zero | tr '\\0' x; exit 7"}`, &got)
	if got.ExitCode != 7 || len(got.Result) > limit+200 || !strings.HasPrefix(got.Result, strings.Repeat("x", limit)+"\n") {
		t.Errorf("exit %d, %d bytes", got.ExitCode, len(got.Result))
	}
	if !strings.HasSuffix(got.Result, "[output truncated: the first 1048576 bytes are shown, 18951424 more were dropped]\n") {
		t.Errorf("ends in %q", got.Result[len(got.Result)-120:])
	}
}

func needs(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Skipf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
}

func TestCodeRun(t *testing.T) {
	s := newSandbox(t)
	for _, test := range []struct {
		name, program, language, code string
		argv                          []string
		exit                          int
		result                        string
	}{
		{"python arguments", "python3", "python", "import sys; print(sys.argv)", []string{"a b", "c"}, 0, "['-', 'a', 'b', 'c']\n"},
		{"arguments mean what a shell makes of them", "python3", "python", "import sys; print(sys.argv[1:])", []string{"$X", "'a b'"}, 0, "['1', 'a b']\n"},
		{"python exit", "python3", "python", "import sys; print('x'); sys.exit(3)", nil, 3, "x\n"},
		{"python error", "python3", "python", "1/0", nil, 1, "ZeroDivisionError"},
		{"python has no input", "python3", "python", "input()", nil, 1, "EOFError"},
		{"javascript", "node", "javascript", "console.log(process.argv.length, process.argv.slice(1)); process.exit(4)", []string{"a b"}, 4, "3 [ 'a', 'b' ]\n"},
		{"javascript with a first line for the kernel", "node", "javascript", "#!/usr/bin/env node\nconsole.log(1)", nil, 0, "1\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			needs(t, test.program, "--version")
			s := *s
			s.t = t
			var got executed
			s.want(200, "POST", "/process/code-run", map[string]any{
				"code": test.code, "language": test.language, "argv": test.argv, "envs": map[string]string{"X": "1"},
			}, &got)
			if got.ExitCode != test.exit || !strings.Contains(got.Result, test.result) {
				t.Errorf("got %+v, want %d %q", got, test.exit, test.result)
			}
		})
	}
	s.wantError(400, "BAD_REQUEST", "language", "POST", "/process/code-run", `{"code":"x","language":"cobol"}`)
	s.wantError(400, "BAD_REQUEST", "code", "POST", "/process/code-run", `{"language":"python"}`)
	s.wantError(400, "INVALID_REQUEST_BODY", "argv", "POST", "/process/code-run", `{"code":"x","language":"python","argv":"a"}`)
	needs(t, "python3", "--version")
	resp, body := s.do("POST", "/process/code-run", `{"code":"print(1)\nwhile True: pass","language":"python","timeout":4}`)
	if resp.StatusCode != 408 || !strings.Contains(body, "timeout") || !strings.Contains(body, `"result":"1\n"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestCodeRunTypeScript(t *testing.T) {
	if _, err := exec.LookPath("ts-node"); err != nil {
		t.Skip("ts-node is not installed")
	}
	s := newSandbox(t)
	var got executed
	s.want(200, "POST", "/process/code-run", map[string]any{
		"language": "typescript", "argv": []string{"a b"},
		"code": "interface P { n: number }\nconst p: P = { n: 1 };\nconsole.log(p.n, process.argv.slice(1));\nprocess.exit(5);",
	}, &got)
	if got.ExitCode != 5 || got.Result != "1 [ 'a', 'b' ]\n" {
		t.Errorf("got %+v", got)
	}
	if left, _ := filepath.Glob("/tmp/dtn_*.ts"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
