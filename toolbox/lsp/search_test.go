package lsp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"daytona/toolbox/lsp"
)

func TestWorkspaceSymbolsOfPython(t *testing.T) {
	f := newFakes(t, "")
	b := started(t, f, nil)
	b.write("p/one.py", "class Greeter:\n    def greeter_name(self): pass\n")
	b.write("p/deep/er/two.py", "def make_greeter(): pass\nGREETER = 1\n")
	b.write("p/ü b.py", "def greeters(): pass\n")
	for _, path := range []string{
		"node_modules/x.py", ".git/x.py", ".venv/x.py", "env/x.py", "lib/site-packages/x.py", "notes.txt",
	} {
		b.write("p/"+path, "def greeter_of_others(): pass\n")
	}
	b.write("p/env/pyvenv.cfg", "")
	b.write("p/generated.py", strings.Repeat("x = 1\n", 1<<18)+"def greeter_generated(): pass\n")
	b.write("p/binary.py", "\x00\xff\xfedef greeter\x00")
	if err := syscall.Mkfifo(filepath.Join(b.dir, "p", "pipe.py"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"p/loop": "..", "p/dangling.py": "none.py"} {
		if err := os.Symlink(target, filepath.Join(b.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	search := func(text string) []lsp.Symbol {
		var all []lsp.Symbol
		b.ask(&all, "GET", query("/lsp/workspacesymbols", "languageId", "python", "pathToProject", "p", "query", text), nil)
		return all
	}
	got := search("gReeter")
	if want := "13 GREETER, 5 Greeter, 6 greeter_name, 12 greeters, 12 make_greeter"; names(got) != want {
		t.Errorf("got %s, want %s", names(got), want)
	}
	if uri := "file://" + b.dir + "/p/%C3%BC%20b.py"; got[3].Location.URI != uri {
		t.Errorf("got %s, want %s", got[3].Location.URI, uri)
	}
	if got := names(search("")); !strings.Contains(got, "13 a,") || !strings.Contains(got, "5 Greeter") {
		t.Errorf("everything: %s", got)
	}
	if got := search("nothing of that name"); got == nil || len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
	var many strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&many, "def many_%d(): pass\n", i)
	}
	b.write("p/many.py", many.String())
	if got := search("many"); len(got) != 1000 || got[0].Name != "many_0" {
		t.Errorf("%d symbols", len(got))
	}
	if err := os.RemoveAll(filepath.Join(b.dir, "p")); err != nil {
		t.Fatal(err)
	}
	b.refused("GET", query("/lsp/workspacesymbols", "languageId", "python", "pathToProject", "p", "query", "x"), nil, 404, "file not found")
}
