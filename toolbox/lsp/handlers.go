package lsp

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// projectRequest names a language's server for a project.
type projectRequest struct {
	LanguageID    string `json:"languageId"`
	PathToProject string `json:"pathToProject"`
}

// documentRequest names a file besides.
type documentRequest struct {
	LanguageID    string `json:"languageId"`
	PathToProject string `json:"pathToProject"`
	URI           string `json:"uri"`
}

// positionRequest names a place in a file.
type positionRequest struct {
	LanguageID    string             `json:"languageId"`
	PathToProject string             `json:"pathToProject"`
	URI           string             `json:"uri"`
	Position      *Position          `json:"position"`
	Context       *completionContext `json:"context,omitempty"`
}

type completionContext struct {
	TriggerKind      int    `json:"triggerKind"`
	TriggerCharacter string `json:"triggerCharacter,omitempty"`
}

func (r *documentRequest) query(v map[string][]string) {
	get := func(name string) string { return strings.Join(v[name], "") }
	r.LanguageID, r.PathToProject, r.URI = get("languageId"), get("pathToProject"), get("uri")
}

// Start answers POST /lsp/start {languageId, pathToProject}: it starts the
// language's server for the project, unless it runs, and waits until it is
// ready. A server that was given up since it ended too often gets another try.
func (s *Service) Start(w http.ResponseWriter, r *http.Request) error {
	var req projectRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	l, dir, err := s.identify(req.LanguageID, req.PathToProject)
	if err != nil {
		return err
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fault.New(fault.Invalid, "pathToProject must be a directory: %s", dir)
	}
	p, added, err := s.add(l, dir)
	if err != nil {
		return err
	}
	if err = p.forgive(r.Context()); err == nil {
		err = p.do(r.Context(), "starting LSP server", nil, nil)
	}
	if err != nil && added {
		s.remove(p)
	}
	return answered(w, err)
}

// Stop answers POST /lsp/stop {languageId, pathToProject}: it ends the server
// with everything that it started, and forgets its documents.
func (s *Service) Stop(w http.ResponseWriter, r *http.Request) error {
	var req projectRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	p, err := s.find(req.LanguageID, req.PathToProject)
	if err != nil {
		return err
	}
	s.remove(p)
	return answered(w, nil)
}

// answered writes the answer of a route that has nothing to say.
func answered(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// document returns the project and the file that a request names.
func (s *Service) document(req documentRequest) (*project, string, error) {
	p, err := s.find(req.LanguageID, req.PathToProject)
	if err != nil {
		return nil, "", err
	}
	written, err := clientPath(req.URI)
	if err != nil {
		return nil, "", err
	}
	return p, chooseFile(candidates(written, p.dir, s.Space.Dir)), nil
}

// chooseFile returns the first path that is a file, or else the first.
func chooseFile(paths []string) string {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		}
	}
	return paths[0]
}

// DidOpen answers POST /lsp/did-open {languageId, pathToProject, uri}: it reads
// the file and gives it to the server. One that is open is closed first.
func (s *Service) DidOpen(w http.ResponseWriter, r *http.Request) error {
	var req documentRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	p, path, err := s.document(req)
	if err != nil {
		return err
	}
	return answered(w, p.do(r.Context(), "opening document", func(ctx context.Context, live *server) error {
		if err := p.docs.close(ctx, live, path); err != nil {
			return err
		}
		return p.docs.ensure(ctx, live, path)
	}, nil))
}

// DidClose answers POST /lsp/did-close {languageId, pathToProject, uri}. A file
// that is not open, or is no more, is no error.
func (s *Service) DidClose(w http.ResponseWriter, r *http.Request) error {
	var req documentRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	p, path, err := s.document(req)
	if err != nil {
		return err
	}
	return answered(w, p.do(r.Context(), "closing document", func(ctx context.Context, live *server) error {
		return p.docs.close(ctx, live, path)
	}, nil))
}

// about asks the server a question about one file, which is opened if it is
// not. The answer is as the server sent it.
func (p *project) about(ctx context.Context, what, method, path string, params map[string]any) (json.RawMessage, error) {
	var raw json.RawMessage
	params["textDocument"] = identifier{URI: fileURI(path)}
	err := p.do(ctx, what, p.opened(path), func(ctx context.Context, live *server) error {
		return live.conn.call(ctx, method, params, &raw)
	})
	return raw, err
}

// opened is what opens a file before a question about it.
func (p *project) opened(path string) func(context.Context, *server) error {
	return func(ctx context.Context, live *server) error { return p.docs.ensure(ctx, live, path) }
}

// position reads a request about a place in a file.
func (s *Service) position(r *http.Request) (*project, string, positionRequest, error) {
	var req positionRequest
	if err := wire.Decode(r, &req); err != nil {
		return nil, "", req, err
	}
	if req.Position == nil {
		return nil, "", req, fault.New(fault.Invalid, "position is required")
	}
	if req.Position.Line < 0 || req.Position.Character < 0 {
		return nil, "", req, fault.New(fault.Invalid, "position must not be negative")
	}
	p, path, err := s.document(documentRequest{req.LanguageID, req.PathToProject, req.URI})
	return p, path, req, err
}

