package interpreter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"daytona/toolbox/interpreter"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

// server is a service on a directory of its own.
type server struct {
	t        *testing.T
	url, dir string
	table    *reaper.Table
}

func newServer(t *testing.T) *server {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	table := reaper.New()
	env := launch.NewEnviron([]string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + dir})
	s := interpreter.New(interpreter.Config{
		Space: &launch.Space{Table: table, Env: env, WorkDir: dir},
		Log:   slog.New(slog.DiscardHandler),
	})
	mux := http.NewServeMux()
	for _, route := range s.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler(w, r); err != nil {
				body := wire.Describe(err, r, time.Now())
				_ = wire.JSON(w, body.StatusCode, body)
			}
		})
	}
	listener := httptest.NewServer(mux)
	t.Cleanup(func() {
		listener.Close()
		table.SignalAll(9)
	})
	return &server{t, listener.URL, dir, table}
}

// do sends a request and decodes the answer.
func (s *server) do(method, path string, body any) (int, map[string]any) {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		s.t.Fatalf("%s %s: %q", method, path, raw)
	}
	return resp.StatusCode, got
}

// context makes a context and returns its id.
func (s *server) context(body map[string]any) string {
	s.t.Helper()
	status, got := s.do("POST", "/process/interpreter/context", body)
	if status != 200 {
		s.t.Fatalf("context: %d %v", status, got)
	}
	return got["id"].(string)
}

type frame struct {
	Type, Text, Name, Value, Traceback string
	Chart, Data                        map[string]any
}

// socket is a client's connection.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
}

func (s *server) dial(first any) *socket {
	s.t.Helper()
	conn, _, err := websocket.Dial(s.t.Context(), s.url+"/process/interpreter/execute", nil) //nolint:bodyclose // there is none after a handshake
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(64 << 20)
	c := &socket{s.t, conn}
	if first != nil {
		c.say(first)
	}
	return c
}

func (c *socket) say(message any) {
	c.t.Helper()
	b, err := json.Marshal(message)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, b); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next frame, or how the socket was closed.
func (c *socket) next() (frame, *websocket.CloseError) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	kind, b, err := c.conn.Read(ctx)
	if closed, ok := errors.AsType[websocket.CloseError](err); ok {
		return frame{}, &closed
	}
	if err != nil {
		c.t.Fatal(err)
	}
	var f frame
	if err := json.Unmarshal(b, &f); err != nil || kind != websocket.MessageText {
		c.t.Fatalf("%v: %s", err, b)
	}
	return f, nil
}

// awaits waits until a text was printed.
func (c *socket) awaits(want string) {
	c.t.Helper()
	printed := ""
	for printed != want {
		f, closed := c.next()
		if closed != nil || f.Type != "stdout" || !strings.HasPrefix(want, printed+f.Text) {
			c.t.Fatalf("after %q: %+v %v", printed, f, closed)
		}
		printed += f.Text
	}
}

// outcome is all that came on a socket.
type outcome struct {
	stdout, stderr, control string
	failure                 *frame
	frames                  []frame
	code                    websocket.StatusCode
	reason                  string
}

func (c *socket) rest() outcome {
	c.t.Helper()
	var o outcome
	for {
		f, closed := c.next()
		if closed != nil {
			o.code, o.reason = closed.Code, closed.Reason
			return o
		}
		o.frames = append(o.frames, f)
		switch f.Type {
		case "stdout":
			o.stdout += f.Text
		case "stderr":
			o.stderr += f.Text
		case "control":
			o.control += f.Text
		case "error":
			o.failure = &f
		}
	}
}

type message = map[string]any

// run runs code that must end as it should.
func (s *server) run(code string, more ...message) outcome {
	s.t.Helper()
	first := message{"code": code}
	for _, m := range more {
		for k, v := range m {
			first[k] = v
		}
	}
	o := s.dial(first).rest()
	if o.code != websocket.StatusNormalClosure || o.control != "completed" {
		s.t.Fatalf("%q: closed with %d %q, control %q, %+v", code, o.code, o.reason, o.control, o.frames)
	}
	return o
}

// prints runs code and checks what it prints.
func (s *server) prints(want, code string, more ...message) {
	s.t.Helper()
	if o := s.run(code, more...); o.stdout != want || o.failure != nil {
		s.t.Errorf("%q printed %q, want %q; stderr %q, error %+v", code, o.stdout, want, o.stderr, o.failure)
	}
}

