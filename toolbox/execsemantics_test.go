package toolbox_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What a command's end is told to be.
func TestExecuteTellsTheCause(t *testing.T) {
	s := newSandbox(t)
	for name, test := range map[string]struct {
		body          string
		exit          int
		cause, signal string
	}{
		"exit":            {body: `{"command":"exit 3"}`, exit: 3, cause: "exit"},
		"signal":          {body: `{"command":"kill -TERM $$"}`, exit: 143, cause: "signal", signal: "SIGTERM"},
		"without a shell": {body: `{"command":"` + s.dir + `/dies"}`, exit: 137, cause: "signal", signal: "SIGKILL"},
		"below a shell":   {body: `{"command":"sh -c 'kill -9 $$'; exit $?"}`, exit: 137, cause: "signal", signal: "SIGKILL"},
		"not started":     {body: `{"command":"true","cwd":"/no/such"}`, exit: -1, cause: "notStarted"},
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t = t
			if name == "without a shell" {
				if err := os.WriteFile(s.dir+"/dies", []byte("#!/bin/sh\nkill -9 $$\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var got struct {
				ExitCode      int
				Cause, Signal string
			}
			s.want(200, "POST", "/process/execute", test.body, &got)
			if got.ExitCode != test.exit || got.Cause != test.cause || got.Signal != test.signal {
				t.Errorf("%+v", got)
			}
		})
	}
	resp, body := s.do("POST", "/process/execute", `{"command":"sleep 100","timeout":1}`)
	if resp.StatusCode != 408 || !strings.Contains(body, "PROCESS_EXECUTION_TIMEOUT") {
		t.Errorf("time-out: %d %s", resp.StatusCode, body)
	}
	// A client that refuses what it does not know is not told.
	_, body = s.do("POST", "/process/execute", `{"command":"true"}`, "User-Agent", "OpenAPI-Generator/1.0.0/go")
	if strings.Contains(body, "cause") {
		t.Errorf("%s", body)
	}
}

// A command that ends because its sandbox does is told so.
func TestExecuteTellsThatTheSandboxStops(t *testing.T) {
	s := newSandbox(t)
	var wait sync.WaitGroup
	wait.Go(func() {
		var got struct {
			Cause    string
			ExitCode int
		}
		s.want(200, "POST", "/process/execute", `{"command":"echo $$ > pid; exec sleep 1000"}`, &got)
		if got.Cause != "sandboxStopped" || got.ExitCode != 143 {
			t.Errorf("%+v", got)
		}
	})
	eventually(t, "it runs", func() bool {
		content, err := os.ReadFile(s.dir + "/pid")
		return err == nil && len(content) > 1
	})
	s.server.Stopping()
	// What the first process does when it is asked to end.
	pid, err := strconv.Atoi(strings.TrimSpace(s.read("pid")))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait.Wait()
}

func TestExecuteKeepsStreamsApart(t *testing.T) {
	s := newSandbox(t)
	type split struct {
		ExitCode       int
		Result         string
		Stdout, Stderr *string
	}
	const command = "echo out; echo err >&2; echo more; (exit 4)"
	for _, ask := range []func() split{
		func() (got split) {
			s.want(200, "POST", "/process/execute", map[string]any{"command": command, "splitOutput": true}, &got)
			return got
		},
		func() (got split) {
			s.want(200, "POST", "/process/execute", map[string]any{"command": command}, &got, "X-Daytona-Split-Output", "true")
			return got
		},
	} {
		got := ask()
		if got.Stdout == nil || *got.Stdout != "out\nmore\n" || got.Stderr == nil || *got.Stderr != "err\n" || got.ExitCode != 4 || got.Result != "out\nmore\nerr\n" {
			t.Errorf("%+v", got)
		}
	}
	var got split
	s.want(200, "POST", "/process/execute", map[string]any{"command": command}, &got)
	if got.Stdout != nil || got.Stderr != nil || got.Result != "out\nerr\nmore\n" {
		t.Errorf("not asked for: %+v", got)
	}
	// A program that a signal ends without a shell is spoken of on standard error.
	if err := os.WriteFile(s.dir+"/dies", []byte("#!/bin/sh\nkill -9 $$\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.want(200, "POST", "/process/execute", map[string]any{"command": s.dir + "/dies", "splitOutput": true}, &got)
	if *got.Stdout != "" || !strings.Contains(*got.Stderr, "Killed") {
		t.Errorf("%q %q", *got.Stdout, *got.Stderr)
	}
}

func TestExecuteTakesLongCommands(t *testing.T) {
	s := newSandbox(t)
	var got executed
	word := strings.Repeat("x", 1<<20)
	s.want(200, "POST", "/process/execute", map[string]any{"command": "v='" + word + "'; echo ${#v}"}, &got)
	if got.Result != "1048576\n" {
		t.Errorf("one word: %.80q", got.Result)
	}
	s.want(200, "POST", "/process/execute", map[string]any{"command": "cat <<'END' | sort | uniq -c\n" + strings.Repeat("it's a \"line\" $(no)\n", 60000) + "END"}, &got)
	if strings.TrimSpace(got.Result) != `60000 it's a "line" $(no)` {
		t.Errorf("many lines: %.80q", got.Result)
	}
}

func TestExecuteIsNotHeldUpByAnother(t *testing.T) {
	s := newSandbox(t)
	var stuck sync.WaitGroup
	for i := range 8 {
		stuck.Go(func() {
			s.want(200, "POST", "/process/execute", fmt.Sprintf(`{"command":"touch stuck%d; until [ -e go ]; do sleep 0.01; done"}`, i), nil)
		})
	}
	eventually(t, "all are stuck", func() bool {
		for i := range 8 {
			if _, err := os.Stat(fmt.Sprintf("%s/stuck%d", s.dir, i)); err != nil {
				return false
			}
		}
		return true
	})
	var got executed
	s.want(200, "POST", "/process/execute", `{"command":"echo free"}`, &got)
	if got.Result != "free\n" {
		t.Errorf("%+v", got)
	}
	s.want(201, "POST", "/process/session", `{"sessionId":"s"}`, nil)
	s.want(200, "POST", "/process/session/s/exec", `{"command":"echo free"}`, nil)
	s.write("go", "")
	stuck.Wait()
}

func TestExecuteHasNoInput(t *testing.T) {
	s := newSandbox(t)
	for _, command := range []string{"cat", "read x; echo $? $x", "python3 -c 'import sys; print(repr(sys.stdin.read()))'", "cat\necho after"} {
		client := &http.Client{Timeout: 20 * time.Second}
		resp, err := client.Do(s.request("POST", "/process/execute", map[string]any{"command": command}))
		if err != nil {
			t.Fatalf("%s waits for input: %v", command, err)
		}
		resp.Body.Close()
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}
