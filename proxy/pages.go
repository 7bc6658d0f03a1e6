package proxy

import (
	"embed"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"daytona/api"
	"daytona/internal/fault"
)

//go:embed pages/*.html
var pageFiles embed.FS

var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// navigates reports that a person waits in front of a browser for a page.
func navigates(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || upgrades(r) {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return false
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// fail answers with an error: a page for a person, JSON for a program.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody waits any more
	}
	status := statusOf(err)
	text, code := "Internal server error", ""
	if f, ok := asFault(err); ok && f.Kind != fault.Internal {
		text, code = f.Text, f.Code
	}
	p.met.failures.WithLabelValues(string(fault.KindOf(err))).Inc()
	level := slog.LevelDebug
	if status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	p.log.Log(r.Context(), level, "preview not served", "host", r.Host, "method", r.Method, "path", r.URL.Path, "status", status, "error", err)
	h := w.Header()
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="daytona"`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "5")
	}
	if origin := r.Header.Get("Origin"); origin != "" && !strings.EqualFold(r.Header.Get(headerNoCORS), "true") {
		h.Set("Access-Control-Allow-Origin", origin) // so that a program learns why
		h.Add("Vary", "Origin")
	}
	if navigates(r) {
		p.page(w, status, "error.html", errorPage{Title: titleOf(status, code), Text: sentence(text), Retry: status >= 500})
		return
	}
	if code == "" {
		code = strings.ToUpper(strings.NewReplacer(" ", "_", "-", "_").Replace(http.StatusText(status)))
	}
	writeJSON(w, status, api.Error{
		StatusCode: status, Message: text, Error: http.StatusText(status), Code: code, Source: api.SourceProxy,
		Path: r.URL.Path, Method: r.Method, Timestamp: api.At(time.Now()),
	})
}

// sentence makes a text one that can stand alone.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return string(unicode.ToUpper(first)) + text[size:]
}

type errorPage struct {
	Title, Text string
	Retry       bool // trying again may help
}

func titleOf(status int, code string) string {
	switch {
	case code == codeNotStarted:
		return "This sandbox is not running"
	case code == "PORT_NOT_LISTENING":
		return "Nothing listens on this port"
	case status == http.StatusNotFound:
		return "Nothing here"
	case status == http.StatusUnauthorized:
		return "You need to sign in"
	case status == http.StatusForbidden:
		return "You are not allowed to see this"
	case status >= 500:
		return "This preview does not answer"
	}
	return "This request cannot be served"
}

// page sends a page of ours.
func (p *Proxy) page(w http.ResponseWriter, status int, name string, data any) {
	SecurePage(w.Header())
	w.WriteHeader(status)
	if err := pages.ExecuteTemplate(w, name, data); err != nil {
		p.log.Debug("page not sent", "page", name, "error", err)
	}
}

// SecurePage sets the headers of a page that shows text and, at most, a form.
func SecurePage(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"statusCode":500}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the caller has gone when this fails
}
