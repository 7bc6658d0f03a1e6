package lsp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"daytona/internal/fault"
)

// project is a project that a client has started a language's server for. The
// server itself comes and goes: it is started when it is needed, and what it
// knew, its open documents, is given to the next one.
type project struct {
	service  *Service
	language *language
	dir      string // absolute

	turn chan struct{} // capacity 1; held while docs or the server are changed
	docs documents
	ends []time.Time // when servers ended that had not been asked to
	last string      // how the last of them ended

	// Guarded by service.mu.
	server  *server
	calls   int // that run
	used    time.Time
	idle    *time.Timer
	removed bool
}

// A server that ends by itself this often in this time is not started again
// until a client asks for it.
const (
	maxEnds   = 3
	endsSince = 10 * time.Minute
)

var errRemoved = fault.New(fault.Invalid, "server not initialized").WithCode(codeNotInitialized)

// lock waits for the project's turn.
func (p *project) lock(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.New(fault.Timeout, "the language server for %s is busy starting or reading files; try again", p.language.id)
	}
}

func (p *project) unlock() { <-p.turn }

// do makes one call of a client: it sees that there is a server which knows the
// open documents as they are on the disk, lets prepare tell it more, and then
// lets ask ask it, while other calls may go on. When the server ends meanwhile
// the call is made once more, with a new server: asking changes nothing.
func (p *project) do(ctx context.Context, what string, prepare, ask func(context.Context, *server) error) error {
	if !p.service.begin(p) {
		return errRemoved
	}
	defer p.service.finish(p)
	for attempt := 0; ; attempt++ {
		s, err := p.prepared(ctx, prepare)
		if err == nil {
			err = p.ask(ctx, s, ask)
		}
		_, told := asFault(err)
		if !told && errors.Is(err, errEnded) && ctx.Err() == nil {
			if attempt == 0 {
				continue
			}
			p.awaitEnd(s)
			return fault.Wrap(err, fault.Internal, "error %s: the language server for %s ended: %s", what, p.language.id, s.end)
		}
		return p.explain(err, what, s)
	}
}

// prepared returns a server that is up to date.
func (p *project) prepared(ctx context.Context, prepare func(context.Context, *server) error) (*server, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.service.StartLimit, errSlow)
	defer cancel()
	if err := p.lock(ctx); err != nil {
		return nil, err
	}
	defer p.unlock()
	s, err := p.running(ctx)
	if err == nil {
		p.docs.calls++
		err = p.docs.sync(ctx, s)
	}
	if err == nil && prepare != nil {
		err = prepare(ctx, s)
	}
	if s != nil && errors.Is(err, errSlow) {
		s.kill(errHung) // it does not even read
	}
	return s, err
}

// errSlow says that a limit on time was reached.
var errSlow = errors.New("the limit on time was reached")

// ask bounds the time of one question. A server that says nothing at all for
// half of it hangs, and is ended; the next call starts another.
func (p *project) ask(ctx context.Context, s *server, ask func(context.Context, *server) error) error {
	if ask == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.service.AskLimit, errSlow)
	defer cancel()
	err := ask(ctx, s)
	if errors.Is(err, errSlow) && s.conn.silence() > p.service.AskLimit/2 {
		s.kill(errHung)
	}
	return err
}

