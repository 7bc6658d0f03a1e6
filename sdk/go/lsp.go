package daytona

import (
	"context"
	"net/url"
)

// LSP is a language server for a project in a sandbox. Lines and characters
// count from 0.
type LSP struct {
	sandbox  *Sandbox
	language Language
	project  string
}

// LSP returns the language server for a project's directory. It makes no
// request: begin with Start.
func (s *Sandbox) LSP(language Language, project string) *LSP {
	return &LSP{s, language, project}
}

// Position is a place in a text.
type Position struct {
	Line      int `json:"line"`
	Character int `json:"character"`
}

// Range is what lies between two places.
type Range struct {
	Start Position `json:"start"`
	End   Position `json:"end"`
}

// Symbol is something that has a name in a program.
type Symbol struct {
	Kind     int    `json:"kind"` // as the Language Server Protocol numbers them
	Name     string `json:"name"`
	Location struct {
		URI   string `json:"uri"`
		Range Range  `json:"range"`
	} `json:"location"`
}

// Completion is a way in which a text could go on.
type Completion struct {
	Label      string `json:"label"`
	Kind       int    `json:"kind"`
	Detail     string `json:"detail"`
	InsertText string `json:"insertText"`
	SortText   string `json:"sortText"`
}

// Diagnostic is what a language server finds wrong.
type Diagnostic struct {
	Range    Range  `json:"range"`
	Severity int    `json:"severity"` // 1 error, 2 warning, 3 information, 4 hint
	Source   string `json:"source"`
	Message  string `json:"message"`
}

func (l *LSP) post(ctx context.Context, route, path string) error {
	in := map[string]any{"languageId": l.language, "pathToProject": l.project}
	if path != "" {
		in["uri"] = "file://" + path
	}
	return l.sandbox.toolboxPost(ctx, in, "lsp", route)
}

func (l *LSP) query(path string) url.Values {
	q := url.Values{"languageId": {string(l.language)}, "pathToProject": {l.project}}
	if path != "" {
		q.Set("uri", "file://"+path)
	}
	return q
}

// Start starts the server.
func (l *LSP) Start(ctx context.Context) error { return l.post(ctx, "start", "") }

// Stop ends it.
func (l *LSP) Stop(ctx context.Context) error { return l.post(ctx, "stop", "") }

// Open says that a file is worked on. The server reads it itself.
func (l *LSP) Open(ctx context.Context, path string) error { return l.post(ctx, "did-open", path) }

// Close says that it no longer is.
func (l *LSP) Close(ctx context.Context, path string) error { return l.post(ctx, "did-close", path) }

// Symbols returns the symbols of a file.
func (l *LSP) Symbols(ctx context.Context, path string) ([]Symbol, error) {
	return getAs[[]Symbol](ctx, l.sandbox.client, l.sandbox.toolbox("lsp", "document-symbols"), l.query(path))
}

// FindSymbols returns the project's symbols whose name contains a text.
func (l *LSP) FindSymbols(ctx context.Context, text string) ([]Symbol, error) {
	q := l.query("")
	q.Set("query", text)
	return getAs[[]Symbol](ctx, l.sandbox.client, l.sandbox.toolbox("lsp", "workspacesymbols"), q)
}

// Completions returns how the text could go on at a place.
func (l *LSP) Completions(ctx context.Context, path string, at Position) ([]Completion, error) {
	out, err := postAs[struct {
		Items []Completion `json:"items"`
	}](ctx, l.sandbox.client, l.sandbox.toolbox("lsp", "completions"), map[string]any{
		"languageId": l.language, "pathToProject": l.project, "uri": "file://" + path, "position": at})
	return out.Items, err
}

// Diagnostics returns what is wrong in a file.
func (l *LSP) Diagnostics(ctx context.Context, path string) ([]Diagnostic, error) {
	out, err := getAs[struct {
		Diagnostics []Diagnostic `json:"diagnostics"`
	}](ctx, l.sandbox.client, l.sandbox.toolbox("lsp", "diagnostics"), l.query(path))
	return out.Diagnostics, err
}

// Hover returns what there is to say of a place, as Markdown or plain text.
func (l *LSP) Hover(ctx context.Context, path string, at Position) (string, error) {
	out, err := postAs[struct {
		Contents struct {
			Value string `json:"value"`
		} `json:"contents"`
	}](ctx, l.sandbox.client, l.sandbox.toolbox("lsp", "hover"), map[string]any{
		"languageId": l.language, "pathToProject": l.project, "uri": "file://" + path, "position": at})
	return out.Contents.Value, err
}