func TestStateIsKeptAndContextsAreApart(t *testing.T) {
	s := newServer(t)
	s.run("x = 1\ndef f(n):\n    return n + x")
	s.run("from __future__ import annotations\nimport math")
	s.prints("3 4\n", "print(f(2), math.ceil(3.5))")
	s.prints("__main__ ['-'] False\n", "import sys\nprint(__name__, sys.argv, '__file__' in globals())")
	s.prints("", "1 + 1") // no echo
	s.prints("{'a': 'NoSuch'}\n", "def g(a: NoSuch): pass\nprint(g.__annotations__)")
	s.prints("[]\n", "print([n for n in globals() if n.startswith('_toolbox')])")

	other := s.context(message{})
	s.prints("False\n", "print('x' in globals())", message{"contextId": other})
	s.prints("2\n", "x = 2; print(x)", message{"contextId": other})
	s.prints("1\n", "print(x)", message{"contextId": "default"})
}

func TestContextsAreManaged(t *testing.T) {
	s := newServer(t)
	if err := os.Mkdir(filepath.Join(s.dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.run("pass")
	status, got := s.do("POST", "/process/interpreter/context", message{"cwd": "sub"})
	id, _ := got["id"].(string)
	if status != 200 || id == "" || got["cwd"] != s.dir+"/sub" || got["language"] != "python" || got["active"] != true {
		t.Fatalf("%d %v", status, got)
	}
	if _, err := time.Parse(time.RFC3339, got["createdAt"].(string)); err != nil {
		t.Error(err)
	}
	s.prints(s.dir+"/sub\n", "import os; print(os.getcwd())", message{"contextId": id})
	status, got = s.do("GET", "/process/interpreter/context", nil)
	list, _ := got["contexts"].([]any)
	if status != 200 || len(list) != 1 || list[0].(map[string]any)["id"] != id {
		t.Errorf("%d %v", status, got)
	}
	for _, test := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"DELETE", "/context/default", nil, 400},
		{"DELETE", "/context/unknown", nil, 404},
		{"POST", "/context", message{"language": "cobol"}, 400},
		{"POST", "/context", message{"cwd": "/no/such/dir"}, 400},
		{"POST", "/context/" + id + "/interrupt", nil, 409},
		{"POST", "/context/unknown/interrupt", nil, 404},
		{"GET", "/execute", nil, 400},
		{"DELETE", "/context/" + id, nil, 200},
		{"DELETE", "/context/" + id, nil, 404},
	} {
		if status, got := s.do(test.method, "/process/interpreter"+test.path, test.body); status != test.status || got["message"] == "" {
			t.Errorf("%s %s: %d %v", test.method, test.path, status, got)
		}
	}
	if _, got = s.do("GET", "/process/interpreter/context", nil); len(got["contexts"].([]any)) != 0 {
		t.Errorf("after deletion: %v", got)
	}
	o := s.dial(message{"code": "1", "contextId": id}).rest()
	if o.code != 1008 || o.reason != "context not found: "+id {
		t.Errorf("%d %q", o.code, o.reason)
	}
}

func TestOutputIsShownWhileItRuns(t *testing.T) {
	s := newServer(t)
	gate := filepath.Join(s.dir, "gate")
	c := s.dial(message{"code": `
import os, sys, time
print("first")
while not os.path.exists("gate"): time.sleep(0.01)
print("to stderr", file=sys.stderr)
os.system("echo from a child")
os.write(1, b"raw \xe2\x98")
os.write(1, b"\x83 \xff\n")
print("no end of line", end="")
`})
	c.awaits("first\n")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := c.rest()
	if want := "from a child\nraw ☃ \uFFFD\nno end of line"; o.stdout != want || o.stderr != "to stderr\n" || o.code != 1000 {
		t.Errorf("stdout %q, want %q; stderr %q; closed with %d", o.stdout, want, o.stderr, o.code)
	}
	o = s.run("for i in range(100000): print('line', i)")
	if lines := strings.Split(o.stdout, "\n"); len(lines) != 100001 || lines[99999] != "line 99999" {
		t.Errorf("%d lines", len(lines))
	}
}

