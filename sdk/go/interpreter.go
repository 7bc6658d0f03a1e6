package daytona

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// Interpreter runs code piece by piece: variables last from one piece to the
// next, within a context. There is one context to begin with.
type Interpreter struct{ sandbox *Sandbox }

// InterpreterContext is a place of its own for variables.
type InterpreterContext struct {
	ID        string   `json:"id"`
	Dir       string   `json:"cwd"`
	Language  Language `json:"language"`
	CreatedAt string   `json:"createdAt"`
	Active    bool     `json:"active"`
}

// CreateContext makes a context. An empty directory is the sandbox's own, an
// empty language Python.
func (i *Interpreter) CreateContext(ctx context.Context, dir string, language Language) (InterpreterContext, error) {
	return postAs[InterpreterContext](ctx, i.sandbox.client, i.sandbox.toolbox("process", "interpreter", "context"), struct {
		Cwd      string   `json:"cwd,omitempty"`
		Language Language `json:"language,omitempty"`
	}{dir, language})
}

// Contexts lists the contexts that were made.
func (i *Interpreter) Contexts(ctx context.Context) ([]InterpreterContext, error) {
	out, err := getAs[struct {
		Contexts []InterpreterContext `json:"contexts"`
	}](ctx, i.sandbox.client, i.sandbox.toolbox("process", "interpreter", "context"), nil)
	return out.Contexts, err
}

// DeleteContext ends a context.
func (i *Interpreter) DeleteContext(ctx context.Context, id string) error {
	return i.sandbox.client.call(ctx, request{method: http.MethodDelete, url: i.sandbox.toolbox("process", "interpreter", "context", id)})
}

// Piece says what to run in which context.
type Piece struct {
	Code    string
	Context string // id; default: the context that is always there
	Env     map[string]string
	// Timeout ends the run; 0 is the server's default, negative is none.
	Timeout time.Duration
}

// Event is something that happened while code ran.
type Event struct {
	Type      string // stdout, stderr, error, chart, display or control
	Text      string // what was printed; of control: completed or interrupted
	Name      string // of an error: its class
	Value     string // of an error: its message
	Traceback string
	Chart     *Chart
	Data      json.RawMessage // of display: representations by MIME type
}

// Stream runs code and yields what happens. It ends with the code.
func (i *Interpreter) Stream(ctx context.Context, p Piece) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		conn, err := i.sandbox.dial(ctx, i.sandbox.toolbox("process", "interpreter", "execute"), nil)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer func() { _ = conn.CloseNow() }()
		in := struct {
			Code    string            `json:"code"`
			Context string            `json:"contextId,omitempty"`
			Timeout *float64          `json:"timeout,omitempty"`
			Envs    map[string]string `json:"envs,omitempty"`
		}{p.Code, p.Context, nil, p.Env}
		if p.Timeout != 0 {
			in.Timeout = new(max(0, p.Timeout.Seconds()))
		}
		data, err := json.Marshal(in)
		if err == nil {
			err = conn.Write(ctx, websocket.MessageText, data)
		}
		for err == nil {
			if _, data, err = conn.Read(ctx); err != nil {
				break
			}
			var e Event
			if err = json.Unmarshal(data, &e); err == nil && !yield(e, nil) {
				return
			}
		}
		switch code, reason := closing(err); {
		case code == websocket.StatusNormalClosure:
			return
		case code == 4008:
			err = fmt.Errorf("%w: the code was interrupted", ErrTimeout)
		case code == websocket.StatusPolicyViolation:
			err = fmt.Errorf("%w: %s", ErrInvalid, reason)
		case ctx.Err() != nil:
			err = ctx.Err()
		default:
			err = brokenOff("the run", err)
		}
		yield(Event{}, err)
	}
}

// RunResult is what a piece of code came to.
type RunResult struct {
	Stdout, Stderr string
	Error          *CodeError // nil when it ran to its end
	Charts         []Chart
}

// CodeError is an exception that code did not catch.
type CodeError struct{ Name, Value, Traceback string }

// Error returns class and message.
func (e *CodeError) Error() string { return e.Name + ": " + e.Value }

// Run runs code and returns everything that happened. An exception in it is no
// error of the call.
func (i *Interpreter) Run(ctx context.Context, p Piece) (*RunResult, error) {
	var out RunResult
	var stdout, stderr []byte
	for e, err := range i.Stream(ctx, p) {
		if err != nil {
			out.Stdout, out.Stderr = string(stdout), string(stderr)
			return &out, err
		}
		switch e.Type {
		case "stdout":
			stdout = append(stdout, e.Text...)
		case "stderr":
			stderr = append(stderr, e.Text...)
		case "error":
			out.Error = &CodeError{e.Name, e.Value, e.Traceback}
		case "chart":
			if e.Chart != nil {
				out.Charts = append(out.Charts, *e.Chart)
			}
		}
	}
	out.Stdout, out.Stderr = string(stdout), string(stderr)
	return &out, nil
}
