package lsp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// server is a language server that runs.
type server struct {
	conn  *conn
	child *reaper.Child
	said  *tail
	done  chan struct{} // closed when the process has ended and its pipes are closed
	end   string        // how it ended; set before done is closed

	folder   map[string]string // the project, as the protocol describes it
	commands map[string]bool   // what workspace/executeCommand knows

	mu        sync.Mutex // guards what follows
	published map[string]*published
	changed   chan struct{} // closed, and replaced, with every publication
}

// published is what a server has said about an open document. The map has an
// entry for each document that is open, so a server cannot fill it.
type published struct {
	version     int // of the text that is asked about
	fresh       bool
	diagnostics []Diagnostic
}

// How long a killed server's end is waited for: the process, and then the rest
// of what it said.
const (
	killWait = 2 * time.Second
	restWait = 200 * time.Millisecond
)

// launchServer starts the language's program for a project.
func launchServer(space *launch.Space, l *language, dir string, log *slog.Logger) (*server, error) {
	env := space.Env.With(nil)
	path, err := launch.LookPath(l.program, env["PATH"], space.WorkDir)
	if err != nil {
		return nil, l.missing(env["PATH"])
	}
	// The project may be uploaded after the start.
	cwd := dir
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		cwd = space.WorkDir
	}
	var pipes pipes
	defer pipes.closeTheirs()
	if err := pipes.open(); err != nil {
		pipes.closeOurs()
		return nil, err
	}
	file, args := l.command(path)
	child, err := space.Table.Start(reaper.Command{
		Path: file, Args: args, Env: env.Pairs(), Dir: cwd,
		Stdin: pipes.theirs[0], Stdout: pipes.theirs[1], Stderr: pipes.theirs[2],
	})
	if err != nil {
		pipes.closeOurs()
		return nil, err
	}
	uri := fileURI(dir)
	s := &server{
		child: child, done: make(chan struct{}), said: follow(pipes.ours[2]),
		folder:    map[string]string{"uri": uri, "name": dir},
		published: map[string]*published{}, changed: make(chan struct{}),
	}
	s.conn = connect(pipes.ours[1], pipes.ours[0], s.serve, s.notice)
	go s.watch(pipes, log.With("language", l.id, "project", dir, "pid", child.PID()))
	return s, nil
}

// watch waits for the server's end, in whichever way it comes, and cleans up.
func (s *server) watch(p pipes, log *slog.Logger) {
	killed := false
	select {
	case <-s.child.Done():
	case <-s.conn.closed:
		killed = !atEnd(s.conn.cause) || !s.endsWithin(restWait)
		s.child.KillTree()
		s.endsWithin(killWait)
	}
	s.conn.close(io.EOF)
	select {
	case <-s.said.eof:
	case <-time.After(restWait): // another process holds the pipe
	}
	p.closeOurs()
	s.end = s.describeEnd(killed)
	log.Info("language server ended", "how", s.end)
	close(s.done)
}

// endsWithin waits for the process's end.
func (s *server) endsWithin(d time.Duration) bool {
	select {
	case <-s.child.Done():
		return true
	case <-time.After(d):
		return false
	}
}

// atEnd reports whether a connection was over since the server closed its end,
// which it does when it ends.
func atEnd(cause error) bool {
	return errors.Is(cause, io.EOF) || errors.Is(cause, io.ErrUnexpectedEOF) || errors.Is(cause, unix.EPIPE)
}

// errStopped and errIdle are reasons for which a server is ended.
var (
	errStopped = errors.New("it was stopped")
	errIdle    = errors.New("it was not used")
	errHung    = errors.New("it did not answer and said nothing else; it was ended")
)

// kill ends the server with everything that it started. It returns at once.
func (s *server) kill(why error) { s.conn.close(why) }

// ended reports whether the server takes no more requests.
func (s *server) ended() bool {
	select {
	case <-s.conn.closed:
		return true
	case <-s.child.Done():
		return true
	default:
		return false
	}
}

