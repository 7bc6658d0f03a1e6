// Package fault is the vocabulary in which every part of the system says what
// went wrong.
//
// A fault has a kind, a text for the person who made the call, and
// optionally a cause for the log. The text must never contain the cause: what
// a user reads and what we record are different fields. Below HTTP nobody
// knows a status code; the one table from kinds to statuses is in
// controlplane/httpapi (and in toolbox for requests inside a sandbox).
//
// An error that is not a fault is internal: the user sees a request id, the log
// sees the error.
package fault

import (
	"errors"
	"fmt"
)

// Kind says which sort of thing went wrong.
type Kind string

// The kinds. Their string is what logs show.
const (
	Invalid         Kind = "invalid"         // the request is malformed or breaks a rule
	Unauthenticated Kind = "unauthenticated" // no or bad credentials
	Forbidden       Kind = "forbidden"       // known caller, missing permission or suspended
	NotFound        Kind = "not_found"       // unknown, or another organization's
	Conflict        Kind = "conflict"        // name taken, state moved on meanwhile
	Gone            Kind = "gone"            // existed, has ended
	Timeout         Kind = "timeout"         // a limit on time was reached
	Unprocessable   Kind = "unprocessable"   // understood, but this sandbox cannot do it
	TooMany         Kind = "too_many"        // a rate limit was reached
	Unavailable     Kind = "unavailable"     // a dependency is not ready; try again
	Upstream        Kind = "upstream"        // a server of somebody else's, needed for the answer, failed
	Internal        Kind = "internal"        // could not be foreseen
)

// Error is a fault.
type Error struct {
	Kind  Kind
	Code  string // optional fine-grained code, such as FILE_NOT_FOUND
	Text  string // for the caller
	cause error  // for the log
}

// Error returns the public text, followed by the cause if there is one. Use
// Text for what a caller may see.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Text + ": " + e.cause.Error()
	}
	return e.Text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// New returns a fault of a kind.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Wrap returns a fault of a kind whose cause is err. The text does not repeat
// the cause.
func Wrap(err error, kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...), cause: err}
}

// WithCode sets the fine-grained code and returns e.
func (e *Error) WithCode(code string) *Error {
	e.Code = code
	return e
}

// KindOf returns the kind of the first fault in err's chain, or Internal.
func KindOf(err error) Kind {
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Kind
	}
	return Internal
}

// Is reports whether err is a fault of a kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
