// Package wire is how the toolbox speaks HTTP: handlers that return errors, one
// shape of error body, and the client's dialect.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"daytona/internal/fault"
)

// Route is a pattern of http.ServeMux and what answers it.
type Route struct {
	Pattern string
	Handler Handler
}

// Handler answers a request, or returns the error to answer with. A handler
// that has begun to write its answer must not return an error.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Error is the body of every error answer. The members are those that the
// clients of every era look for, so none of them is ever left out for one
// client's sake.
type Error struct {
	StatusCode int    `json:"statusCode"`
	Message    string `json:"message"`
	Reason     string `json:"error"`
	Code       string `json:"code"`
	Source     string `json:"source"`
	Timestamp  string `json:"timestamp"`
	Path       string `json:"path"`
	Method     string `json:"method"`
	// Result is what a command had printed until it was ended; only in
	// answers about commands.
	Result *string `json:"result,omitempty"`
}

// kinds maps each fault kind to its status and to the code used when the fault
// has none of its own.
var kinds = map[fault.Kind]struct {
	status int
	code   string
}{
	fault.Invalid:         {http.StatusBadRequest, "BAD_REQUEST"},
	fault.Unauthenticated: {http.StatusUnauthorized, "UNAUTHORIZED"},
	fault.Forbidden:       {http.StatusForbidden, "FORBIDDEN"},
	fault.NotFound:        {http.StatusNotFound, "NOT_FOUND"},
	fault.Conflict:        {http.StatusConflict, "CONFLICT"},
	fault.Gone:            {http.StatusGone, "GONE"},
	fault.Timeout:         {http.StatusRequestTimeout, "REQUEST_TIMEOUT"},
	fault.Unprocessable:   {http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY"},
	fault.TooMany:         {http.StatusTooManyRequests, "TOO_MANY_REQUESTS"},
	fault.Unavailable:     {http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE"},
	fault.Upstream:        {http.StatusBadGateway, "BAD_GATEWAY"},
	fault.Internal:        {http.StatusInternalServerError, "INTERNAL_SERVER_ERROR"},
}

// Describe turns an error into the body that tells the client about it. An
// error that is not a fault is shown as an internal error, without its text.
func Describe(err error, r *http.Request, now time.Time) Error {
	kind, message, code := fault.Internal, "internal server error", ""
	if f, ok := errors.AsType[*fault.Error](err); ok {
		kind, message, code = f.Kind, f.Text, f.Code
	}
	k, ok := kinds[kind]
	if !ok {
		k = kinds[fault.Internal]
	}
	if code == "" {
		code = k.code
	}
	return Error{
		StatusCode: k.status,
		Message:    message,
		Reason:     http.StatusText(k.status),
		Code:       code,
		Source:     "DAYTONA_DAEMON",
		Timestamp:  now.UTC().Format(time.RFC3339),
		Path:       r.URL.Path,
		Method:     r.Method,
	}
}

// JSON writes v as the answer. The value is encoded before the status is sent,
// so that a value that cannot be encoded is an error and not half an answer.
func JSON(w http.ResponseWriter, status int, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // the client has gone when this fails
	return nil
}

// maxJSONBody bounds the JSON of one request: code and commands are text that a
// person or a model wrote.
const maxJSONBody = 64 << 20

// Decode reads the request's JSON body into the struct that v points to. Its
// errors name the field that is wrong.
func Decode(r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxJSONBody))
	if err := dec.Decode(v); err != nil {
		return decodeFault(err, v)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fault.New(fault.Invalid, "request body must be one JSON object").WithCode("INVALID_REQUEST_BODY")
	}
	return nil
}

func decodeFault(err error, v any) error {
	invalid := func(format string, args ...any) error {
		return fault.Wrap(err, fault.Invalid, format, args...).WithCode("INVALID_REQUEST_BODY")
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return invalid("request body must be a JSON object, not %s", wrong.Value)
		}
		return invalid("%s must be %s, not %s", wrong.Field, typeName(wrong.Type), wrong.Value)
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return invalid("request body is larger than %d MiB", maxJSONBody>>20)
	}
	if errors.Is(err, io.EOF) {
		return invalid("request body is empty; %s required", required(v))
	}
	return invalid("request body is not valid JSON")
}

// required lists the JSON names of a struct, for messages.
func required(v any) string {
	t := reflect.TypeOf(v).Elem()
	if t.Kind() != reflect.Struct {
		return "JSON"
	}
	var names []string
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !strings.Contains(options, "omitempty") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "JSON object"
	}
	return strings.Join(names, ", ")
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}
