package session

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestStateLastsFromCommandToCommand(t *testing.T) {
	b := newBox(t)
	b.create("s")
	for _, step := range []struct {
		command  string
		code     int
		out, err string
	}{
		{"pwd", 0, b.dir + "/work\n", ""},
		{"mkdir d; cd d", 0, "", ""},
		{"pwd", 0, b.dir + "/work/d\n", ""},
		{"export A=1; B=2", 0, "", ""},
		{"echo $A$B; sh -c 'echo $A$B'", 0, "12\n1\n", ""},
		{"f() { echo f:$1; return 7; }", 0, "", ""},
		{"f x", 7, "f:x\n", ""},
		{"echo out; echo err >&2; false", 1, "out\n", "err\n"},
		{"(exit 42)", 42, "", ""},
		{"return 5; echo not reached", 5, "", ""},
		{"printf 'no newline'", 0, "no newline", ""},
		{"cat; read x; echo $?", 0, "1\n", ""},
		{"cat <<'X'\na $B 'b' \"c\"\nX", 0, "a $B 'b' \"c\"\n", ""},
		{"cat <<X\n$A\nX\necho \"two\nlines\"", 0, "1\ntwo\nlines\n", ""},
		{"printf '%s|' \"a b\" 'c\"d' $((1+2)) \"$(echo sub)\" \\\\", 0, "a b|c\"d|3|sub|\\|", ""},
		{"printf 'ünïcödé ☃ 漢字 \\377'", 0, "ünïcödé ☃ 漢字 \ufffd", ""},
		{"echo x | tr x y; exec 2>&1", 0, "y\n", ""},
		{"echo err >&2", 0, "", "err\n"},
		{"exec >/dev/null; echo hidden", 0, "", ""},
		{"echo shown", 0, "shown\n", ""},
		{"echo() { :; }; printf() { :; }; command printf 'still here\\n'", 0, "still here\n", ""},
		{"unset -f echo printf; kill -9 $BASHPID 2>/dev/null & wait $! 2>/dev/null", 137, "", ""},
		{"set -u", 0, "", ""},
		{"set +u; for i in {1..3}; do (( i % 2 )) && echo $i; done", 0, "1\n3\n", ""},
	} {
		got := b.run("s", step.command)
		if *got.ExitCode != step.code || *got.Stdout != step.out || *got.Stderr != step.err {
			t.Errorf("%s: exit %d, stdout %q, stderr %q; want %d, %q, %q", step.command,
				*got.ExitCode, *got.Stdout, *got.Stderr, step.code, step.out, step.err)
		}
	}
	got := b.run("s", "echo 'unterminated")
	if *got.ExitCode == 0 || !strings.Contains(*got.Stderr, "unexpected EOF") {
		t.Errorf("a quote without end: %+v", got)
	}
	if got := b.run("s", "echo $A"); *got.Stdout != "1\n" {
		t.Errorf("the shell did not survive it: %+v", got)
	}
	var session sessionReply
	b.want(200, "GET", "/process/session/s", nil, &session)
	if len(session.Commands) != 26 || session.Commands[0].Command != "pwd" || session.Commands[0].ID == "" || *session.Commands[6].ExitCode != 7 {
		t.Errorf("%+v", session)
	}
}

func TestSignalsAreTold(t *testing.T) {
	b := newBox(t)
	b.create("s")
	if got := b.run("s", "sh -c 'kill -9 $$'"); *got.ExitCode != 137 || got.Cause != "signal" || got.Signal != "SIGKILL" {
		t.Errorf("%+v", got)
	}
	if got := b.run("s", "exit 3 | cat; (exit 3)"); *got.ExitCode != 3 || got.Cause != "exit" || got.Signal != "" {
		t.Errorf("%+v", got)
	}
}

func TestALongCommand(t *testing.T) {
	b := newBox(t)
	b.create("s")
	text := strings.Repeat("x", 1<<20)
	if got := b.run("s", "v='"+text+"'; echo ${#v}"); *got.Stdout != "1048576\n" {
		t.Errorf("%.100q", *got.Stdout)
	}
	lines := strings.Repeat("echo line\n", 20000)
	got := b.run("s", "cat <<'END' | wc -l\n"+lines+"END")
	if *got.Stdout != "20000\n" {
		t.Errorf("%.100q", *got.Stdout)
	}
	// A list shows the beginning, the command itself shows everything.
	var session sessionReply
	b.want(200, "GET", "/process/session/s", nil, &session)
	if n := len(session.Commands[0].Command); n > shownText+3 {
		t.Errorf("the list shows %d bytes", n)
	}
	if c := b.command("s", session.Commands[0].ID); c.Command != "v='"+text+"'; echo ${#v}" {
		t.Errorf("the command shows %d bytes", len(c.Command))
	}
}