func TestErrors(t *testing.T) {
	s := newServer(t)
	for _, test := range []struct {
		code, name, value string
		trace             []string // parts of it, in order
	}{
		{"def f():\n    raise ValueError('boom ☃')\nf()", "ValueError", "boom ☃", []string{
			"Traceback (most recent call last):\n  File \"<cell 1>\", line 3, in <module>\n    f()\n",
			"  File \"<cell 1>\", line 2, in f\n    raise ValueError('boom ☃')\n", "ValueError: boom ☃\n"}},
		{"1 +", "SyntaxError", "invalid syntax (<cell 2>, line 1)", []string{`File "<cell 2>", line 1`, "1 +", "SyntaxError: invalid syntax\n"}},
		{"f()", "ValueError", "boom ☃", []string{`File "<cell 3>", line 1, in <module>`, "    f()\n", `File "<cell 1>", line 2, in f`}},
		{"try:\n    1/0\nexcept Exception as e:\n    raise KeyError('k') from e", "KeyError", "'k'", []string{
			"ZeroDivisionError", "direct cause", "KeyError: 'k'"}},
		{"import sys; sys.exit(3)", "SystemExit", "3", nil},
		{"class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E", "E", "<E object that cannot be shown>", nil},
		{"def r(): r()\nr()", "RecursionError", "maximum recursion depth exceeded", []string{"Previous line repeated"}},
		{"raise ValueError('\\ud800')", "ValueError", "\uFFFD", nil},
		{"input()", "EOFError", "EOF when reading a line", nil},
		{"raise KeyboardInterrupt", "KeyboardInterrupt", "", nil},
	} {
		o := s.dial(message{"code": test.code}).rest()
		if o.failure == nil || o.failure.Name != test.name || !strings.HasPrefix(o.failure.Value, test.value) || o.code != 1000 {
			t.Errorf("%q: %+v, closed with %d %s", test.code, o.failure, o.code, o.reason)
			continue
		}
		trace := o.failure.Traceback
		for _, part := range test.trace {
			_, after, found := strings.Cut(trace, part)
			if !found {
				t.Errorf("%q: %q is not in %q", test.code, part, o.failure.Traceback)
				break
			}
			trace = after
		}
		if strings.Contains(o.failure.Traceback, "<stdin>") {
			t.Errorf("%q: frames of the worker in %q", test.code, o.failure.Traceback)
		}
		want := "completed"
		if test.name == "KeyboardInterrupt" {
			want = "interrupted"
		}
		if o.control != want {
			t.Errorf("%q: control %q", test.code, o.control)
		}
	}
	s.prints("still here\n", "print('still here')")
}

func TestVariablesOfOneRun(t *testing.T) {
	s := newServer(t)
	s.run("import os; os.environ['KEPT'] = 'before'")
	s.prints("1 run child\n", "import os; print(os.environ['A'], os.environ['KEPT'], end=' ', flush=True); os.system('echo $B')",
		message{"envs": message{"A": "1", "B": "child", "KEPT": "run"}})
	s.prints("None before\n", "print(os.environ.get('A'), os.environ['KEPT'])")
	o := s.dial(message{"code": "1", "envs": message{"1A": ""}}).rest()
	if o.code != 1008 || !strings.Contains(o.reason, "1A") {
		t.Errorf("%d %q", o.code, o.reason)
	}
}

