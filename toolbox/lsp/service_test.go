package lsp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/toolbox/lsp"
)

// started returns a bench with a fake server for the project "p", which has the
// files a.py and b.py.
func started(t *testing.T, f *fakes, change func(*lsp.Config)) *bench {
	t.Helper()
	b := newBench(t, f.env, change)
	b.write("p/a.py", "a = 1")
	b.write("p/b.py", "b = 1")
	b.ask(nil, "POST", "/lsp/start", object{"languageId": "python", "pathToProject": "p"})
	return b
}

func doc(name string) object {
	return object{"languageId": "python", "pathToProject": "p", "uri": "file://p/" + name}
}

func at(name string, line int) object {
	o := doc(name)
	o["position"] = object{"line": line, "character": 0}
	return o
}

// label asks for completions, and returns the label of the first.
func (b *bench) label(name string, line int) string {
	b.t.Helper()
	var list lsp.CompletionList
	b.ask(&list, "POST", "/lsp/completions", at(name, line))
	if len(list.Items) == 0 {
		b.t.Fatal("no completions")
	}
	return list.Items[0].Label
}

func (b *bench) refused(method, target string, body any, status int, texts ...string) {
	b.t.Helper()
	got, text := b.request(method, target, body)
	if got != status {
		b.t.Errorf("%s %s: %d %s; want %d", method, target, got, text, status)
	}
	for _, want := range texts {
		if !strings.Contains(text, want) {
			b.t.Errorf("%s %s: %q is not in %s", method, target, want, text)
		}
	}
}

func TestRequestsAreChecked(t *testing.T) {
	b := newBench(t, newFakes(t, "").env, nil)
	py := "languageId=python&pathToProject=p"
	for _, test := range []struct {
		method, target string
		body           object
	}{
		{"POST", "/lsp/stop", doc("a.py")},
		{"POST", "/lsp/did-open", doc("a.py")},
		{"POST", "/lsp/did-close", doc("a.py")},
		{"POST", "/lsp/completions", at("a.py", 0)},
		{"POST", "/lsp/hover", at("a.py", 0)},
		{"GET", "/lsp/document-symbols?uri=a.py&" + py, nil},
		{"GET", "/lsp/workspace-symbols?query=x&" + py, nil},
		{"GET", "/lsp/workspacesymbols?query=x&" + py, nil},
		{"GET", "/lsp/diagnostics?uri=a.py&" + py, nil},
	} {
		b.refused(test.method, test.target, test.body, 400, "server not initialized", "LSP_SERVER_NOT_INITIALIZED")
	}
	b.write("file", "")
	for _, test := range []struct {
		body object
		want string
	}{
		{object{"languageId": "cobol", "pathToProject": "p"}, "unsupported language: cobol"},
		{object{"languageId": "", "pathToProject": "p"}, "languageId is required"},
		{object{"languageId": "python"}, "pathToProject is required"},
		{object{"languageId": "python", "pathToProject": "a\x00b"}, "NUL"},
		{object{"languageId": "python", "pathToProject": strings.Repeat("x", 5000)}, "too long"},
		{object{"languageId": "python", "pathToProject": "file"}, "must be a directory"},
		{object{"languageId": 7}, "languageId must be a string"},
	} {
		b.refused("POST", "/lsp/start", test.body, 400, test.want)
	}
	b.ask(nil, "POST", "/lsp/start", object{"languageId": "python", "pathToProject": "p"}) // it is not there yet
	b.write("p/a.py", "a = 1")
	b.refused("POST", "/lsp/completions", doc("a.py"), 400, "position is required")
	b.refused("POST", "/lsp/completions", at("a.py", -1), 400, "negative")
	b.refused("POST", "/lsp/did-open", object{"languageId": "python", "pathToProject": "p"}, 400, "uri is required")
	b.refused("POST", "/lsp/did-open", object{"languageId": "python", "pathToProject": "p", "uri": "http://x/y"}, 400, "unsupported uri")
	b.refused("POST", "/lsp/did-open", doc("none.py"), 404, "file not found", "FILE_NOT_FOUND")
	b.refused("POST", "/lsp/did-open", object{"languageId": "python", "pathToProject": "p", "uri": "file:///dev/zero"}, 400, "must be a file")
	b.write("p/large.py", strings.Repeat("#", 5<<20))
	b.refused("POST", "/lsp/did-open", doc("large.py"), 400, "too large")
	if got := b.label("a.py", 3); got != "3" {
		t.Errorf("after the refusals: %s", got)
	}
}

