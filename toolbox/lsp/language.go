package lsp

import (
	"os"
	"path/filepath"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
)

// language is what is known of one language's server.
type language struct {
	id       string   // as clients name it
	program  string   // looked for on the sandbox's PATH
	args     []string // without argv[0]
	lean     string   // Python code that runs the program for less; "" if there is none
	packages string   // command that installs what is missing
	options  any      // initializationOptions
	suffixes []string // of the files that may hold symbols
}

// languageOf returns the language that a client names.
func languageOf(id string) (*language, error) {
	switch id {
	case "python":
		return &language{
			id: id, program: "pylsp", lean: leanPylsp,
			packages: "pip install 'python-lsp-server[pyflakes]'",
			suffixes: []string{".py", ".pyi"},
		}, nil
	case "typescript", "javascript":
		return &language{
			id: id, program: "typescript-language-server", args: []string{"--stdio"},
			packages: "npm install -g typescript@5 typescript-language-server@4",
			options: map[string]any{
				"hostInfo": "daytona",
				// Type declarations would be fetched from the network, unasked.
				"disableAutomaticTypingAcquisition": true,
				// One process of Node.js instead of two.
				"tsserver": map[string]any{"useSyntaxServer": "never"},
			},
			suffixes: []string{".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs"},
		}, nil
	}
	return nil, fault.New(fault.Invalid, "unsupported language: %s (supported are python, typescript and javascript)", id)
}

// leanPylsp runs pylsp without what it imports for nothing: NumPy, pandas, SciPy
// and others, if they are there. Code is analysed in another process, which
// imports what the code does. Without, pylsp takes a fifth of the time to start
// and of the memory.
const leanPylsp = `import sys
try:
    from pylsp.plugins import preload_imports
    preload_imports.MODULES.clear()
except Exception:
    pass
from pylsp.__main__ import main
sys.argv[0] = "pylsp"
main()`

// command returns the file to run and its arguments, for the program at path.
func (l *language) command(path string) (string, []string) {
	if python := interpreter(path); l.lean != "" && python != "" {
		return python, append([]string{python, "-c", l.lean}, l.args...)
	}
	return path, append([]string{path}, l.args...)
}

// interpreter returns the Python that a script names in its first line, or "".
func interpreter(script string) string {
	f, err := os.Open(script)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 256)
	n, err := f.Read(head)
	if err != nil {
		return ""
	}
	line, _, ok := strings.Cut(string(head[:n]), "\n")
	python, isScript := strings.CutPrefix(line, "#!")
	python = strings.TrimSpace(python)
	if !ok || !isScript || !filepath.IsAbs(python) || strings.ContainsAny(python, " \t") ||
		!strings.HasPrefix(filepath.Base(python), "python") || launch.Executable(python) != nil {
		return ""
	}
	return python
}

// documentID is the protocol's name for the language of one file.
func (l *language) documentID(path string) string {
	if l.id == "python" {
		return l.id
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".ts", ".mts", ".cts":
		return "typescript"
	case ".tsx":
		return "typescriptreact"
	case ".js", ".mjs", ".cjs":
		return "javascript"
	case ".jsx":
		return "javascriptreact"
	}
	return l.id
}

// source reports whether a file may hold symbols of the language.
func (l *language) source(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	for _, suffix := range l.suffixes {
		if ext == suffix {
			return true
		}
	}
	return false
}

// missing says that the language's server is not installed.
func (l *language) missing(path string) error {
	return fault.New(fault.Unprocessable,
		"the language server for %s is not in this sandbox: there is no program %s on its PATH (%s). Install it with `%s`, or create the sandbox from the default snapshot, which has it",
		l.id, l.program, path, l.packages).WithCode("LSP_SERVER_NOT_INSTALLED")
}
