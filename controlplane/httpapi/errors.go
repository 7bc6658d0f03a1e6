package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"daytona/api"
	"daytona/internal/fault"
)

// statuses is the one table from kinds of fault to HTTP statuses.
var statuses = map[fault.Kind]int{
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Forbidden:       http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Conflict:        http.StatusConflict,
	fault.Gone:            http.StatusGone,
	fault.Timeout:         http.StatusRequestTimeout,
	fault.Unprocessable:   http.StatusUnprocessableEntity,
	fault.TooMany:         http.StatusTooManyRequests,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.Upstream:        http.StatusBadGateway,
	fault.Internal:        http.StatusInternalServerError,
}

// statusClientClosed is logged for a caller that left before the answer. Nobody
// receives it.
const statusClientClosed = 499

// maskedText is what a caller reads of a fault that nobody foresaw. The log
// has the cause under the same request id.
const maskedText = "Internal server error"

func statusOf(err error) int {
	if errors.Is(err, context.Canceled) && fault.KindOf(err) == fault.Internal {
		return statusClientClosed
	}
	if status, ok := statuses[fault.KindOf(err)]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// errorBody renders err for the caller. It never contains a cause.
func errorBody(r *http.Request, err error, source string) api.Error {
	status := statusOf(err)
	body := api.Error{
		StatusCode: status,
		Message:    maskedText,
		Error:      http.StatusText(status),
		Source:     source,
		Path:       infoOf(r).uri,
		Timestamp:  api.At(time.Now()),
		RequestID:  infoOf(r).requestID,
	}
	if body.Error == "" {
		body.Error = "Error"
	}
	body.Code = codeOf(status)
	if f, ok := asFault(err); ok && f.Kind != fault.Internal {
		body.Message = f.Text
		if f.Code != "" {
			body.Code = f.Code
		}
	}
	return body
}

// codeOf derives the code from a status: 404 is NOT_FOUND.
func codeOf(status int) string {
	text := http.StatusText(status)
	if text == "" {
		return "ERROR"
	}
	return strings.ToUpper(strings.NewReplacer(" ", "_", "-", "_", "'", "").Replace(text))
}

// fail answers with err and records it for the access log.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	a.failAs(w, r, err, api.SourceAPI)
}

func (a *API) failAs(w http.ResponseWriter, r *http.Request, err error, source string) {
	body := errorBody(r, err, source)
	if source == api.SourceProxy {
		body.Method = r.Method
	}
	infoOf(r).err = err
	if l := infoOf(r).limited; l != nil {
		l.headers(w.Header())
	}
	switch fault.KindOf(err) {
	case fault.Unauthenticated:
		w.Header().Set("WWW-Authenticate", `Bearer realm="daytona"`)
	case fault.Unavailable, fault.TooMany:
		if w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", "1")
		}
	}
	if body.StatusCode >= 500 {
		a.log.LogAttrs(r.Context(), slog.LevelError, "request failed", append(infoOf(r).attrs(r), slog.Any("error", err))...)
	}
	writeJSON(w, body.StatusCode, body)
}

// writeJSON sends v. It is encoded before the first byte leaves, so that what
// cannot be encoded becomes a 500 and not half an answer.
func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		status = http.StatusInternalServerError
		data = []byte(`{"statusCode":500,"message":"` + maskedText + `","error":"Internal Server Error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the caller left; the access log has its status
}

func asFault(err error) (*fault.Error, bool) { return errors.AsType[*fault.Error](err) }
