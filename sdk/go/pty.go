package daytona

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/coder/websocket"
)

// PTYOptions says what terminal to open. Everything may be left out.
type PTYOptions struct {
	ID         string // default: a new one
	Dir        string
	Env        map[string]string
	Cols, Rows int // 80 and 24
}

// PTYInfo is what is known of a terminal.
type PTYInfo struct {
	ID        string            `json:"id"`
	Dir       string            `json:"cwd"`
	Env       map[string]string `json:"envs"`
	Cols      int               `json:"cols"`
	Rows      int               `json:"rows"`
	CreatedAt string            `json:"createdAt"`
	Active    bool              `json:"active"`
}

// PTY is a connection to a terminal with a shell in it. Reads give what is
// shown, and io.EOF when the shell has ended; writes are what is typed.
type PTY struct {
	ID string

	process *Process
	conn    *websocket.Conn
	ctx     context.Context
	cancel  context.CancelFunc

	mu   sync.Mutex // of rest
	rest []byte
	exit chan struct{} // closed with code and err set
	once sync.Once
	code int
	err  error
}

// OpenPTY makes a terminal and connects to it. The connection lasts as long as
// the context.
func (p *Process) OpenPTY(ctx context.Context, o PTYOptions) (*PTY, error) {
	if o.ID == "" {
		o.ID = newKey()
	}
	in := struct {
		ID   string            `json:"id"`
		Cwd  string            `json:"cwd,omitempty"`
		Envs map[string]string `json:"envs,omitempty"`
		Cols int               `json:"cols,omitempty"`
		Rows int               `json:"rows,omitempty"`
		Lazy bool              `json:"lazyStart"`
	}{o.ID, o.Dir, o.Env, o.Cols, o.Rows, true}
	if err := p.sandbox.toolboxPost(ctx, in, "process", "pty"); err != nil {
		return nil, err
	}
	return p.ConnectPTY(ctx, o.ID)
}

// ConnectPTY connects to a terminal that there is. Several may be connected.
func (p *Process) ConnectPTY(ctx context.Context, id string) (*PTY, error) {
	conn, err := p.sandbox.dial(ctx, p.sandbox.toolbox("process", "pty", id, "connect"), nil)
	if err != nil {
		return nil, err
	}
	kind, data, err := conn.Read(ctx)
	if err != nil {
		_ = conn.CloseNow()
		return nil, brokenOff("the connection to the terminal", err)
	}
	var hello struct{ Type, Status, Error string }
	if kind != websocket.MessageText || json.Unmarshal(data, &hello) != nil || hello.Status != "connected" {
		_ = conn.CloseNow()
		if hello.Error != "" {
			return nil, fmt.Errorf("daytona: terminal %s: %s", id, hello.Error)
		}
		return nil, fmt.Errorf("daytona: terminal %s answered %.80q", id, data)
	}
	ctx, cancel := context.WithCancel(ctx)
	return &PTY{ID: id, process: p, conn: conn, ctx: ctx, cancel: cancel, exit: make(chan struct{})}, nil
}

// PTYs lists the terminals.
func (p *Process) PTYs(ctx context.Context) ([]PTYInfo, error) {
	out, err := getAs[struct {
		Sessions []PTYInfo `json:"sessions"`
	}](ctx, p.sandbox.client, p.sandbox.toolbox("process", "pty"), nil)
	return out.Sessions, err
}

// PTYInfo returns what is known of a terminal.
func (p *Process) PTYInfo(ctx context.Context, id string) (PTYInfo, error) {
	return getAs[PTYInfo](ctx, p.sandbox.client, p.sandbox.toolbox("process", "pty", id), nil)
}

// KillPTY ends a terminal and everything in it.
func (p *Process) KillPTY(ctx context.Context, id string) error {
	return p.sandbox.toolboxDelete(ctx, "process", "pty", id)
}

// ResizePTY changes how many columns and rows a terminal has.
func (p *Process) ResizePTY(ctx context.Context, id string, cols, rows int) error {
	return p.sandbox.client.call(ctx, request{method: http.MethodPost, url: p.sandbox.toolbox("process", "pty", id, "resize"),
		in: map[string]int{"cols": cols, "rows": rows}, again: true})
}

// Read reads what the terminal shows. Calls must not overlap.
func (t *PTY) Read(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.rest) == 0 {
		kind, data, err := t.conn.Read(t.ctx)
		if err != nil {
			return 0, t.ended(err)
		}
		if kind == websocket.MessageBinary {
			t.rest = data
		}
	}
	n := copy(b, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// ended keeps how the shell ended, which the closing of the connection tells.
func (t *PTY) ended(err error) error {
	t.once.Do(func() {
		defer close(t.exit)
		_, reason := closing(err)
		var exit struct {
			Code *int `json:"exitCode"`
		}
		if json.Unmarshal([]byte(reason), &exit) == nil && exit.Code != nil {
			t.code = *exit.Code
			return
		}
		t.code, t.err = -1, brokenOff("the connection to the terminal", err)
		if t.ctx.Err() != nil {
			t.err = context.Cause(t.ctx)
		}
	})
	if t.err != nil {
		return t.err
	}
	return io.EOF
}

// Write types.
func (t *PTY) Write(b []byte) (int, error) {
	if err := t.conn.Write(t.ctx, websocket.MessageBinary, b); err != nil {
		return 0, brokenOff("the connection to the terminal", err)
	}
	return len(b), nil
}

// Wait reads and drops what is still shown, and returns the shell's exit code.
func (t *PTY) Wait() (int, error) {
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{t}); err != nil && !errors.Is(err, io.EOF) {
		return -1, err
	}
	<-t.exit
	return t.code, t.err
}

// Resize changes how many columns and rows there are.
func (t *PTY) Resize(ctx context.Context, cols, rows int) error {
	return t.process.ResizePTY(ctx, t.ID, cols, rows)
}

// Close ends the connection. The terminal goes on: KillPTY ends it.
func (t *PTY) Close() error {
	defer t.cancel()
	return t.conn.CloseNow()
}