func TestMissingProgram(t *testing.T) {
	b := newBench(t, []string{"PATH=/nowhere"}, nil)
	for language, want := range map[string]string{"python": "pip install", "javascript": "npm install -g"} {
		b.refused("POST", "/lsp/start", object{"languageId": language, "pathToProject": "p"}, 422, want, "LSP_SERVER_NOT_INSTALLED", "/nowhere")
		b.refused("POST", "/lsp/stop", object{"languageId": language, "pathToProject": "p"}, 400, "server not initialized")
	}
}

func TestDocumentsFollowTheDisk(t *testing.T) {
	f := newFakes(t, "")
	b := started(t, f, nil)
	b.ask(nil, "POST", "/lsp/start", object{"languageId": "python", "pathToProject": filepath.Join(b.dir, "p")}) // the same
	b.ask(nil, "POST", "/lsp/did-open", doc("a.py"))
	b.label("b.py", 0) // is opened for it
	b.write("p/a.py", "a = 22")
	b.label("b.py", 0)
	b.ask(nil, "POST", "/lsp/did-open", doc("a.py")) // again
	if err := os.Remove(filepath.Join(b.dir, "p", "b.py")); err != nil {
		t.Fatal(err)
	}
	b.label("a.py", 0)
	b.refused("POST", "/lsp/completions", at("b.py", 0), 404, "file not found")
	b.write("p/b.py", "b = \xff")
	b.label("b.py", 0)
	b.ask(nil, "POST", "/lsp/did-close", doc("b.py"))
	b.ask(nil, "POST", "/lsp/did-close", doc("b.py"))
	want := []string{
		`open a.py python "a = 1"`, `open b.py python "b = 1"`, `change a.py "a = 22"`,
		`close a.py`, `open a.py python "a = 22"`, `close b.py`, `open b.py python "b = �"`, `close b.py`,
	}
	if got := f.told(1, len(want)); !slices.Equal(got, want) {
		t.Errorf("told\n%q, want\n%q", got, want)
	}
}

func TestNoMoreDocumentsThanAllowed(t *testing.T) {
	f := newFakes(t, "")
	b := started(t, f, nil)
	for i := range 101 {
		name := fmt.Sprintf("f%d.py", i)
		b.write("p/"+name, "")
		b.ask(nil, "POST", "/lsp/did-open", doc(name))
	}
	told := f.told(1, 102)
	if last := told[len(told)-1]; last != "close f0.py" {
		t.Errorf("the last thing told: %s", last)
	}
}

func TestDocumentationIsAnObject(t *testing.T) {
	b := started(t, newFakes(t, ""), nil)
	if _, text := b.request("POST", "/lsp/completions", at("a.py", 4)); strings.TrimSpace(text) !=
		`{"isIncomplete":false,"items":[{"label":"4","documentation":{"kind":"plaintext","value":"text"}}]}` {
		t.Error(text)
	}
}

