package daytona

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"daytona/api"
)

// The kinds of errors, for [errors.Is].
var (
	ErrNoCredentials = errors.New("no API key")               // neither in code nor in the environment
	ErrInvalid       = errors.New("invalid request")          // 400
	ErrUnauthorized  = errors.New("unknown API key or token") // 401
	ErrForbidden     = errors.New("not permitted")            // 403
	ErrNotFound      = errors.New("not found")                // 404
	ErrTimeout       = errors.New("time limit reached")       // 408, and waits that were too long
	ErrConflict      = errors.New("conflict")                 // 409
	ErrGone          = errors.New("gone")                     // 410
	ErrUnprocessable = errors.New("cannot be done here")      // 422
	ErrRateLimited   = errors.New("too many requests")        // 429
	ErrUnavailable   = errors.New("server unavailable")       // 502, 503, 504
	ErrUnsupported   = errors.New("not offered")              // this server knows nothing of the kind
	ErrServer        = errors.New("server error")             // any other of 500 and above
	ErrFailed        = errors.New("failed")                   // a sandbox or snapshot came to an error state
)

// Error is a request that a server refused, or could not carry out.
type Error struct {
	StatusCode int
	Code       string // fine-grained and stable, such as FILE_NOT_FOUND; may be empty
	Message    string // for a person
	RequestID  string // by which an operator finds the request in the server's log
	Method     string
	Path       string
}

// Error returns the server's message.
func (e *Error) Error() string {
	text := e.Message
	if e.unsupported() {
		text = fmt.Sprintf("this server does not offer %s %s", e.Method, e.Path)
	}
	if text == "" {
		text = http.StatusText(e.StatusCode)
	}
	if e.StatusCode >= 500 && e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

// unsupported tells a server without such a route from one without such an
// object: both answer 404.
func (e *Error) unsupported() bool {
	return e.StatusCode == http.StatusNotFound && e.Message == "Cannot "+e.Method+" "+e.Path
}

// Is makes an Error one of the kinds above.
func (e *Error) Is(target error) bool {
	switch e.StatusCode {
	case http.StatusBadRequest:
		return target == ErrInvalid
	case http.StatusUnauthorized:
		return target == ErrUnauthorized
	case http.StatusForbidden:
		return target == ErrForbidden
	case http.StatusNotFound:
		if e.unsupported() {
			return target == ErrUnsupported
		}
		return target == ErrNotFound
	case http.StatusRequestTimeout:
		return target == ErrTimeout
	case http.StatusConflict:
		return target == ErrConflict
	case http.StatusGone:
		return target == ErrGone
	case http.StatusUnprocessableEntity:
		return target == ErrUnprocessable
	case http.StatusTooManyRequests:
		return target == ErrRateLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return target == ErrUnavailable
	}
	return e.StatusCode >= 500 && target == ErrServer
}

// maxErrorBody bounds what is read of an error's body.
const maxErrorBody = 64 << 10

// errorOf reads the error that a response carries. It closes the body.
func errorOf(res *http.Response) error {
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	e := &Error{StatusCode: res.StatusCode, RequestID: res.Header.Get("X-Request-Id"), Method: res.Request.Method, Path: res.Request.URL.Path}
	var wire struct {
		Code    string          `json:"code"`
		Message json.RawMessage `json:"message"`
		Error   string          `json:"error"`
		Details string          `json:"details"`
		Errors  []string        `json:"errors"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		e.Message = fmt.Sprintf("%s: %s", res.Status, strings.TrimSpace(string(body)))
		return e
	}
	e.Code = wire.Code
	var many []string
	switch {
	case json.Unmarshal(wire.Message, &e.Message) == nil && e.Message != "":
	case json.Unmarshal(wire.Message, &many) == nil && len(many) > 0:
		e.Message = strings.Join(many, "; ")
	case len(wire.Errors) > 0:
		e.Message = strings.Join(wire.Errors, "; ")
	default:
		e.Message = wire.Error
	}
	if e.Message == "" {
		e.Message = res.Status
	}
	return e
}

// StateError says that a sandbox or snapshot came to a state from which the
// awaited one cannot be reached. It is an [ErrFailed].
type StateError struct {
	Kind   string // "sandbox" or "snapshot"
	ID     string
	State  string
	Reason string // in the server's words; may be empty
}

// Error names the state and its reason.
func (e *StateError) Error() string {
	text := fmt.Sprintf("%s %s is in state %s", e.Kind, e.ID, e.State)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Is makes a StateError an ErrFailed.
func (e *StateError) Is(target error) bool { return target == ErrFailed }

func sandboxFailed(sb api.Sandbox) error {
	reason := ""
	if sb.ErrorReason != nil {
		reason = *sb.ErrorReason
	}
	return &StateError{Kind: "sandbox", ID: sb.ID, State: string(sb.State), Reason: reason}
}