func TestCreateListDelete(t *testing.T) {
	b := newBox(t)
	status, body := b.do("GET", "/process/session", nil)
	if status != 200 || strings.TrimSpace(body) != "[]" {
		t.Errorf("%d %s", status, body)
	}
	odd := []string{"a", "b c/../d", "ünï", "..", strings.Repeat("long", 250)}
	for _, id := range odd {
		b.create(id)
		b.wantError(409, "CONFLICT", "session already exists", "POST", "/process/session", map[string]any{"sessionId": id})
	}
	var list []sessionReply
	b.want(200, "GET", "/process/session", nil, &list)
	if len(list) != len(odd) || list[0].Commands == nil {
		t.Errorf("%+v", list)
	}
	b.want(204, "DELETE", "/process/session/b%20c%2F..%2Fd", nil, nil)
	b.wantError(404, "NOT_FOUND", "session not found", "GET", "/process/session/b%20c%2F..%2Fd", nil)
	b.wantError(404, "NOT_FOUND", "session not found", "DELETE", "/process/session/nope", nil)
	b.wantError(404, "NOT_FOUND", "session not found", "POST", "/process/session/nope/exec", `{"command":"x"}`)
	b.wantError(404, "NOT_FOUND", "command not found", "GET", "/process/session/a/command/nope", nil)
	b.wantError(404, "NOT_FOUND", "command not found", "GET", "/process/session/a/command/nope/logs", nil)
	b.wantError(400, "BAD_REQUEST", "reserved", "POST", "/process/session", `{"sessionId":"entrypoint"}`)
	b.wantError(400, "BAD_REQUEST", "sessionId is required", "POST", "/process/session", `{}`)
	b.wantError(400, "INVALID_REQUEST_BODY", "sessionId", "POST", "/process/session", `{"sessionId":1}`)
	b.wantError(400, "BAD_REQUEST", "command cannot be empty", "POST", "/process/session/a/exec", `{"command":" \n"}`)
	b.wantError(400, "BAD_REQUEST", "NUL", "POST", "/process/session/a/exec", `{"command":"a\u0000b"}`)
}

func TestExitEndsTheSession(t *testing.T) {
	b := newBox(t)
	b.create("s")
	b.run("s", "echo before")
	b.wantError(400, "SESSION_ENDED", "session cancelled", "POST", "/process/session/s/exec", `{"command":"echo last; exit 42"}`)
	b.wantError(400, "SESSION_ENDED", "session cancelled", "POST", "/process/session/s/exec", `{"command":"echo"}`)
	var session sessionReply
	b.want(200, "GET", "/process/session/s", nil, &session)
	if len(session.Commands) != 2 || *session.Commands[1].ExitCode != 42 {
		t.Errorf("%+v", session)
	}
	if _, body := b.do("GET", "/process/session/s/command/"+session.Commands[1].ID+"/logs", nil); body != "last\n" {
		t.Errorf("log %q", body)
	}
	b.want(204, "DELETE", "/process/session/s", nil, nil)
	b.create("s")
	if got := b.run("s", "echo again"); *got.Output != "again\n" {
		t.Errorf("%+v", got)
	}
}

func TestCommandsOfASessionWaitForEachOther(t *testing.T) {
	b := newBox(t)
	b.create("s")
	b.create("other")
	first := b.begin("s", "read x; echo got $x")
	second := b.begin("s", "echo second; exit 9")
	third := b.begin("s", "echo third")
	if c := b.command("s", second); c.ExitCode != nil {
		t.Errorf("%+v", c)
	}
	// One that is stuck does not concern another session.
	if got := b.run("other", "echo free"); *got.Output != "free\n" {
		t.Errorf("%+v", got)
	}
	b.wantError(409, "CONFLICT", "not started", "POST", "/process/session/s/command/"+second+"/input", `{"data":"x"}`)
	b.want(204, "POST", "/process/session/s/command/"+first+"/input", `{"data":"x"}`, nil)
	if c := b.finished("s", first); *c.ExitCode != 0 {
		t.Errorf("%+v", c)
	}
	if c := b.finished("s", second); *c.ExitCode != 9 {
		t.Errorf("%+v", c)
	}
	if c := b.finished("s", third); c.Cause != "sessionEnded" || *c.ExitCode != -1 {
		t.Errorf("%+v", c)
	}
}