func TestDiagnosticsAreOfThePresentText(t *testing.T) {
	b := started(t, newFakes(t, ""), nil)
	target := query("/lsp/diagnostics", "languageId", "python", "pathToProject", "p", "uri", "file://p/a.py")
	for _, text := range []string{"a = 1", "a = 22", "a = 333"} {
		b.write("p/a.py", text)
		_, got := b.request("GET", target, nil)
		if want := `[{"range":{"start":{"line":0,"character":0},"end":{"line":0,"character":1}},"severity":2,"code":7,"message":"` + text + `"}]`; !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestACrashIsSurvived(t *testing.T) {
	for _, mode := range []string{"crash", "killed", "garbage", "announce", "half", "no json"} {
		t.Run(mode, func(t *testing.T) {
			f := newFakes(t, mode).once()
			b := started(t, f, nil)
			b.ask(nil, "POST", "/lsp/did-open", doc("a.py"))
			b.write("p/b.py", "b = 2")
			if got := b.label("b.py", 12); got != "12" {
				t.Errorf("completions: %s", got)
			}
			told := f.told(2, 2)
			slices.Sort(told)
			if want := []string{`open a.py python "a = 1"`, `open b.py python "b = 2"`}; !slices.Equal(told, want) {
				t.Errorf("the second server was told %q", told)
			}
			pids := f.pids()
			if len(pids) != 2 || pids[0] == pids[1] {
				t.Errorf("servers: %v", pids)
			}
			f.eventually("the first has ended", func() bool { return !alive(pids[0]) })
		})
	}
}

func TestCrashesAreReportedAndBounded(t *testing.T) {
	for mode, want := range map[string]string{
		"crash":    "it exited with code 7; it said: Traceback: it broke",
		"killed":   "it was killed (the sandbox may have run out of memory)",
		"garbage":  `no message of the protocol: a message without Content-Length, after \"Warning: something was printed\"`,
		"announce": "a message of 99999999999 bytes; the limit is",
		"half":     "it exited with code 0",
		"no json":  "not a message",
	} {
		t.Run(mode, func(t *testing.T) {
			f := newFakes(t, mode)
			b := started(t, f, nil)
			b.refused("POST", "/lsp/completions", at("a.py", 0), 500, "error getting completions: the language server for python ended", want)
			b.refused("POST", "/lsp/completions", at("a.py", 0), 500, "ended 3 times", "LSP_SERVER_CRASHED", want)
			b.refused("POST", "/lsp/did-open", doc("a.py"), 500, "ended 3 times", "until start is called")
			if n := len(f.pids()); n != 3 {
				t.Errorf("%d servers were started", n)
			}
			b.ask(nil, "POST", "/lsp/start", object{"languageId": "python", "pathToProject": "p"})
			b.ask(nil, "POST", "/lsp/did-open", doc("a.py"))
			if n := len(f.pids()); n != 4 {
				t.Errorf("%d servers were started", n)
			}
		})
	}
}

func TestStartThatFails(t *testing.T) {
	for mode, want := range map[string]string{
		"crash at start":  "error starting LSP server: pylsp: it exited with code 3; it said: no module named nothing",
		"silent at start": "error starting LSP server: pylsp: it did not answer in time",
	} {
		t.Run(mode, func(t *testing.T) {
			f := newFakes(t, mode)
			b := newBench(t, f.env, func(c *lsp.Config) {
				if mode == "silent at start" {
					c.StartLimit = 500 * time.Millisecond
				}
			})
			b.refused("POST", "/lsp/start", object{"languageId": "python", "pathToProject": "p"}, 500, want)
			b.refused("POST", "/lsp/did-open", doc("a.py"), 400, "server not initialized")
			for _, pid := range f.pids() {
				f.eventually("it has ended", func() bool { return !alive(pid) })
			}
		})
	}
}

func TestAServerThatHangsIsEnded(t *testing.T) {
	f := newFakes(t, "hang").once()
	b := started(t, f, func(c *lsp.Config) { c.AskLimit = 2 * time.Second })
	b.ask(nil, "POST", "/lsp/did-open", doc("a.py"))
	b.refused("POST", "/lsp/completions", at("a.py", 0), 408, "error getting completions: the language server for python did not answer in time")
	if got := b.label("a.py", 5); got != "5" {
		t.Errorf("completions of the next: %s", got)
	}
	if pids := f.pids(); len(pids) != 2 || alive(pids[0]) {
		t.Errorf("servers: %v", pids)
	}
}

func TestAServerThatIsSlowIsKept(t *testing.T) {
	f := newFakes(t, "slow")
	b := started(t, f, func(c *lsp.Config) { c.AskLimit = 2 * time.Second })
	b.refused("POST", "/lsp/completions", at("a.py", 0), 408, "did not answer in time")
	var hover lsp.HoverText
	b.ask(&hover, "POST", "/lsp/hover", at("a.py", 0))
	if hover.Contents.Value != "text" || len(f.pids()) != 1 {
		t.Errorf("hover %v, servers %v", hover, f.pids())
	}
}

func TestAServerThatDoesNotReadIsEnded(t *testing.T) {
	f := newFakes(t, "deaf").once()
	b := started(t, f, func(c *lsp.Config) { c.AskLimit = 2 * time.Second })
	b.write("p/a.py", strings.Repeat("#", 100<<10))
	b.ask(nil, "POST", "/lsp/did-open", doc("a.py")) // more than a pipe holds
	b.refused("POST", "/lsp/completions", at("a.py", 0), 408, "did not answer in time")
	if got := b.label("a.py", 5); got != "5" {
		t.Errorf("completions of the next: %s", got)
	}
}

func TestAnswersThatAreHardToRead(t *testing.T) {
	for _, mode := range []string{"big", "noise", "prints"} {
		t.Run(mode, func(t *testing.T) {
			b := started(t, newFakes(t, mode), nil)
			if got := b.label("a.py", 5); got != "5" {
				t.Errorf("completions: %s", got)
			}
		})
	}
}

func TestServersErrorsAreShown(t *testing.T) {
	b := started(t, newFakes(t, "refuse"), nil)
	b.refused("POST", "/lsp/completions", at("a.py", 0), 500, "error getting completions: the language server for python answered: no completions today")
	b = started(t, newFakes(t, "cannot"), nil)
	b.refused("POST", "/lsp/completions", at("a.py", 0), 422, "cannot do that")
}

func TestServersQuestionsAreAnswered(t *testing.T) {
	b := started(t, newFakes(t, "asks"), nil)
	var list lsp.CompletionList
	b.ask(&list, "POST", "/lsp/completions", at("a.py", 0))
	var got []string
	for _, item := range list.Items {
		got = append(got, item.Label)
	}
	slices.Sort(got)
	want := []string{
		"client/registerCapability: null",
		`something/else: error {"code":-32601,"message":"not supported: something/else"}`,
		`window/showDocument: {"success":false}`,
		"window/workDoneProgress/create: null",
		`workspace/applyEdit: {"applied":false,"failureReason":"files are changed by their owner only"}`,
		"workspace/configuration: [null,null]",
		`workspace/workspaceFolders: [{"name":"` + filepath.Join(b.dir, "p") + `","uri":"file://` + filepath.Join(b.dir, "p") + `"}]`,
	}
	if !slices.Equal(got, want) || !list.IsIncomplete {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

func TestStopEndsTheWholeTree(t *testing.T) {
	f := newFakes(t, "child")
	b := started(t, f, nil)
	child, err := strconv.Atoi(b.label("a.py", 0))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(child) {
		t.Fatal("the server's child does not run")
	}
	b.ask(nil, "POST", "/lsp/stop", object{"languageId": "python", "pathToProject": "p"})
	// Nobody but the first process of a sandbox waits for orphans: it may be
	// left as a zombie here.
	f.eventually("the child has ended", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	if alive(f.pids()[0]) {
		t.Error("the server runs")
	}
}

func TestAnIdleServerEndsAndComesBack(t *testing.T) {
	f := newFakes(t, "")
	b := started(t, f, func(c *lsp.Config) { c.Idle = 20 * time.Millisecond })
	b.ask(nil, "POST", "/lsp/did-open", doc("a.py"))
	f.eventually("the server has ended", func() bool { pids := f.pids(); return !alive(pids[len(pids)-1]) })
	before := len(f.pids())
	b.write("p/a.py", "a = 22")
	if got := b.label("a.py", 1); got != "1" {
		t.Errorf("completions: %s", got)
	}
	if told := f.told(before+1, 1); told[0] != `open a.py python "a = 22"` {
		t.Errorf("the next server was told %q", told)
	}
}

func TestNoMoreServersThanAllowed(t *testing.T) {
	f := newFakes(t, "")
	b := newBench(t, f.env, func(c *lsp.Config) { c.MaxServers = 2 })
	for round := range 2 {
		for i := range 4 {
			project := fmt.Sprintf("p%d", i)
			b.write(project+"/a.py", "")
			if round == 0 {
				b.ask(nil, "POST", "/lsp/start", object{"languageId": "python", "pathToProject": project})
			}
			var list lsp.CompletionList
			b.ask(&list, "POST", "/lsp/completions", object{"languageId": "python", "pathToProject": project, "uri": "file://" + project + "/a.py",
				"position": object{"line": i, "character": 0}})
			if list.Items[0].Label != strconv.Itoa(i) {
				t.Errorf("completions: %+v", list)
			}
			n := 0
			for _, pid := range f.pids() {
				if alive(pid) {
					n++
				}
			}
			if n > 2 {
				t.Errorf("%d servers run", n)
			}
		}
	}
}

func TestBusyServersAreNotEndedForOthers(t *testing.T) {
	f := newFakes(t, "hang")
	b := started(t, f, func(c *lsp.Config) { c.MaxServers = 1 })
	answer := make(chan int)
	go func() {
		status, _ := b.request("POST", "/lsp/completions", at("a.py", 0))
		answer <- status
	}()
	f.told(1, 1) // the file was opened: the question is under way
	b.refused("POST", "/lsp/start", object{"languageId": "python", "pathToProject": "other"}, 429, "busy")
	b.ask(nil, "POST", "/lsp/stop", object{"languageId": "python", "pathToProject": "p"})
	if status := <-answer; status != 400 {
		t.Errorf("a question to a server that was stopped: %d", status)
	}
	b.ask(nil, "POST", "/lsp/start", object{"languageId": "python", "pathToProject": "other"})
}

func TestManyAtOnce(t *testing.T) {
	f := newFakes(t, "crash").once()
	b := started(t, f, nil)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			name := []string{"a.py", "b.py"}[i%2]
			status, text := b.request("POST", "/lsp/completions", at(name, i))
			if want := fmt.Sprintf(`"label":"%d"`, i); status != 200 || !strings.Contains(text, want) {
				t.Errorf("%d %s, want %s", status, text, want)
			}
		})
	}
	all.Wait()
	if n := len(f.pids()); n != 2 {
		t.Errorf("%d servers", n)
	}
}

func TestStartsAtOnceMakeOneServer(t *testing.T) {
	f := newFakes(t, "")
	b := newBench(t, f.env, nil)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if status, text := b.request("POST", "/lsp/start", object{"languageId": "python", "pathToProject": "p"}); status != 200 {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	all.Wait()
	if n := len(f.pids()); n != 1 {
		t.Errorf("%d servers", n)
	}
}
