package imports

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "daytona"

// arrows says what the packages below a folder may import of ours. The longest
// matching folder counts. A trailing slash means the folder and all below it.
var arrows = []struct {
	from string
	may  []string
	why  string
}{
	{"api/runnerapi", nil, "the private contract stands alone"},
	{"api/proxyapi", nil, "the private contract stands alone"},
	{"api", nil, "the public contract is the standard library and nothing else of ours"},
	{"internal", []string{"internal/"}, "mechanisms have never heard of a sandbox"},
	{"toolbox", []string{"toolbox/", "internal/"}, "every sandbox pays for what the toolbox imports"},
	{"runner", []string{"runner/", "api/", "images/", "internal/", "toolbox/"}, "a runner knows nothing of organizations or databases"},
	{"proxy", []string{"proxy/", "api/", "internal/"}, "the proxy meets the control plane only in the contract"},
	{"images", nil, "definitions are data"},
	{"controlplane/httpapi", []string{"controlplane/", "api/", "internal/"}, "handlers convert between nouns and the wire"},
	{"controlplane/storage", []string{"controlplane/", "api/runnerapi", "internal/"}, "SQL knows the nouns, never the wire"},
	{"controlplane", []string{"controlplane/", "api/", "internal/"}, "the control plane meets a runner only in the contract"},
	{"sdk/go", []string{"api"}, "what a client imports, every program that uses it carries"},
	{"mcp", []string{"sdk/go", "api", "internal/"}, "each tool is a thin call of the SDK"},
	{"cli", []string{"sdk/go", "mcp", "api", "internal/"}, "the command line is a client like any other, and runs where no server can"},
	{"cmd/daytona", []string{"cli", "mcp", "sdk/go", "controlplane/", "runner/", "proxy/", "api/", "images/", "internal/", "cmd/daytona/"}, "wiring"},
	{"cmd/chaos", []string{"e2e/chaos", "sdk/go", "internal/"}, "a client that breaks things"},
	{"cmd", []string{"toolbox/", "runner/", "api/", "internal/"}, "small programs"},
}

// nouns of the control plane, left to right: each may import those before it.
var nouns = []string{"org", "auth", "upload", "fleet", "registry", "image", "snapshot", "sandbox", "suspension", "grant"}

func TestArrows(t *testing.T) {
	root := "../.."
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			switch {
			case rel != "." && strings.HasPrefix(d.Name(), "."), d.Name() == "node_modules", rel == "engines", rel == "tools", rel == "bin", rel == "e2e":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		files++
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if to, ours := strings.CutPrefix(to, module+"/"); ours {
				if why := refuse(filepath.ToSlash(filepath.Dir(rel)), to); why != "" {
					t.Errorf("%s imports %s: %s", rel, to, why)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("only %d files looked at: the walk is broken", files)
	}
}

// refuse returns why from may not import to, or "".
func refuse(from, to string) string {
	if strings.HasSuffix(from, "test") { // conformance suites and test servers may reach further
		return ""
	}
	for _, a := range arrows {
		if from != a.from && !strings.HasPrefix(from, a.from+"/") {
			continue
		}
		if a.from == "controlplane" {
			if why := refuseNoun(from, to); why != "" {
				return why
			}
		}
		for _, may := range a.may {
			if to == strings.TrimSuffix(may, "/") || strings.HasSuffix(may, "/") && strings.HasPrefix(to, may) {
				return ""
			}
		}
		return a.why
	}
	return "no arrow starts at this folder; add a row that says why it should"
}

// refuseNoun holds the order of the control plane's nouns, and keeps SQL and
// HTTP out of them.
func refuseNoun(from, to string) string {
	left := index(from)
	if left < 0 {
		return ""
	}
	if strings.HasPrefix(to, "controlplane/storage") || strings.HasPrefix(to, "controlplane/httpapi") || strings.HasPrefix(to, "api") && to != "api/runnerapi" {
		return "a noun knows neither SQL nor the wire"
	}
	if right := index(to); right > left {
		return "a noun may import only nouns to its left: " + strings.Join(nouns, " < ")
	}
	return ""
}

func index(path string) int {
	for i, noun := range nouns {
		if p := "controlplane/" + noun; path == p || strings.HasPrefix(path, p+"/") {
			return i
		}
	}
	return -1
}

func TestRefuse(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"controlplane/sandbox", "controlplane/org", true},
		{"controlplane/org", "controlplane/sandbox", false},
		{"controlplane/sandbox", "controlplane/storage", false},
		{"controlplane/sandbox", "api", false},
		{"controlplane/sandbox", "api/runnerapi", true},
		{"controlplane/httpapi", "api", true},
		{"controlplane", "runner", false},
		{"runner/gvisor", "runner", true},
		{"runner", "controlplane/org", false},
		{"toolbox/files", "runner", false},
		{"api", "internal/fault", false},
		{"cmd/daytona", "runner/local", true},
		{"elsewhere", "api", false},
	} {
		if got := refuse(tt.from, tt.to) == ""; got != tt.ok {
			t.Errorf("%s -> %s: allowed %v, want %v", tt.from, tt.to, got, tt.ok)
		}
	}
}