func TestFormats(t *testing.T) {
	b := newBox(t)
	b.create("s")
	// The order is certain only if the streams are not used at the same moment.
	command := "echo out; sleep 0.2; echo err >&2; sleep 0.2; echo end"
	const plain, marked = "out\nerr\nend\n", "\x01\x01\x01out\n\x02\x02\x02err\n\x01\x01\x01end\n"
	for name, test := range map[string]struct {
		headers    []string
		output     string
		split      bool
		json       bool
		bodyOutput string
		frames     string
	}{
		"bare":          {bare, plain, false, false, plain, plain},
		"docs era":      {docs, plain, false, false, plain, plain},
		"asks to split": {append([]string{"X-Daytona-Split-Output", "true"}, docs...), marked, false, false, marked, marked},
		"0.27.1":        {middle, marked, false, false, marked, marked},
		"0.190":         {newest, plain, true, true, plain, marked},
		"no release":    {[]string{"X-Daytona-SDK-Version", "0.0.0-dev"}, plain, true, true, plain, marked},
	} {
		t.Run(name, func(t *testing.T) {
			var got execReply
			b.want(200, "POST", "/process/session/s/exec", map[string]any{"command": command}, &got, test.headers...)
			if *got.Output != test.output || (got.Stdout != nil) != test.split || (got.Stderr != nil) != test.split || *got.ExitCode != 0 || got.CmdID == "" {
				t.Errorf("exec: %+v output %q", got, *got.Output)
			}
			if test.split && (*got.Stdout != "out\nend\n" || *got.Stderr != "err\n") {
				t.Errorf("exec: %q %q", *got.Stdout, *got.Stderr)
			}
			path := "/process/session/s/command/" + got.CmdID + "/logs"
			status, body := b.do("GET", path, nil, test.headers...)
			want := test.bodyOutput
			if test.json {
				want = `{"output":"out\nerr\nend\n","stdout":"out\nend\n","stderr":"err\n"}` + "\n"
			}
			if status != 200 || body != want {
				t.Errorf("logs: %d %q", status, body)
			}
			if _, body := b.do("GET", path+"?follow=true", nil, test.headers...); body != test.frames {
				t.Errorf("followed over HTTP: %q", body)
			}
			for _, query := range []string{"", "?follow=true"} {
				frames, code := b.follow(path+query, test.headers...)
				if all := string(join(frames)); all != test.frames || code != 1000 {
					t.Errorf("WebSocket%s: %q, closed with %d", query, all, code)
				}
			}
		})
	}
}

func join(frames [][]byte) (all []byte) {
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}

