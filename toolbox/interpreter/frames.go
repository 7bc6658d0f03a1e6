package interpreter

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
)

// request is the first message of a client on a socket.
type request struct {
	Code      string            `json:"code"`
	ContextID string            `json:"contextId,omitempty"`
	Timeout   *float64          `json:"timeout,omitempty"` // seconds; 0 means no limit
	Envs      map[string]string `json:"envs,omitempty"`
}

// defaultTimeout is the limit for a run whose client names none.
const defaultTimeout = 10 * time.Minute

// parseRequest reads the first message. Its errors are for the client.
func parseRequest(message []byte) (request, error) {
	var req request
	if err := json.Unmarshal(message, &req); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
			return req, fault.Wrap(err, fault.Invalid, "invalid request: %s cannot be %s", wrong.Field, wrong.Value)
		}
		return req, fault.Wrap(err, fault.Invalid, "invalid request: not a JSON object")
	}
	if req.Code == "" {
		return req, fault.New(fault.Invalid, "invalid request: code is required")
	}
	if req.Timeout != nil && (*req.Timeout < 0 || *req.Timeout > 1e9) {
		return req, fault.New(fault.Invalid, "invalid request: timeout must be a number of seconds from 0 to 1e9")
	}
	return req, launch.CheckVars(req.Envs)
}

// limit is how long the run may take; 0 means no limit.
func (r request) limit() time.Duration {
	if r.Timeout == nil {
		return defaultTimeout
	}
	return time.Duration(*r.Timeout * float64(time.Second))
}

// frame is a message to a client. The types stdout, stderr, error and control
// are those that the SDKs read; chart and display, which they skip, are for
// clients that know them.
type frame struct {
	Type      string          `json:"type"`
	Text      string          `json:"text,omitempty"`
	Name      string          `json:"name,omitempty"`
	Value     string          `json:"value,omitempty"`
	Traceback string          `json:"traceback,omitempty"`
	Chart     json.RawMessage `json:"chart,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
}

// answer is what a worker says on its socket.
type answer struct {
	Type        string          `json:"type"` // error, chart, display or done
	Name        string          `json:"name"`
	Value       json.RawMessage `json:"value"` // a text for an error, an object for a chart
	Traceback   string          `json:"traceback"`
	Data        json.RawMessage `json:"data"`
	Seq         int64           `json:"seq"` // of a chart or display, to be acknowledged
	Interrupted bool            `json:"interrupted"`
}

// parseAnswer reads a line from a worker. Code may write to its worker's
// socket, so anything can come.
func parseAnswer(line []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("worker's answer: %w", err)
	}
	switch a.Type {
	case "error", "chart", "display", "done":
		return a, nil
	}
	return a, fmt.Errorf("worker's answer: unknown type %q", a.Type)
}

// text returns the value of an error.
func (a answer) text() string {
	var s string
	if json.Unmarshal(a.Value, &s) != nil {
		return string(a.Value)
	}
	return s
}

// frame is the answer as clients see it.
func (a answer) frame() frame {
	switch a.Type {
	case "chart":
		return frame{Type: a.Type, Chart: a.Value}
	case "display":
		return frame{Type: a.Type, Data: a.Data}
	}
	return frame{Type: a.Type, Name: a.Name, Value: a.text(), Traceback: a.Traceback}
}

// public is the text of an error that a client may see.
func public(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Text
	}
	return "internal error"
}