// describeEnd says how the server ended and what it said last. killed says that
// it was we who ended it.
func (s *server) describeEnd(killed bool) string {
	var how string
	cause := s.conn.cause
	_, garbled := errors.AsType[*malformedError](cause)
	switch {
	case !killed:
		how = exitText(s.child.Status())
	case garbled:
		how = "it sent what is no message of the protocol: " + cause.Error()
	case atEnd(cause):
		how = "it closed its output"
	default:
		how = cause.Error()
	}
	return how + s.lastWords()
}

// lastWords is the end of what the server said, for the end of a message.
func (s *server) lastWords() string {
	if said := s.said.text(); said != "" {
		return "; it said: " + said
	}
	return ""
}

func exitText(status syscall.WaitStatus) string {
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return "it was killed (the sandbox may have run out of memory)"
	case status.Signaled():
		return fmt.Sprintf("it was ended by signal %d (%s)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("it exited with code %d", status.ExitStatus())
}

// serve answers what a server may ask its client.
func (s *server) serve(method string, params json.RawMessage) (any, *rpcError) {
	switch method {
	case "workspace/configuration":
		var asked struct {
			Items []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(params, &asked); err != nil {
			return nil, &rpcError{Code: -32602, Message: "items expected"}
		}
		return make([]any, len(asked.Items)), nil // null: the server's defaults
	case "workspace/workspaceFolders":
		return []any{s.folder}, nil
	case "workspace/applyEdit":
		return map[string]any{"applied": false, "failureReason": "files are changed by their owner only"}, nil
	case "window/showDocument":
		return map[string]any{"success": false}, nil
	case "client/registerCapability", "client/unregisterCapability",
		"window/workDoneProgress/create", "window/showMessageRequest",
		"workspace/semanticTokens/refresh", "workspace/inlayHint/refresh", "workspace/inlineValue/refresh",
		"workspace/codeLens/refresh", "workspace/diagnostic/refresh", "workspace/foldingRange/refresh":
		return nil, nil
	}
	return nil, &rpcError{Code: codeMethodNotFound, Message: "not supported: " + method}
}

// notice takes a notification; those about no open document are dropped.
func (s *server) notice(method string, params json.RawMessage) {
	if method != "textDocument/publishDiagnostics" {
		return
	}
	var news struct {
		URI         string       `json:"uri"`
		Version     *int         `json:"version"`
		Diagnostics []Diagnostic `json:"diagnostics"`
	}
	if json.Unmarshal(params, &news) != nil {
		return
	}
	path, err := pathOf(news.URI)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.published[path]
	if p == nil || news.Version != nil && *news.Version < p.version {
		return
	}
	p.fresh, p.diagnostics = true, news.Diagnostics
	close(s.changed)
	s.changed = make(chan struct{})
}

// expect says that the diagnostics of a document are now wanted for a version;
// 0 means that they are not wanted any more.
func (s *server) expect(path string, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version == 0 {
		delete(s.published, path)
		return
	}
	s.published[path] = &published{version: version}
}

// diagnostics waits for what the server says about an open document's present
// text. It returns nil when the document was closed meanwhile.
func (s *server) diagnostics(ctx context.Context, path string) ([]Diagnostic, error) {
	for {
		s.mu.Lock()
		p, changed := s.published[path], s.changed
		var fresh bool
		var found []Diagnostic
		if p != nil {
			fresh, found = p.fresh, p.diagnostics
		}
		s.mu.Unlock()
		if p == nil || fresh {
			return found, nil
		}
		select {
		case <-changed:
		case <-s.conn.closed:
			return nil, errEnded
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// pipes are a process's three standard files: ours are the ends that we hold.
type pipes struct {
	ours, theirs [3]*os.File
}

func (p *pipes) open() error {
	for i := range p.ours {
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("pipe: %w", err)
		}
		p.ours[i], p.theirs[i] = r, w
		if i == 0 {
			p.ours[i], p.theirs[i] = w, r
		}
	}
	return nil
}

func (p *pipes) closeOurs()   { closeAll(p.ours[:]) }
func (p *pipes) closeTheirs() { closeAll(p.theirs[:]) }

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
