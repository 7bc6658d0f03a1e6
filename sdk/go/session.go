package daytona

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
)

// Session is a shell in a sandbox that takes one command after the other:
// directory, variables and functions last from one to the next.
type Session struct {
	ID      string
	process *Process
}

// Command is a command of a session.
type Command struct {
	ID       string `json:"id"`
	Command  string `json:"command"`
	ExitCode *int   `json:"exitCode"` // nil while it runs
	Cause    string `json:"cause"`    // why it ended
	Signal   string `json:"signal"`   // the signal that ended it, if one did
	// OutputLost says what became of output that is not in the log.
	OutputLost string `json:"outputLost"`
}

// SessionInfo is what is known of a session.
type SessionInfo struct {
	ID       string    `json:"sessionId"`
	Commands []Command `json:"commands"`
}

// CreateSession starts a session under an id of one's choice.
func (p *Process) CreateSession(ctx context.Context, id string) (*Session, error) {
	err := p.sandbox.toolboxPost(ctx, map[string]string{"sessionId": id}, "process", "session")
	if err != nil {
		return nil, err
	}
	return p.Session(id), nil
}

// Session returns a session that there is. It makes no request.
func (p *Process) Session(id string) *Session { return &Session{ID: id, process: p} }

// Sessions lists the sessions.
func (p *Process) Sessions(ctx context.Context) ([]SessionInfo, error) {
	return getAs[[]SessionInfo](ctx, p.sandbox.client, p.sandbox.toolbox("process", "session"), nil)
}

// Entrypoint returns the session in which the image's own program runs.
func (p *Process) Entrypoint(ctx context.Context) (SessionInfo, error) {
	return getAs[SessionInfo](ctx, p.sandbox.client, p.sandbox.toolbox("process", "session", "entrypoint"), nil)
}

// FollowEntrypoint yields what the image's own program has printed and prints.
func (p *Process) FollowEntrypoint(ctx context.Context) iter.Seq2[LogChunk, error] {
	return p.follow(ctx, p.sandbox.toolbox("process", "session", "entrypoint", "logs"))
}

// EntrypointLogs returns what the image's own program has printed.
func (p *Process) EntrypointLogs(ctx context.Context) (*Logs, error) {
	logs, err := getAs[Logs](ctx, p.sandbox.client, p.sandbox.toolbox("process", "session", "entrypoint", "logs"), nil)
	return &logs, err
}

func (s *Session) url(names ...string) string {
	return s.process.sandbox.toolbox(append([]string{"process", "session", s.ID}, names...)...)
}

// Info returns the session with its commands.
func (s *Session) Info(ctx context.Context) (SessionInfo, error) {
	return getAs[SessionInfo](ctx, s.process.sandbox.client, s.url(), nil)
}

// Delete ends the session and everything that runs in it.
func (s *Session) Delete(ctx context.Context) error {
	return s.process.sandbox.client.call(ctx, request{method: http.MethodDelete, url: s.url()})
}

type sessionExec struct {
	Command string `json:"command"`
	Async   bool   `json:"runAsync,omitempty"`
	NoEcho  bool   `json:"suppressInputEcho,omitempty"`
}

// Run runs a command and waits for its end.
func (s *Session) Run(ctx context.Context, command string) (*Result, error) {
	out, err := postAs[struct {
		ID       string `json:"cmdId"`
		ExitCode *int   `json:"exitCode"`
		Output   string `json:"output"`
		Stdout   string `json:"stdout"`
		Stderr   string `json:"stderr"`
	}](ctx, s.process.sandbox.client, s.url("exec"), sessionExec{Command: command})
	if err != nil {
		return nil, err
	}
	if out.ExitCode == nil {
		return nil, fmt.Errorf("daytona: the command %s of session %s has no exit code", out.ID, s.ID)
	}
	return &Result{ExitCode: *out.ExitCode, Output: out.Output, Stdout: out.Stdout, Stderr: out.Stderr}, nil
}

// Start starts a command and returns its id at once. It goes on when the
// client is gone; its log can be read at any time.
func (s *Session) Start(ctx context.Context, command string) (id string, err error) {
	out, err := postAs[struct {
		ID string `json:"cmdId"`
	}](ctx, s.process.sandbox.client, s.url("exec"), sessionExec{Command: command, Async: true})
	return out.ID, err
}

