package lsp

import (
	"path/filepath"
	"strings"

	"daytona/internal/fault"
)

// language is what is known of one language's server.
type language struct {
	id       string   // as clients name it
	program  string   // looked for on the sandbox's PATH
	args     []string // without argv[0]
	packages string   // command that installs what is missing
	options  any      // initializationOptions
	suffixes []string // of the files that may hold symbols
}

// languageOf returns the language that a client names.
func languageOf(id string) (*language, error) {
	switch id {
	case "python":
		return &language{
			id: id, program: "pylsp",
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
