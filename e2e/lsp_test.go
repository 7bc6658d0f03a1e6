//go:build root

package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// diagnostic has the members of a diagnostic that are looked at.
type diagnostic struct {
	Severity int
	Message  string
}

// lspClient asks for what the published SDKs have no calls for.
type lspClient struct {
	t                     *testing.T
	base, language, where string
}

func (c lspClient) post(route string, more map[string]any, out any) {
	c.t.Helper()
	body := map[string]any{"languageId": c.language, "pathToProject": c.where}
	for k, v := range more {
		body[k] = v
	}
	if err := shared.api.do(c.t.Context(), "POST", c.base+"/lsp/"+route, body, out); err != nil {
		c.t.Fatal(err)
	}
}

func (c lspClient) diagnostics(uri string) []diagnostic {
	c.t.Helper()
	var reply struct{ Diagnostics []diagnostic }
	v := url.Values{"languageId": {c.language}, "pathToProject": {c.where}, "uri": {uri}}
	if err := shared.api.do(c.t.Context(), "GET", c.base+"/lsp/diagnostics?"+v.Encode(), nil, &reply); err != nil {
		c.t.Fatal(err)
	}
	return reply.Diagnostics
}

func (c lspClient) hover(uri string, line, character int) string {
	c.t.Helper()
	var reply struct{ Contents struct{ Kind, Value string } }
	c.post("hover", map[string]any{"uri": uri, "position": map[string]int{"line": line, "character": character}}, &reply)
	return reply.Contents.Value
}

// TestLSP asks real language servers in a sandbox for diagnostics and hovers,
// and sees that no more of them run than the sandbox's memory allows.
func TestLSP(t *testing.T) {
	sb := mustCreate(t, shared.api, nil)
	base := "/toolbox/" + sb.ID + "/toolbox"

	ts := lspClient{t, base, "typescript", "ts"}
	inSandbox(t, sb.ID, `mkdir ts && echo "export const count: number = 'three'" > ts/a.ts`)
	ts.post("start", nil, nil)
	if got := ts.diagnostics("file://ts/a.ts"); len(got) != 1 || got[0].Severity != 1 || !strings.Contains(got[0].Message, "not assignable") {
		t.Errorf("TypeScript: %v", got)
	}
	if got := ts.hover("file://ts/a.ts", 0, 15); !strings.Contains(got, "count: number") {
		t.Errorf("TypeScript: %q", got)
	}
	inSandbox(t, sb.ID, `echo "export const count: number = 3" > ts/a.ts`)
	if got := ts.diagnostics("file://ts/a.ts"); len(got) != 0 {
		t.Errorf("TypeScript without an error: %v", got)
	}
	ts.post("stop", nil, nil)

	py := lspClient{t, base, "python", "py0"}
	inSandbox(t, sb.ID, `for i in 0 1 2; do mkdir py$i; printf 'import json\n\n\ndef f():\n    json.dumps(1)\n    return unknown_name\n' > py$i/a.py; done`)
	py.post("start", nil, nil)
	if got := py.hover("file://py0/a.py", 4, 10); !strings.Contains(got, "JSON") {
		t.Errorf("Python: %q", got)
	}
	found := fmt.Sprint(py.diagnostics("file://py0/a.py"))
	linter := mustExec(t, shared.api, sb.ID, "python3 -c 'import pyflakes'").ExitCode == 0
	if linter != strings.Contains(found, "undefined name 'unknown_name'") {
		t.Errorf("Python, pyflakes %v: %s", linter, found)
	}

	// One gigabyte is enough for two; all three answer, with what they know.
	for i := range 6 {
		p := lspClient{t, base, "python", fmt.Sprintf("py%d", i%3)}
		if i < 3 {
			p.post("start", nil, nil)
			p.post("did-open", map[string]any{"uri": "file://" + p.where + "/a.py"}, nil)
		}
		if got := p.hover("file://"+p.where+"/a.py", 3, 4); !strings.Contains(got, "f()") {
			t.Errorf("%s: %q", p.where, got)
		}
		r := mustExec(t, shared.api, sb.ID, "pgrep -fc '[p]ylsp'")
		if n := strings.TrimSpace(r.Result); n != "1" && n != "2" {
			t.Errorf("%s servers run", n)
		}
	}
}