// Command returns a command by its id.
func (s *Session) Command(ctx context.Context, id string) (Command, error) {
	return getAs[Command](ctx, s.process.sandbox.client, s.url("command", id), nil)
}

// Input gives a running command something to read.
func (s *Session) Input(ctx context.Context, commandID, text string) error {
	return s.process.sandbox.client.post(ctx, s.url("command", commandID, "input"), map[string]string{"data": text}, nil)
}

// Logs is what a command has printed.
type Logs struct {
	Output string `json:"output"` // both streams as they came
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// Logs returns what a command has printed so far.
func (s *Session) Logs(ctx context.Context, commandID string) (*Logs, error) {
	logs, err := getAs[Logs](ctx, s.process.sandbox.client, s.url("command", commandID, "logs"), nil)
	if err != nil {
		return nil, err
	}
	return &logs, nil
}

// LogChunk is a piece of what a command prints.
type LogChunk struct {
	Stderr bool // else it is of standard output
	Text   []byte
}

// Follow yields what a command has printed and prints, until it ends. The text
// of a chunk is valid until the next.
func (s *Session) Follow(ctx context.Context, commandID string) iter.Seq2[LogChunk, error] {
	return s.process.follow(ctx, s.url("command", commandID, "logs"))
}

// CopyLogs writes what a command has printed and prints to two writers, until
// it ends. Either may be nil.
func (s *Session) CopyLogs(ctx context.Context, commandID string, stdout, stderr io.Writer) error {
	for chunk, err := range s.Follow(ctx, commandID) {
		if err != nil {
			return err
		}
		w := stdout
		if chunk.Stderr {
			w = stderr
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(chunk.Text); err != nil {
			return err
		}
	}
	return nil
}

func (p *Process) follow(ctx context.Context, target string) iter.Seq2[LogChunk, error] {
	return func(yield func(LogChunk, error) bool) {
		res, err := p.sandbox.client.send(ctx, request{method: http.MethodGet, url: target, query: url.Values{"follow": {"true"}}, again: true})
		if err != nil {
			yield(LogChunk{}, err)
			return
		}
		defer res.Body.Close()
		var d demux
		buf := make([]byte, 32<<10)
		for {
			n, err := res.Body.Read(buf)
			if !d.feed(buf[:n], func(c LogChunk) bool { return yield(c, nil) }) {
				return
			}
			if errors.Is(err, io.EOF) {
				d.end(func(c LogChunk) bool { return yield(c, nil) })
				return
			}
			if err != nil {
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				yield(LogChunk{}, fmt.Errorf("daytona: the log broke off: %w", err))
				return
			}
		}
	}
}

// demux takes a log apart in which three bytes 1 begin what is of standard
// output, and three bytes 2 what is of standard error. A mark may be cut by the
// end of a piece.
type demux struct {
	stderr bool
	held   []byte // one or two bytes that may begin a mark
}

const markLength = 3

// feed passes what is complete to emit; it reports false when emit did.
func (d *demux) feed(data []byte, emit func(LogChunk) bool) bool {
	if len(d.held) > 0 {
		data = append(d.held, data...)
		d.held = nil
	}
	start := 0
	flush := func(end int) bool {
		return end == start || emit(LogChunk{d.stderr, data[start:end]})
	}
	for i := 0; i < len(data); {
		b := data[i]
		if b != 1 && b != 2 {
			i++
			continue
		}
		run := 1
		for run < markLength && i+run < len(data) && data[i+run] == b {
			run++
		}
		switch {
		case run == markLength:
			if !flush(i) {
				return false
			}
			d.stderr = b == 2
			i += markLength
			start = i
		case i+run == len(data): // the rest may come with the next piece
			if !flush(i) {
				return false
			}
			d.held = append([]byte(nil), data[i:]...)
			return true
		default:
			i += run
		}
	}
	return flush(len(data))
}

// end passes what was held back.
func (d *demux) end(emit func(LogChunk) bool) {
	if len(d.held) > 0 {
		emit(LogChunk{d.stderr, d.held})
		d.held = nil
	}
}