// Completions answers POST /lsp/completions {languageId, pathToProject, uri,
// position, context?} with a CompletionList.
func (s *Service) Completions(w http.ResponseWriter, r *http.Request) error {
	p, path, req, err := s.position(r)
	if err != nil {
		return err
	}
	params := map[string]any{"position": req.Position}
	if req.Context != nil {
		params["context"] = req.Context
	}
	raw, err := p.about(r.Context(), "getting completions", "textDocument/completion", path, params)
	if err != nil {
		return err
	}
	list, err := completions(raw)
	if err != nil {
		return unreadable(err, p)
	}
	return wire.JSON(w, http.StatusOK, list)
}

// Hover answers POST /lsp/hover {languageId, pathToProject, uri, position} with
// a HoverText.
func (s *Service) Hover(w http.ResponseWriter, r *http.Request) error {
	p, path, req, err := s.position(r)
	if err != nil {
		return err
	}
	raw, err := p.about(r.Context(), "getting hover", "textDocument/hover", path, map[string]any{"position": req.Position})
	if err != nil {
		return err
	}
	text, err := hover(raw)
	if err != nil {
		return unreadable(err, p)
	}
	return wire.JSON(w, http.StatusOK, text)
}

func unreadable(err error, p *project) error {
	return fault.Wrap(err, fault.Internal, "the language server for %s sent an answer that cannot be read", p.language.id)
}

// DocumentSymbols answers GET /lsp/document-symbols?languageId&pathToProject&uri
// with a list of Symbol.
func (s *Service) DocumentSymbols(w http.ResponseWriter, r *http.Request) error {
	var req documentRequest
	req.query(r.URL.Query())
	p, path, err := s.document(req)
	if err != nil {
		return err
	}
	raw, err := p.about(r.Context(), "getting document symbols", "textDocument/documentSymbol", path, map[string]any{})
	if err != nil {
		return err
	}
	all, err := symbols(raw, fileURI(path))
	if err != nil {
		return unreadable(err, p)
	}
	return wire.JSON(w, http.StatusOK, all)
}

// diagnosticsReply is what a server has to say of a file.
type diagnosticsReply struct {
	URI         string       `json:"uri"`
	Diagnostics []Diagnostic `json:"diagnostics"`
}

// Diagnostics answers GET /lsp/diagnostics?languageId&pathToProject&uri with
// what the server says of the file as it is on the disk now.
func (s *Service) Diagnostics(w http.ResponseWriter, r *http.Request) error {
	var req documentRequest
	req.query(r.URL.Query())
	p, path, err := s.document(req)
	if err != nil {
		return err
	}
	reply := diagnosticsReply{URI: fileURI(path)}
	err = p.do(r.Context(), "getting diagnostics", p.opened(path), func(ctx context.Context, live *server) error {
		if live.commands[tsRequest] {
			reply.Diagnostics, err = live.askTypeScript(ctx, path)
		} else {
			reply.Diagnostics, err = live.diagnostics(ctx, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	if reply.Diagnostics == nil {
		reply.Diagnostics = []Diagnostic{}
	}
	return wire.JSON(w, http.StatusOK, reply)
}

// tsRequest is the command by which typescript-language-server passes a request
// on to TypeScript itself. What it publishes comes in pieces, and not at all
// when nothing has changed; TypeScript gives all of it at once.
const tsRequest = "typescript.tsserverRequest"

func (s *server) askTypeScript(ctx context.Context, path string) ([]Diagnostic, error) {
	var all []Diagnostic
	for _, command := range []string{"syntacticDiagnosticsSync", "semanticDiagnosticsSync"} {
		var raw json.RawMessage
		err := s.conn.call(ctx, "workspace/executeCommand", map[string]any{
			"command": tsRequest, "arguments": []any{command, map[string]string{"file": path}},
		}, &raw)
		if err != nil {
			return nil, err
		}
		some, err := tsDiagnostics(raw)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// WorkspaceSymbols answers GET /lsp/workspace-symbols?languageId&pathToProject&query,
// in either spelling, with a list of Symbol.
func (s *Service) WorkspaceSymbols(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	p, err := s.find(v.Get("languageId"), v.Get("pathToProject"))
	if err != nil {
		return err
	}
	query := v.Get("query")
	var all []Symbol
	if p.language.id == "python" {
		all, err = p.pythonSymbols(r.Context(), query)
	} else {
		all, err = p.askedSymbols(r.Context(), query)
	}
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, all)
}

func checkPath(path string) error {
	if strings.ContainsRune(path, 0) {
		return fault.New(fault.Invalid, "pathToProject must not contain a NUL byte")
	}
	if len(path) > 4096 || len(filepath.Base(path)) > 255 {
		return fault.New(fault.Invalid, "pathToProject is too long")
	}
	return nil
}
