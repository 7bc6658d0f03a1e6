package session

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// left is a command that starts processes of every kind, which write their
// numbers to files.
const left = `sleep 1000 & echo $! > plain
setsid sh -c 'echo $$ > leader; sleep 1000 & echo $! > below; wait' &
(setsid sh -c 'sleep 1000 & echo $! > orphan' &)
sh -c 'trap "" TERM; echo $$ > stubborn; while :; do sleep 0.05; done' & disown
until [ -s plain ] && [ -s leader ] && [ -s below ] && [ -s orphan ] && [ -s stubborn ]; do sleep 0.01; done
`

func TestDeleteEndsEverything(t *testing.T) {
	b := newBox(t)
	b.create("s")
	b.create("bystander")
	b.run("bystander", "sleep 1000 & echo $! > bystander")
	var wait sync.WaitGroup
	waiting := make(chan struct{})
	wait.Go(func() {
		close(waiting)
		b.wantError(400, "SESSION_ENDED", "deleted", "POST", "/process/session/s/exec", map[string]any{"command": left + "echo all > ready; wait"})
	})
	<-waiting
	eventually(t, "everything has been started", func() bool {
		_, err := os.Stat(b.dir + "/work/ready")
		return err == nil
	})
	var session sessionReply
	b.want(200, "GET", "/process/session/s", nil, &session)
	queued := b.begin("s", "echo never")
	var followed sync.WaitGroup
	for _, id := range []string{session.Commands[0].ID, queued} {
		conn := b.dial("/process/session/s/command/" + id + "/logs?follow=true")
		followed.Go(func() {
			if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != 1000 {
				t.Errorf("a follower's socket was closed with %v", err)
			}
		})
	}
	pids := map[string]int{}
	for _, file := range []string{"plain", "leader", "below", "orphan", "stubborn"} {
		pids[file] = b.pidIn(file)
	}
	b.want(204, "DELETE", "/process/session/s", nil, nil)
	for file, pid := range pids {
		if alive(pid) {
			t.Errorf("%s: %d lives on", file, pid)
		}
	}
	if !alive(b.pidIn("bystander")) {
		t.Error("a process of another session was ended")
	}
	wait.Wait()
	followed.Wait()
	if entries, err := os.ReadDir(b.logs); err != nil || len(entries) != 1 {
		t.Errorf("on disk: %v %v", entries, err)
	}
	if entries, err := filepath.Glob(b.dir + "/pipes/*/*"); err != nil || len(entries) != 0 {
		t.Errorf("pipes: %v %v", entries, err)
	}
	b.create("s")
	if got := b.run("s", "echo fresh"); *got.Output != "fresh\n" {
		t.Errorf("%+v", got)
	}
}

func TestALeftProcessDoesNotHoldTheAnswer(t *testing.T) {
	b := newBox(t)
	b.create("s")
	got := b.run("s", `(until [ -e go ]; do sleep 0.01; done; echo late; sleep 0.1; echo later >&2; sleep 1000) & echo front`)
	if *got.Output != "front\n" {
		t.Errorf("%+v", got)
	}
	// What it prints meanwhile goes to its own command's log, not to another's.
	if got := b.run("s", "touch go; sleep 0.3; echo second"); *got.Output != "second\n" {
		t.Errorf("%q", *got.Output)
	}
	body := ""
	eventually(t, "the late output is in the log", func() bool {
		_, body = b.do("GET", "/process/session/s/command/"+got.CmdID+"/logs", nil)
		return body == "front\nlate\nlater\n"
	})
	// A follower is let go although that process lives.
	frames, code := b.follow("/process/session/s/command/" + got.CmdID + "/logs?follow=true")
	if string(join(frames)) != "front\nlate\nlater\n" || code != 1000 {
		t.Errorf("%q %d", join(frames), code)
	}
}

