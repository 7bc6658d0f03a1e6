package lsp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// conn is the client's side of a JSON-RPC connection with a language server.
type conn struct {
	out   chan []byte  // framed messages for the writer
	heard atomic.Int64 // when the last message came, in nanoseconds
	// serve answers a request of the server; it must not block.
	serve func(method string, params json.RawMessage) (any, *rpcError)
	// notice takes a notification of the server; it must not block.
	notice func(method string, params json.RawMessage)

	closed chan struct{} // closed when the connection is over
	once   sync.Once
	cause  error // why it is over; set before closed

	mu      sync.Mutex // guards what follows
	last    int64      // id of the last request
	pending map[int64]chan<- response
}

// envelope is any message.
type envelope struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

// rpcError is how a server says that a request failed.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// Codes of JSON-RPC and of the protocol.
const (
	codeMethodNotFound  = -32601
	codeContentModified = -32801
)

type response struct {
	result json.RawMessage
	err    *rpcError
}

// queued is how many messages may wait for a server that does not read.
const queued = 256

var errUnread = errors.New("it does not read what it is sent")

// connect begins to read from r and to write to w, each in a goroutine that
// ends with the connection and the pipe.
func connect(r io.Reader, w io.Writer, serve func(string, json.RawMessage) (any, *rpcError), notice func(string, json.RawMessage)) *conn {
	c := &conn{
		out: make(chan []byte, queued), serve: serve, notice: notice,
		closed: make(chan struct{}), pending: map[int64]chan<- response{},
	}
	go c.write(w)
	go c.read(r)
	return c
}

// close ends the connection for a reason; only the first one counts.
func (c *conn) close(cause error) {
	c.once.Do(func() {
		c.cause = cause
		close(c.closed)
	})
}

func (c *conn) write(w io.Writer) {
	for {
		select {
		case message := <-c.out:
			if _, err := w.Write(message); err != nil {
				c.close(fmt.Errorf("write: %w", err))
				return
			}
		case <-c.closed:
			return
		}
	}
}

func (c *conn) read(r io.Reader) {
	buffered := bufio.NewReaderSize(r, maxHeaderLine)
	for {
		body, err := readMessage(buffered)
		if err == nil {
			c.heard.Store(time.Now().UnixNano())
			err = c.dispatch(body)
		}
		if err != nil {
			c.close(err)
			return
		}
	}
}

// dispatch passes a message on to whom it is for.
func (c *conn) dispatch(body []byte) error {
	var m envelope
	if err := json.Unmarshal(body, &m); err != nil {
		return malformed("not a message: %.80q", body)
	}
	hasID := len(m.ID) > 0 && string(m.ID) != "null"
	switch {
	case m.Method != "" && hasID:
		return c.reply(m)
	case m.Method != "":
		c.notice(m.Method, m.Params)
	case hasID:
		if waiting := c.take(m.ID); waiting != nil {
			waiting <- response{m.Result, m.Error}
		}
	}
	return nil
}

// take returns who waits for the answer to a request, or nil.
func (c *conn) take(raw json.RawMessage) chan<- response {
	id, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return nil // no id of ours
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := c.pending[id]
	delete(c.pending, id)
	return waiting
}

// reply answers a request of the server. It never waits: the server may itself
// be waiting for what it writes to be read.
func (c *conn) reply(m envelope) error {
	result, failure := c.serve(m.Method, m.Params)
	answer := envelope{Version: "2.0", ID: m.ID, Error: failure}
	if failure == nil {
		var err error
		if answer.Result, err = json.Marshal(result); err != nil {
			return fmt.Errorf("answer %s: %w", m.Method, err)
		}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("answer %s: %w", m.Method, err)
	}
	select {
	case c.out <- frame(body):
		return nil
	case <-c.closed:
		return c.cause
	default:
		return errUnread
	}
}

// send queues a message.
func (c *conn) send(ctx context.Context, id json.RawMessage, method string, params any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	body, err := json.Marshal(envelope{Version: "2.0", ID: id, Method: method, Params: raw})
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	select {
	case <-c.closed:
		return errEnded
	default:
	}
	select {
	case c.out <- frame(body):
		return nil
	case <-c.closed:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errEnded says that the connection ended before there was an answer.
var errEnded = errors.New("the connection with the language server has ended")

// notify sends a notification.
func (c *conn) notify(ctx context.Context, method string, params any) error {
	return c.send(ctx, nil, method, params)
}

// call sends a request and waits for its answer, which it decodes into result.
// When ctx ends, the server is told that nobody waits any more.
func (c *conn) call(ctx context.Context, method string, params, result any) error {
	answer := make(chan response, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.pending[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()
	if err := c.send(ctx, strconv.AppendInt(nil, id, 10), method, params); err != nil {
		return err
	}
	select {
	case r := <-answer:
		switch {
		case r.err != nil:
			return r.err
		case len(r.result) == 0:
			return nil // the same as null
		}
		if err := json.Unmarshal(r.result, result); err != nil {
			return fmt.Errorf("answer to %s: %w", method, err)
		}
		return nil
	case <-c.closed:
		return errEnded
	case <-ctx.Done():
		c.cancel(id)
		return context.Cause(ctx)
	}
}

// silence is how long nothing has come from the server.
func (c *conn) silence() time.Duration {
	return time.Since(time.Unix(0, c.heard.Load()))
}

// cancel tells the server that a request is no longer wanted, if there is room.
func (c *conn) cancel(id int64) {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":%d}}`, id)
	select {
	case c.out <- frame([]byte(body)):
	default:
	}
}
