package lsp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// This program is also a language server, when it is run under the name of one.
// Its environment says how it behaves:
//
//	FAKE_LOG   file that gets a line for everything that happens
//	FAKE_MODE  the behaviour, see fake.answer
//	FAKE_ONCE  file; the behaviour is left aside when it exists, else it is made
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "pylsp" {
		f := &fake{in: bufio.NewReader(os.Stdin), mode: os.Getenv("FAKE_MODE"), pending: map[string]string{}}
		if once := os.Getenv("FAKE_ONCE"); once != "" {
			if file, err := os.OpenFile(once, os.O_CREATE|os.O_EXCL, 0o600); err != nil {
				f.mode = ""
			} else {
				file.Close()
			}
		}
		f.run()
		return
	}
	os.Exit(m.Run())
}

type fake struct {
	in      *bufio.Reader
	mode    string
	pending map[string]string // requests of ours: id to method
	replies []string          // answers to them
}

type fakeMessage struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		TextDocument struct {
			URI        string `json:"uri"`
			LanguageID string `json:"languageId"`
			Version    int    `json:"version"`
			Text       string `json:"text"`
		} `json:"textDocument"`
		Position       struct{ Line, Character int } `json:"position"`
		ContentChanges []struct {
			Text string `json:"text"`
		} `json:"contentChanges"`
	} `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func (f *fake) log(format string, args ...any) {
	file, err := os.OpenFile(os.Getenv("FAKE_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintf(file, format+"\n", args...)
}

func (f *fake) send(v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	fmt.Printf("Content-Length: %d\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n%s", len(body), body)
}

func (f *fake) result(m fakeMessage, v any) {
	f.send(map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": v})
}

func (f *fake) run() {
	f.log("started %d", os.Getpid())
	if f.mode == "crash at start" {
		fmt.Fprintln(os.Stderr, "no module named nothing")
		os.Exit(3)
	}
	for {
		length := 0
		for {
			line, err := f.in.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimSpace(line)
			if line == "" {
				break
			}
			if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				length, _ = strconv.Atoi(n)
			}
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(f.in, body); err != nil {
			return
		}
		var m fakeMessage
		if err := json.Unmarshal(body, &m); err != nil {
			panic(err)
		}
		f.take(m)
	}
}

func base(uri string) string { return uri[strings.LastIndex(uri, "/")+1:] }

func (f *fake) take(m fakeMessage) {
	doc := m.Params.TextDocument
	switch m.Method {
	case "initialize":
		if f.mode == "silent at start" {
			return
		}
		f.result(m, map[string]any{"capabilities": map[string]any{}})
		if f.mode == "deaf" {
			select {}
		}
	case "textDocument/didOpen":
		f.log("open %s %s %q", base(doc.URI), doc.LanguageID, doc.Text)
		f.publish(doc.URI, doc.Version, doc.Text)
	case "textDocument/didChange":
		f.log("change %s %q", base(doc.URI), m.Params.ContentChanges[0].Text)
		f.publish(doc.URI, doc.Version, m.Params.ContentChanges[0].Text)
	case "textDocument/didClose":
		f.log("close %s", base(doc.URI))
	case "textDocument/completion":
		f.answer(m)
	case "textDocument/hover":
		f.result(m, map[string]any{"contents": "text"})
	case "":
		f.answered(m)
	}
}

// publish says of a text that it is what it is; an old version of it besides.
func (f *fake) publish(uri string, version int, text string) {
	say := func(version int, message string) {
		f.send(map[string]any{"jsonrpc": "2.0", "method": "textDocument/publishDiagnostics", "params": map[string]any{
			"uri": uri, "version": version, "diagnostics": []any{map[string]any{
				"range":   map[string]any{"start": map[string]int{"line": 0, "character": 0}, "end": map[string]int{"line": 0, "character": 1}},
				"message": message, "severity": 2, "code": 7,
			}},
		}})
	}
	say(version-1, "stale")
	say(version, text)
}

// answer answers a question for completions, with what tells it from others.
func (f *fake) answer(m fakeMessage) {
	line := m.Params.Position.Line
	item := map[string]any{"label": strconv.Itoa(line), "documentation": "text"}
	switch f.mode {
	case "crash":
		fmt.Fprintln(os.Stderr, "Traceback: it broke")
		os.Exit(7)
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "hang":
		return
	case "slow":
		go func() {
			for range time.Tick(20 * time.Millisecond) {
				f.send(map[string]any{"jsonrpc": "2.0", "method": "$/progress", "params": map[string]any{}})
			}
		}()
		return
	case "garbage":
		fmt.Print("Warning: something was printed\n\n")
		return
	case "prints":
		fmt.Print("Warning: something\nwas printed\n")
	case "announce":
		fmt.Print("Content-Length: 99999999999\r\n\r\n{")
		return
	case "half":
		fmt.Print("Content-Length: 100\r\n\r\n{")
		os.Exit(0)
	case "no json":
		fmt.Print("Content-Length: 4\r\n\r\n\xff\x00{}")
		return
	case "refuse":
		f.send(map[string]any{"jsonrpc": "2.0", "id": m.ID, "error": map[string]any{"code": -32603, "message": "no completions today"}})
		return
	case "cannot":
		f.send(map[string]any{"jsonrpc": "2.0", "id": m.ID, "error": map[string]any{"code": -32601, "message": "Method Not Found"}})
		return
	case "big":
		item["detail"] = strings.Repeat("x", 8<<20)
	case "noise":
		noise := strings.Repeat("all is well, all is well, all is well\n", 1000)
		for range 200 {
			fmt.Fprint(os.Stderr, noise)
		}
	case "asks":
		for id, method := range map[string]string{
			"1": "workspace/configuration", "2": "client/registerCapability", "3": "window/workDoneProgress/create",
			"4": "workspace/workspaceFolders", "5": "workspace/applyEdit", "6": "something/else", "7": "window/showDocument",
		} {
			f.pending[id] = method
			f.send(map[string]any{"jsonrpc": "2.0", "id": json.RawMessage(id), "method": method,
				"params": map[string]any{"items": []any{map[string]any{}, map[string]any{}}}})
		}
		f.pending["final"] = string(m.ID)
		return
	case "child":
		// In a session of its own, as a careless program does it.
		cmd := exec.CommandContext(context.Background(), "sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		item["label"] = strconv.Itoa(cmd.Process.Pid)
	}
	f.result(m, []any{item})
}

// answered takes an answer to one of our questions. With the last of them the
// completions are given: the answers.
func (f *fake) answered(m fakeMessage) {
	method, ok := f.pending[string(m.ID)]
	if !ok {
		panic("an answer to no question: " + string(m.ID))
	}
	delete(f.pending, string(m.ID))
	result := string(m.Result)
	if m.Error != nil {
		result = "error " + string(m.Error)
	}
	f.replies = append(f.replies, method+": "+result)
	if len(f.pending) == 1 {
		var items []any
		for _, reply := range f.replies {
			items = append(items, map[string]any{"label": reply})
		}
		f.send(map[string]any{"jsonrpc": "2.0", "id": json.RawMessage(f.pending["final"]), "result": map[string]any{"isIncomplete": true, "items": items}})
	}
}

// fakes is where the fake server lies and what it has said.
type fakes struct {
	t    *testing.T
	dir  string
	env  []string
	file string
}

func newFakes(t *testing.T, mode string) *fakes {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "pylsp")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "log")
	return &fakes{t, dir, []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "FAKE_MODE=" + mode, "FAKE_LOG=" + file}, file}
}

// once makes the behaviour that of the first server only.
func (f *fakes) once() *fakes {
	f.env = append(f.env, "FAKE_ONCE="+filepath.Join(f.dir, "once"))
	return f
}

func (f *fakes) log() []string {
	f.t.Helper()
	text, err := os.ReadFile(f.file)
	if err != nil && !os.IsNotExist(err) {
		f.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// since waits until the server started as the nth has been told n lines, and
// returns them without the numbers of processes.
func (f *fakes) told(start, n int) []string {
	f.t.Helper()
	var lines []string
	f.eventually(fmt.Sprintf("server %d is told %d things", start, n), func() bool {
		lines = nil
		seen := 0
		for _, line := range f.log() {
			if strings.HasPrefix(line, "started") {
				seen++
			} else if seen == start {
				lines = append(lines, line)
			}
		}
		return seen >= start && len(lines) >= n
	})
	return lines
}

// pids are the processes of the servers, in the order of their starts.
func (f *fakes) pids() []int {
	f.t.Helper()
	var all []int
	for _, line := range f.log() {
		if pid, ok := strings.CutPrefix(line, "started "); ok {
			n, err := strconv.Atoi(pid)
			if err != nil {
				f.t.Fatal(err)
			}
			all = append(all, n)
		}
	}
	return all
}

func (f *fakes) eventually(what string, done func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: not in time; the log is %q", what, f.log())
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