func TestALostConnectionLosesNothing(t *testing.T) {
	b := newBox(t)
	b.create("s")
	impatient := &http.Client{Timeout: 200 * time.Millisecond}
	resp, err := impatient.Do(b.request(t.Context(), "POST", "/process/session/s/exec", `{"command":"echo begun; until [ -e go ]; do sleep 0.01; done; echo done; (exit 4)"}`))
	if err == nil {
		resp.Body.Close()
		t.Fatal("the command ended at once")
	}
	if err := os.WriteFile(b.dir+"/work/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var session sessionReply
	b.want(200, "GET", "/process/session/s", nil, &session)
	if len(session.Commands) != 1 {
		t.Fatalf("%+v", session)
	}
	c := b.finished("s", session.Commands[0].ID)
	if *c.ExitCode != 4 || c.Cause != "exit" {
		t.Errorf("%+v", c)
	}
	if _, body := b.do("GET", "/process/session/s/command/"+c.ID+"/logs", nil); body != "begun\ndone\n" {
		t.Errorf("log %q", body)
	}
}

func TestInput(t *testing.T) {
	b := newBox(t)
	b.create("s")
	send := func(id, data string) { // with or without its newline
		b.want(204, "POST", "/process/session/s/command/"+id+"/input", map[string]any{"data": data}, nil)
	}
	id := b.begin("s", "read -r a; read -r b; echo $a-$b")
	send(id, "one")
	send(id, "two\n")
	b.finished("s", id)
	if _, body := b.do("GET", "/process/session/s/command/"+id+"/logs", nil); body != "one\ntwo\none-two\n" {
		t.Errorf("echoed: %q", body)
	}
	b.wantError(410, "COMMAND_ALREADY_COMPLETED", "completed", "POST", "/process/session/s/command/"+id+"/input", `{"data":"x"}`)
	b.wantError(400, "BAD_REQUEST", "data is required", "POST", "/process/session/s/command/"+id+"/input", `{}`)

	var quiet execReply
	b.want(202, "POST", "/process/session/s/exec", `{"command":"read -r a; echo [$a]","async":true,"suppressInputEcho":true}`, &quiet)
	send(quiet.CmdID, "secret")
	b.finished("s", quiet.CmdID)
	if _, body := b.do("GET", "/process/session/s/command/"+quiet.CmdID+"/logs", nil); body != "[secret]\n" {
		t.Errorf("not echoed: %q", body)
	}

	// More than a pipe holds, to a command that takes its time.
	big := strings.Repeat("0123456789abcdef", 1<<16)
	id = b.begin("s", "sleep 0.1; head -c 1048577 | wc -c")
	send(id, big)
	b.finished("s", id)
	if _, body := b.do("GET", "/process/session/s/command/"+id+"/logs", nil); !strings.HasSuffix(body, "\n1048577\n") {
		t.Errorf("%d bytes, ends in %.40q", len(body), body[max(0, len(body)-40):])
	}
	got := b.run("s", "cat; echo at the end")
	if *got.Output != "at the end\n" {
		t.Errorf("a synchronous command's input: %+v", got)
	}
	b.wantError(410, "COMMAND_ALREADY_COMPLETED", "completed", "POST", "/process/session/s/command/"+got.CmdID+"/input", `{"data":"x"}`)
}

// A stop of the sandbox leaves the disk and nothing else.
func TestWhatIsLeftOfAnEarlierRun(t *testing.T) {
	b := newBox(t)
	b.create("s")
	b.create("other")
	done := b.run("s", "echo out; echo err >&2; (exit 6)")
	running := b.begin("s", "echo running; read x")
	eventually(t, "it has printed", func() bool {
		_, body := b.do("GET", "/process/session/s/command/"+running+"/logs", nil)
		return body == "running\n"
	})
	config := b.s.Config
	// A copy, since the first service tidies up when the test ends.
	if err := os.CopyFS(b.dir+"/copy", os.DirFS(b.logs)); err != nil {
		t.Fatal(err)
	}
	config.Dirs = []string{b.dir + "/copy"}
	b.start(config)
	_, list := b.do("GET", "/process/session", nil)
	if strings.TrimSpace(list) != "[]" {
		t.Errorf("list: %s", list)
	}
	var session sessionReply
	b.want(200, "GET", "/process/session/s", nil, &session)
	if len(session.Commands) != 2 || *session.Commands[0].ExitCode != 6 || session.Commands[0].Command != "echo out; echo err >&2; (exit 6)" ||
		session.Commands[1].Cause != "sandboxStopped" || *session.Commands[1].ExitCode != 137 {
		t.Errorf("%+v", session)
	}
	if c := b.command("s", done.CmdID); *c.ExitCode != 6 || c.Cause != "exit" {
		t.Errorf("%+v", c)
	}
	var logs struct{ Stdout, Stderr string }
	b.want(200, "GET", "/process/session/s/command/"+done.CmdID+"/logs", nil, &logs, newest...)
	if logs.Stdout != "out\n" || logs.Stderr != "err\n" {
		t.Errorf("%+v", logs)
	}
	if frames, code := b.follow("/process/session/s/command/" + running + "/logs?follow=true"); string(join(frames)) != "running\n" || code != 1000 {
		t.Errorf("%q %d", join(frames), code)
	}
	b.wantError(410, "SESSION_ENDED", "sandbox stopped", "POST", "/process/session/s/exec", `{"command":"echo"}`)
	b.wantError(410, "COMMAND_ALREADY_COMPLETED", "completed", "POST", "/process/session/s/command/"+running+"/input", `{"data":"x"}`)
	b.want(204, "DELETE", "/process/session/s", nil, nil)
	b.wantError(404, "NOT_FOUND", "session", "GET", "/process/session/s", nil)
	b.create("other")
	if got := b.run("other", "echo new"); *got.Output != "new\n" {
		t.Errorf("%+v", got)
	}
}

// Commands that end because the sandbox does are told apart from others.
func TestTheSandboxStops(t *testing.T) {
	b := newBox(t)
	b.create("s")
	id := b.begin("s", "echo $$ > pid; sleep 1000")
	pid := b.pidIn("pid")
	b.s.Space.Stop()
	if err := syscall.Kill(-pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if c := b.finished("s", id); c.Cause != "sandboxStopped" || *c.ExitCode != 143 {
		t.Errorf("%+v", c)
	}
}

// The shell's pipe for reports can be found and written to by those it reports
// on. They fool themselves and nobody else.
func TestForgedReports(t *testing.T) {
	b := newBox(t)
	b.create("s")
	x, _ := b.s.find("s")
	noise := []string{
		"", "\n", "noise", string(x.cookie), string(x.cookie) + " ", string(x.cookie) + " x 0", string(x.cookie) + " x y z",
		string(x.cookie) + " x 99999999999999999999", strings.Repeat("long", 20000), "\x00\xff",
	}
	for _, text := range noise {
		x.line([]byte(text))
	}
	id := b.begin("s", "read x; echo $x")
	for _, text := range noise {
		x.line([]byte(text))
	}
	if c := b.command("s", id); c.ExitCode != nil {
		t.Errorf("%+v", c)
	}
	b.want(204, "POST", "/process/session/s/command/"+id+"/input", `{"data":"end"}`, nil)
	if c := b.finished("s", id); *c.ExitCode != 0 {
		t.Errorf("%+v", c)
	}
	if got := b.run("s", "echo next"); *got.Output != "next\n" {
		t.Errorf("%+v", got)
	}
}

func FuzzReports(f *testing.F) {
	f.Add([]byte("\ncookie id 3\nrest"), uint8(4))
	f.Fuzz(func(t *testing.T, text []byte, step uint8) {
		var lines splitter
		var got []byte
		take := func(line []byte) { got = append(append(got, line...), '\n') }
		for i := 0; i < len(text); i += int(step) + 1 {
			lines.feed(text[i:min(len(text), i+int(step)+1)], take)
		}
		got = append(got, lines.rest...)
		if len(text) < 16<<10 && !bytes.Equal(got, text) {
			t.Errorf("%q became %q", text, got)
		}
	})
}