func TestTimeout(t *testing.T) {
	s := newServer(t)
	s.run("x = 1")
	o := s.dial(message{"code": "print('partial')\nwhile True: pass", "timeout": 1}).rest()
	if o.code != 4008 || o.stdout != "partial\n" || o.control != "" {
		t.Errorf("closed with %d, printed %q, control %q", o.code, o.stdout, o.control)
	}
	s.prints("1\n", "print(x)") // it was interrupted, not killed
	o = s.dial(message{"code": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass", "timeout": 0.5}).rest()
	if o.code != 4008 {
		t.Errorf("closed with %d", o.code)
	}
	o = s.run("print('x' in globals())")
	if o.stdout != "False\n" || !strings.Contains(o.stderr, "started anew") {
		t.Errorf("printed %q, stderr %q", o.stdout, o.stderr)
	}
	if o = s.run("print(1)"); o.stderr != "" {
		t.Errorf("told twice: %q", o.stderr)
	}
}

func TestInterrupt(t *testing.T) {
	s := newServer(t)
	for name, interrupt := range map[string]func(*socket){
		"by message": func(c *socket) { c.say(message{"type": "interrupt"}) },
		"by route": func(*socket) {
			if status, got := s.do("POST", "/process/interpreter/context/default/interrupt", nil); status != 200 {
				t.Error(status, got)
			}
		},
	} {
		c := s.dial(message{"code": "import time\nprint('on')\ntime.sleep(1000)", "timeout": 0})
		c.awaits("on\n")
		interrupt(c)
		if o := c.rest(); o.control != "interrupted" || o.code != 1000 || o.failure == nil || o.failure.Name != "KeyboardInterrupt" {
			t.Errorf("%s: %+v", name, o)
		}
	}
	s.prints("fine\n", "print('fine')")
}

func TestDeathOfTheWorker(t *testing.T) {
	s := newServer(t)
	for code, reason := range map[string]string{
		"import os; print('last words', flush=True); os._exit(7)":             "exit code 7",
		"import os; print('last words', flush=True); os.kill(os.getpid(), 9)": "signal 9",
		// What is not in the protocol ends it as well.
		"import os; print('last words', flush=True); os.write(3, b'nonsense\\n'); import time; time.sleep(1000)": "signal 9",
	} {
		o := s.dial(message{"code": code}).rest()
		if o.code != 1011 || !strings.Contains(o.reason, reason) || o.stdout != "last words\n" {
			t.Errorf("%q: closed with %d %q, printed %q", code, o.code, o.reason, o.stdout)
		}
		if o := s.run("print('new')"); o.stdout != "new\n" || o.stderr != "" {
			t.Errorf("afterwards: %+v", o)
		}
	}
	// It ends while nobody looks: the next one is told.
	s.run("import os, threading, time\nthreading.Timer(0.05, os._exit, [9]).start()")
	deadline := time.Now().Add(20 * time.Second)
	for s.table.Running() > 0 {
		if time.Now().After(deadline) {
			t.Fatal("it lives on")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if o := s.run("print('new')"); o.stdout != "new\n" || !strings.Contains(o.stderr, "exit code 9") {
		t.Errorf("%+v", o)
	}
}

func TestRunsQueueAndTheNewestClientStays(t *testing.T) {
	s := newServer(t)
	first := s.dial(message{"code": "import os, time\nprint('on')\nwhile not os.path.exists('gate'): time.sleep(0.01)\ndone = ['first']"})
	first.awaits("on\n")
	second := s.dial(message{"code": "done.append('second'); print(done)"})
	if o := first.rest(); o.code != 1008 || !strings.Contains(o.reason, "newer") {
		t.Errorf("first: %d %q", o.code, o.reason)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "gate"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := second.rest(); o.stdout != "['first', 'second']\n" || o.code != 1000 {
		t.Errorf("second: %+v", o)
	}
}

func TestAClientThatLeavesDoesNotEndTheRun(t *testing.T) {
	s := newServer(t)
	c := s.dial(message{"code": "import os, time\nprint('on')\nwhile not os.path.exists('gate'): time.sleep(0.01)\nprint('x' * 1000000)\nfinished = True"})
	c.awaits("on\n")
	_ = c.conn.CloseNow()
	if err := os.WriteFile(filepath.Join(s.dir, "gate"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.prints("True\n", "print(finished)")
}

func TestDeletionEndsARun(t *testing.T) {
	s := newServer(t)
	id := s.context(message{})
	c := s.dial(message{"code": "import os\nprint('on')\nos.system('setsid sleep 1000')", "contextId": id})
	c.awaits("on\n")
	if status, got := s.do("DELETE", "/process/interpreter/context/"+id, nil); status != 200 {
		t.Fatal(status, got)
	}
	if o := c.rest(); o.code != 1001 || o.reason != "context was deleted" {
		t.Errorf("%d %q", o.code, o.reason)
	}
	if n := s.table.Running(); n != 0 {
		t.Errorf("%d processes left", n)
	}
}

func TestFirstMessage(t *testing.T) {
	s := newServer(t)
	for text, want := range map[string]string{
		`{`:                                 "not a JSON object",
		`[]`:                                "not a JSON object",
		`{"code":1}`:                        "code cannot be number",
		`{}`:                                "code is required",
		`{"code":"1","timeout":-1}`:         "timeout",
		`{"code":"1","contextId":"nobody"}`: "context not found: nobody",
	} {
		c := s.dial(nil)
		if err := c.conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if o := c.rest(); o.code != 1008 || !strings.Contains(o.reason, want) {
			t.Errorf("%s: %d %q", text, o.code, o.reason)
		}
	}
	c := s.dial(nil)
	if err := c.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"code":"1"}`)); err != nil {
		t.Fatal(err)
	}
	if o := c.rest(); o.code != 1002 {
		t.Errorf("binary: %d %q", o.code, o.reason)
	}
}

func TestPingsAreAnsweredDuringARun(t *testing.T) {
	s := newServer(t)
	c := s.dial(message{"code": "import os, time\nwhile not os.path.exists('gate'): time.sleep(0.01)"})
	read := make(chan outcome)
	go func() { read <- c.rest() }()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := c.conn.Ping(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	if err := os.WriteFile(filepath.Join(s.dir, "gate"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := <-read; o.code != 1000 {
		t.Errorf("%+v", o)
	}
}

func TestDisplay(t *testing.T) {
	s := newServer(t)
	o := s.run("class T:\n    def _repr_html_(self): return '<b>t</b>'\n    def _repr_png_(self): return b'\\x89PNG'\n    def __repr__(self): return 'T!'\nprint('a'); display(T()); print('b')")
	if o.stdout != "a\nT!\nb\n" {
		t.Errorf("printed %q", o.stdout)
	}
	var order []string
	for _, f := range o.frames {
		if f.Type == "display" {
			if f.Data["text/html"] != "<b>t</b>" || f.Data["image/png"] != "iVBORw==" || f.Data["text/plain"] != "T!" {
				t.Errorf("%v", f.Data)
			}
			order = append(order, "display")
		} else {
			order = append(order, strings.Fields(f.Text)...)
		}
	}
	if got := strings.Join(order, " "); got != "a T! display b completed" {
		t.Errorf("in the order %s", got)
	}
}

func TestJavaScriptAndTypeScript(t *testing.T) {
	s := newServer(t)
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	js := message{"contextId": s.context(message{"language": "javascript"})}
	s.run("const x = 40; let y = 1; function f(n) { return x + n }; class C {}", js)
	s.prints("42 true\n", "y++; console.log(f(y), new C() instanceof C)", js)
	s.prints("", "1 + 1", js)
	s.prints("", "import fs, { existsSync as there } from 'fs'\nimport * as p from 'path'", js)
	s.prints("true a/b\n", "console.log(there('/') && fs.existsSync('/'), p.join('a', 'b'))", js)
	s.prints("7\n", "console.log(await new Promise((r) => setTimeout(r, 1, 7)))", js)
	s.prints("set\n", "console.log(process.env.A)", js, message{"envs": message{"A": "set"}})
	s.prints("undefined\n", "console.log(process.env.A)", js)
	for code, want := range map[string][2]string{
		"function g() { throw new TypeError('boom') }\ng()": {"TypeError", "boom"},
		"let = =":      {"SyntaxError", "Unexpected token"},
		"throw 'text'": {"Error", "'text'"},
		"await Promise.reject(new RangeError('late'))": {"RangeError", "late"},
		"require('no-such-module')":                    {"Error", "Cannot find module"},
	} {
		o := s.dial(message{"code": code, "contextId": js["contextId"]}).rest()
		if o.failure == nil || o.failure.Name != want[0] || !strings.HasPrefix(o.failure.Value, want[1]) || o.code != 1000 {
			t.Errorf("%q: %+v, closed with %d %s", code, o.failure, o.code, o.reason)
		} else if strings.Contains(o.failure.Traceback, "[stdin]") {
			t.Errorf("%q: frames of the worker in %s", code, o.failure.Traceback)
		}
	}
	for _, code := range []string{"while (true) {}", "await new Promise(() => setInterval(() => {}, 1000))"} {
		if o := s.dial(message{"code": code, "contextId": js["contextId"], "timeout": 1}).rest(); o.code != 4008 {
			t.Errorf("%q: closed with %d", code, o.code)
		}
	}
	s.prints("40\n", "console.log(x)", js) // it was interrupted, not killed
	if o := s.dial(message{"code": "process.exit(3)", "contextId": js["contextId"]}).rest(); o.code != 1011 || !strings.Contains(o.reason, "exit code 3") {
		t.Errorf("%d %q", o.code, o.reason)
	}
	ts := message{"contextId": s.context(message{"language": "typescript"})}
	o := s.dial(message{"code": "interface P { n: number }\nconst p: P = { n: 5 }", "contextId": ts["contextId"]}).rest()
	if o.failure != nil && strings.Contains(o.failure.Value, "not installed") {
		t.Skip(o.failure.Value)
	}
	s.prints("5\n", "const q = (a: P): number => a.n\nconsole.log(q(p))", ts)
}