// explain turns the error of a call into one for the client.
func (p *project) explain(err error, what string, s *server) error {
	if err == nil {
		return nil
	}
	if _, ok := asFault(err); ok {
		return err
	}
	if refused, ok := errors.AsType[*rpcError](err); ok {
		if refused.Code == codeMethodNotFound {
			return fault.Wrap(err, fault.Unprocessable, "error %s: the language server for %s cannot do that", what, p.language.id)
		}
		return fault.Wrap(err, fault.Internal, "error %s: the language server for %s answered: %s", what, p.language.id, refused.Message)
	}
	if errors.Is(err, errSlow) {
		said := ""
		if s != nil {
			said = s.lastWords()
		}
		return fault.Wrap(err, fault.Timeout, "error %s: the language server for %s did not answer in time%s", what, p.language.id, said)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// awaitEnd waits until it is known how a server ended.
func (p *project) awaitEnd(s *server) {
	select {
	case <-s.done:
	case <-time.After(killWait + 3*restWait):
		s.kill(errStopped)
		<-s.done
	}
}

// running returns the project's server, started if there is none. p.turn is
// held.
func (p *project) running(ctx context.Context) (*server, error) {
	s := p.service.current(p)
	if s != nil && !s.ended() {
		return s, nil
	}
	if s != nil {
		p.awaitEnd(s)
		p.service.detach(p, s)
		p.noteEnd(s.end)
	}
	if err := p.worthAnother(time.Now()); err != nil {
		return nil, err
	}
	s, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	return s, p.docs.reopen(ctx, s)
}

// forgive forgets how servers ended, so that another is started.
func (p *project) forgive(ctx context.Context) error {
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.unlock()
	p.ends = nil
	return nil
}

func (p *project) noteEnd(how string) {
	p.ends = append(p.ends, time.Now())
	p.ends = p.ends[max(0, len(p.ends)-maxEnds):]
	p.last = how
}

// worthAnother returns an error when servers end so often that another start
// would change nothing.
func (p *project) worthAnother(now time.Time) error {
	if len(p.ends) < maxEnds || now.Sub(p.ends[0]) > endsSince {
		return nil
	}
	return fault.New(fault.Internal,
		"the language server for %s ended %d times within %v and is not started again until start is called; the last time: %s",
		p.language.id, maxEnds, endsSince, p.last).WithCode("LSP_SERVER_CRASHED")
}

// start starts a server and makes its acquaintance.
func (p *project) start(ctx context.Context) (*server, error) {
	if err := p.service.makeRoom(p); err != nil {
		return nil, err
	}
	s, err := launchServer(p.service.Space, p.language, p.dir, p.service.Log)
	if err != nil {
		p.service.giveRoom()
		if _, ok := asFault(err); ok {
			return nil, err
		}
		return nil, fault.Wrap(err, fault.Internal, "error starting LSP server: %v", err)
	}
	if !p.service.attach(p, s) {
		s.kill(errStopped)
		return nil, errRemoved
	}
	err = p.greet(ctx, s)
	if err == nil {
		return s, nil
	}
	s.kill(errStopped)
	p.awaitEnd(s)
	if !p.service.detach(p, s) {
		return nil, errRemoved
	}
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errSlow) {
		return nil, err // the client has gone
	}
	why := s.end
	if errors.Is(err, errSlow) {
		why = "it did not answer in time" + s.lastWords()
	} else if refused, ok := errors.AsType[*rpcError](err); ok {
		why = "it answered: " + refused.Message
	}
	p.noteEnd(why)
	return nil, fault.Wrap(err, fault.Internal, "error starting LSP server: %s: %s", p.language.program, why)
}

// greet exchanges what both sides can do.
func (p *project) greet(ctx context.Context, s *server) error {
	documentation := []string{"markdown", "plaintext"}
	var answer struct {
		Capabilities struct {
			Commands struct {
				Commands []string `json:"commands"`
			} `json:"executeCommandProvider"`
		} `json:"capabilities"`
	}
	err := s.conn.call(ctx, "initialize", map[string]any{
		"processId":             nil, // it would look every few seconds whether we live; it dies with us anyway
		"clientInfo":            map[string]string{"name": "daytona"},
		"rootUri":               s.folder["uri"],
		"rootPath":              p.dir,
		"workspaceFolders":      []any{s.folder},
		"initializationOptions": p.language.options,
		"capabilities": map[string]any{
			"general": map[string]any{"positionEncodings": []string{"utf-16"}},
			"workspace": map[string]any{
				"configuration": true, "workspaceFolders": true,
				"symbol": map[string]any{}, "executeCommand": map[string]any{},
			},
			"textDocument": map[string]any{
				"synchronization": map[string]any{},
				"completion": map[string]any{
					"contextSupport": true,
					"completionItem": map[string]any{"snippetSupport": false, "documentationFormat": documentation},
				},
				"documentSymbol":     map[string]any{"hierarchicalDocumentSymbolSupport": false},
				"hover":              map[string]any{"contentFormat": documentation},
				"publishDiagnostics": map[string]any{"versionSupport": true},
			},
		},
	}, &answer)
	if err != nil {
		return err
	}
	s.commands = map[string]bool{}
	for _, name := range answer.Capabilities.Commands.Commands {
		s.commands[name] = true
	}
	if err := s.conn.notify(ctx, "initialized", struct{}{}); err != nil {
		return err
	}
	settings := p.settings()
	if settings == nil {
		return nil
	}
	return s.conn.notify(ctx, "workspace/didChangeConfiguration", map[string]any{"settings": settings})
}

// settings are what the server must know of the project: where a Python
// project's own packages are.
func (p *project) settings() any {
	if p.language.id != "python" {
		return nil
	}
	for _, name := range []string{".venv", "venv"} {
		python := filepath.Join(p.dir, name, "bin", "python")
		if info, err := os.Stat(python); err == nil && info.Mode().IsRegular() {
			return map[string]any{"pylsp": map[string]any{"plugins": map[string]any{
				"jedi": map[string]any{"environment": python},
			}}}
		}
	}
	return nil
}

func asFault(err error) (*fault.Error, bool) { return errors.AsType[*fault.Error](err) }
