package lsp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"daytona/toolbox/launch"
	"daytona/toolbox/lsp"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

// bench is a service with a directory for projects.
type bench struct {
	t       *testing.T
	dir     string
	service *lsp.Service
	mux     *http.ServeMux
}

func newBench(t *testing.T, env []string, change func(*lsp.Config)) *bench {
	t.Helper()
	dir := t.TempDir()
	c := lsp.Config{
		Space: &launch.Space{Table: reaper.New(), Env: launch.NewEnviron(env), WorkDir: dir},
		Log:   slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&c)
	}
	b := &bench{t: t, dir: dir, service: lsp.New(c), mux: http.NewServeMux()}
	for _, route := range b.service.Routes() {
		b.mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler(w, r); err != nil {
				body := wire.Describe(err, r, time.Now())
				if body.StatusCode == 500 {
					t.Log(err)
				}
				if err := wire.JSON(w, body.StatusCode, body); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Cleanup(b.service.Close)
	return b
}

func (b *bench) write(path, text string) string {
	b.t.Helper()
	path = filepath.Join(b.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// request makes a request and returns the status and the body.
func (b *bench) request(method, target string, body any) (int, string) {
	b.t.Helper()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		reader = strings.NewReader(string(text))
	}
	w := httptest.NewRecorder()
	b.mux.ServeHTTP(w, httptest.NewRequestWithContext(b.t.Context(), method, target, reader))
	return w.Code, w.Body.String()
}

// ask makes a request that must succeed, and decodes the answer.
func (b *bench) ask(into any, method, target string, body any) {
	b.t.Helper()
	status, text := b.request(method, target, body)
	if status != http.StatusOK {
		b.t.Fatalf("%s %s: %d %s", method, target, status, text)
	}
	if into == nil {
		if text != "" {
			b.t.Errorf("%s %s: body %q", method, target, text)
		}
		return
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		b.t.Fatalf("%s %s: %v: %s", method, target, err, text)
	}
}

func query(path string, pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return path + "?" + v.Encode()
}

type object map[string]any

func names(all []lsp.Symbol) string {
	var out []string
	for _, s := range all {
		out = append(out, fmt.Sprintf("%d %s", s.Kind, s.Name))
	}
	return strings.Join(out, ", ")
}

// withProgram skips the test where a language server is not installed.
func withProgram(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed; the tests with the published clients run it in a sandbox", program)
	}
}

const greeterPy = `"""A greeter."""
import os


class Greeter:
    """Greets."""

    greeting = "Hello"

    def greet(self, name):
        return f"{self.greeting}, {name}"


def main():
    g = Greeter()
    print(g.greet("you"))
    unknown_name


os.path.jo
`

func TestRealPython(t *testing.T) {
	withProgram(t, "pylsp")
	b := newBench(t, os.Environ(), nil)
	file := b.write("py proj/a ü.py", greeterPy)
	project := filepath.Join(b.dir, "py proj")
	p := object{"languageId": "python", "pathToProject": project}
	doc := object{"languageId": "python", "pathToProject": project, "uri": "file://" + file}
	b.ask(nil, "POST", "/lsp/start", p)
	b.ask(nil, "POST", "/lsp/did-open", doc)

	var symbols []lsp.Symbol
	b.ask(&symbols, "GET", query("/lsp/document-symbols", "languageId", "python", "pathToProject", project, "uri", "file://"+file), nil)
	if got := names(symbols); !strings.Contains(got, "5 Greeter") || !strings.Contains(got, "6 greet") {
		t.Errorf("document symbols: %s", got)
	}
	for _, route := range []string{"/lsp/workspace-symbols", "/lsp/workspacesymbols"} {
		b.ask(&symbols, "GET", query(route, "languageId", "python", "pathToProject", project, "query", "greeter"), nil)
		if len(symbols) != 1 || names(symbols) != "5 Greeter" || !strings.HasSuffix(symbols[0].Location.URI, "/py%20proj/a%20%C3%BC.py") {
			t.Errorf("workspace symbols: %+v", symbols)
		}
	}

	var list lsp.CompletionList
	b.ask(&list, "POST", "/lsp/completions", object{"languageId": "python", "pathToProject": project, "uri": "file://" + file,
		"position": object{"line": 19, "character": 10}, "context": object{"triggerKind": 1}})
	found := false
	for _, item := range list.Items {
		found = found || strings.HasPrefix(item.Label, "join")
	}
	if !found {
		t.Errorf("completions: %+v", list)
	}

	var hover lsp.HoverText
	b.ask(&hover, "POST", "/lsp/hover", object{"languageId": "python", "pathToProject": project, "uri": "file://" + file,
		"position": object{"line": 14, "character": 10}})
	if !strings.Contains(hover.Contents.Value, "Greets.") {
		t.Errorf("hover: %+v", hover)
	}
	b.ask(&hover, "POST", "/lsp/hover", object{"languageId": "python", "pathToProject": project, "uri": "file://" + file,
		"position": object{"line": 2, "character": 0}})

	var found2 struct{ Diagnostics []lsp.Diagnostic }
	target := query("/lsp/diagnostics", "languageId", "python", "pathToProject", project, "uri", "file://"+file)
	b.ask(&found2, "GET", target, nil)
	if !strings.Contains(fmt.Sprint(found2), "unknown_name") {
		t.Errorf("diagnostics: %v", found2)
	}
	b.write("py proj/a ü.py", "def f(:\n")
	b.ask(&found2, "GET", target, nil)
	if len(found2.Diagnostics) == 0 || strings.Contains(fmt.Sprint(found2), "unknown_name") || found2.Diagnostics[0].Severity != 1 {
		t.Errorf("diagnostics of the new text: %v", found2)
	}
	b.ask(nil, "POST", "/lsp/did-close", doc)
	b.ask(nil, "POST", "/lsp/did-close", doc)
	b.ask(nil, "POST", "/lsp/stop", p)
	if status, text := b.request("POST", "/lsp/completions", object{"languageId": "python", "pathToProject": project, "uri": "file://" + file,
		"position": object{"line": 0, "character": 0}}); status != 400 || !strings.Contains(text, "LSP_SERVER_NOT_INITIALIZED") {
		t.Errorf("after stop: %d %s", status, text)
	}
}

const greeterTS = `export class Greeter {
  greeting = 'Hello'
  greet(name: string): string { return this.greeting + name }
}

const g = new Greeter()
g.
`

func TestRealTypeScript(t *testing.T) {
	withProgram(t, "typescript-language-server")
	b := newBench(t, os.Environ(), nil)
	file := b.write("ts proj/a ü.ts", greeterTS)
	b.write("ts proj/other/b.ts", "export function distantGreeter() { return 1 }\n")
	b.write("ts proj/node_modules/x/index.js", "export function strangeGreeter() { return 1 }\n")
	p := object{"languageId": "typescript", "pathToProject": "ts proj"}
	doc := object{"languageId": "typescript", "pathToProject": "ts proj", "uri": "file://ts proj/a ü.ts"}
	b.ask(nil, "POST", "/lsp/start", p)

	var symbols []lsp.Symbol
	b.ask(&symbols, "GET", query("/lsp/workspace-symbols", "languageId", "typescript", "pathToProject", "ts proj", "query", "Greeter"), nil)
	if got := names(symbols); !strings.Contains(got, "5 Greeter") || !strings.Contains(got, "12 distantGreeter") || strings.Contains(got, "strange") {
		t.Errorf("workspace symbols: %s", got)
	}
	b.ask(nil, "POST", "/lsp/did-open", doc)
	b.ask(&symbols, "GET", query("/lsp/document-symbols", "languageId", "typescript", "pathToProject", "ts proj", "uri", "file://"+file), nil)
	if got := names(symbols); !strings.Contains(got, "5 Greeter") || !strings.Contains(got, "6 greet") {
		t.Errorf("document symbols: %s", got)
	}
	for _, s := range symbols {
		if !strings.HasSuffix(s.Location.URI, "/ts%20proj/a%20%C3%BC.ts") {
			t.Errorf("symbol's location: %+v", s)
		}
	}

	var list lsp.CompletionList
	b.ask(&list, "POST", "/lsp/completions", object{"languageId": "typescript", "pathToProject": "ts proj", "uri": doc["uri"],
		"position": object{"line": 6, "character": 2}})
	labels := ""
	for _, item := range list.Items {
		labels += item.Label + " "
	}
	if !strings.Contains(labels, "greet ") || !strings.Contains(labels, "greeting") {
		t.Errorf("completions: %s", labels)
	}

	var hover lsp.HoverText
	b.ask(&hover, "POST", "/lsp/hover", object{"languageId": "typescript", "pathToProject": "ts proj", "uri": doc["uri"],
		"position": object{"line": 5, "character": 16}})
	if !strings.Contains(hover.Contents.Value, "Greeter") {
		t.Errorf("hover: %+v", hover)
	}

	var found struct{ Diagnostics []lsp.Diagnostic }
	target := query("/lsp/diagnostics", "languageId", "typescript", "pathToProject", "ts proj", "uri", "file://"+file)
	b.ask(&found, "GET", target, nil)
	if !strings.Contains(fmt.Sprint(found), "Identifier expected") {
		t.Errorf("diagnostics: %v", found)
	}
	b.write("ts proj/a ü.ts", "export const n: number = 'text'\n")
	b.ask(&found, "GET", target, nil)
	if !strings.Contains(fmt.Sprint(found), "not assignable") || len(found.Diagnostics) != 1 || found.Diagnostics[0].Range.Start != (lsp.Position{Line: 0, Character: 13}) {
		t.Errorf("diagnostics of the new text: %v", found)
	}
	b.write("ts proj/a ü.ts", "export const n: number = 1\n")
	b.ask(&found, "GET", target, nil)
	if len(found.Diagnostics) != 0 {
		t.Errorf("diagnostics without an error: %v", found)
	}
	b.ask(nil, "POST", "/lsp/stop", p)
}