func TestOtherShells(t *testing.T) {
	for _, shell := range []string{"/bin/zsh", "/bin/dash", "/bin/busybox"} {
		t.Run(filepath.Base(shell), func(t *testing.T) {
			path := shell
			if _, err := os.Stat(path); err != nil {
				t.Skip("not installed")
			}
			if filepath.Base(shell) == "busybox" { // it looks at its name
				path = filepath.Join(t.TempDir(), "sh")
				if err := os.Symlink(shell, path); err != nil {
					t.Fatal(err)
				}
			}
			list := filepath.Join(t.TempDir(), "shells")
			if err := os.WriteFile(list, []byte(path+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			b := newBox(t, func(c *Config) {
				c.Space.ShellList = list
				c.Space.Env.Set(map[string]string{"SHELL": path})
			})
			b.create("s")
			for _, step := range []struct {
				command  string
				code     int
				out, err string
			}{
				{"cd /; A=1; f() { echo f$A; }", 0, "", ""},
				{"pwd; f; echo err >&2", 0, "/\nf1\n", "err\n"},
				{"cat; (exit 3)", 3, "", ""},
				{"echo() { :; }; printf() { :; }", 0, "", ""},
			} {
				got := b.run("s", step.command)
				if *got.ExitCode != step.code || *got.Stdout != step.out || *got.Stderr != step.err {
					t.Errorf("%s: exit %d, stdout %q, stderr %q", step.command, *got.ExitCode, *got.Stdout, *got.Stderr)
				}
			}
			if got := b.run("s", "unset -f echo printf\nif then"); *got.ExitCode == 0 || *got.Stderr == "" {
				t.Errorf("wrong syntax: %+v", got)
			}
			if got := b.run("s", "f"); *got.Stdout != "f1\n" {
				t.Errorf("the shell did not survive it: %+v", got)
			}
			b.wantError(400, "SESSION_ENDED", "session cancelled", "POST", "/process/session/s/exec", `{"command":"exit 3"}`)
		})
	}
}

func TestWhereSessionsStart(t *testing.T) {
	b := newBox(t)
	for name, test := range map[string]struct {
		headers []string
		want    string
	}{
		"newest":         {newest, "/work"},
		"0.103":          {[]string{"X-Daytona-SDK-Version", "0.103.0"}, "/work"},
		"0.27":           {middle, "/home"},
		"docs era":       {docs, "/home"},
		"bare":           {bare, "/work"},
		"bare, API path": {[]string{"X-Daytona-Toolbox-Path", "api"}, "/home"},
	} {
		t.Run(name, func(t *testing.T) {
			b.want(201, "POST", "/process/session", map[string]any{"sessionId": name}, nil, test.headers...)
			if got := b.run(url.PathEscape(name), "pwd"); *got.Output != b.dir+test.want+"\n" {
				t.Errorf("%q", *got.Output)
			}
		})
	}
	if err := os.RemoveAll(b.dir + "/work"); err != nil {
		t.Fatal(err)
	}
	b.create("gone")
	if got := b.run("gone", "pwd"); *got.Output != b.dir+"/home\n" {
		t.Errorf("without a work directory: %q", *got.Output)
	}
}

func TestOldCommandsAreForgotten(t *testing.T) {
	b := newBox(t)
	b.create("s")
	x, _ := b.s.find("s")
	first := b.run("s", "echo first").CmdID
	for range keptCommands {
		c, err := x.exec(":", false, false)
		if err != nil {
			t.Fatal(err)
		}
		<-c.done
	}
	var session sessionReply
	b.want(200, "GET", "/process/session/s", nil, &session)
	if len(session.Commands) != keptCommands {
		t.Errorf("%d commands", len(session.Commands))
	}
	b.wantError(404, "NOT_FOUND", "command not found", "GET", "/process/session/s/command/"+first, nil)
	if entries, err := os.ReadDir(b.logs + "/s"); err != nil || len(entries) != keptCommands {
		t.Errorf("%d on disk, %v", len(entries), err)
	}
}

func TestCreateAndDeleteAtOnce(t *testing.T) {
	b := newBox(t)
	for range 10 {
		var made, deleted atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if status, _ := b.do("POST", "/process/session", `{"sessionId":"s"}`); status == 201 {
					made.Add(1)
				} else if status != 409 {
					t.Errorf("create: %d", status)
				}
			})
		}
		all.Wait()
		if made.Load() != 1 {
			t.Fatalf("%d were created", made.Load())
		}
		for range 4 {
			all.Go(func() {
				if status, _ := b.do("DELETE", "/process/session/s", nil); status == 204 {
					deleted.Add(1)
				} else if status != 404 {
					t.Errorf("delete: %d", status)
				}
			})
			all.Go(func() {
				if status, body := b.do("POST", "/process/session/s/exec", `{"command":"echo"}`); status != 200 && status != 404 && status != 400 && status != 410 {
					t.Errorf("exec: %d %s", status, body)
				}
			})
		}
		all.Wait()
		if deleted.Load() != 1 {
			t.Fatalf("%d deleted it", deleted.Load())
		}
	}
}

func TestAShellThatCannotBeStarted(t *testing.T) {
	b := newBox(t)
	shell := b.dir + "/broken"
	if err := os.WriteFile(shell, []byte("#!/no/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	list := b.dir + "/shells"
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.s.Space.ShellList = list
	b.s.Space.Env.Set(map[string]string{"SHELL": shell})
	b.wantError(422, "UNPROCESSABLE_ENTITY", "cannot start the session's shell", "POST", "/process/session", `{"sessionId":"s"}`)
	b.wantError(404, "NOT_FOUND", "session not found", "GET", "/process/session/s", nil)
}
