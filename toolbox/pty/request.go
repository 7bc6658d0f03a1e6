package pty

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
)

// request asks for a new session.
type request struct {
	ID        string            `json:"id"`
	Cwd       string            `json:"cwd,omitempty"`  // the work directory when empty
	Envs      map[string]string `json:"envs,omitempty"` // laid over the sandbox's own
	Cols      int               `json:"cols,omitempty"` // 80 when 0
	Rows      int               `json:"rows,omitempty"` // 24 when 0
	LazyStart bool              `json:"lazyStart,omitempty"`
	// Scrollback is how many bytes of output are kept for clients that come
	// later, and Linger for how many seconds the session outlives its last
	// client. 0 is none, and for ever.
	Scrollback int `json:"scrollback,omitempty"`
	Linger     int `json:"linger,omitempty"`
}

const (
	defaultCols, defaultRows = 80, 24
	mostCols, mostRows       = 1000, 1000
	longestID                = 255
)

// session returns the session that was asked for, not yet started.
func (s *Service) session(r request) (*session, error) {
	if err := checkID(r.ID); err != nil {
		return nil, err
	}
	if err := launch.CheckVars(r.Envs); err != nil {
		return nil, err
	}
	to := size{r.Cols, r.Rows}
	if to.cols == 0 {
		to.cols = defaultCols
	}
	if to.rows == 0 {
		to.rows = defaultRows
	}
	if err := to.check(); err != nil {
		return nil, err
	}
	if r.Scrollback < 0 || r.Scrollback > mostScrollback {
		return nil, fault.New(fault.Invalid, "scrollback must be between 0 and %d, not %d", mostScrollback, r.Scrollback)
	}
	if r.Linger < 0 {
		return nil, fault.New(fault.Invalid, "linger must not be negative")
	}
	dir := s.Space.Dir(r.Cwd)
	if info, err := os.Stat(dir); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "cannot start in %s: %s", dir, reasonOf(err))
	} else if !info.IsDir() {
		return nil, fault.New(fault.Invalid, "cannot start in %s: not a directory", dir)
	}
	envs := map[string]string{} // never nil: clients want an object
	maps.Copy(envs, r.Envs)
	return &session{
		service: s, id: r.ID, cwd: dir, envs: envs, lazy: r.LazyStart, size: to, created: time.Now(), mark: rand.Text(),
		room: make(chan struct{}, 1), clients: map[*client]struct{}{},
		scrollback: scrollback{limit: r.Scrollback}, linger: time.Duration(r.Linger) * time.Second,
	}, nil
}

// checkID makes sure that every route can be asked for the session.
func checkID(id string) error {
	switch {
	case id == "":
		return fault.New(fault.Invalid, "session ID is required")
	case id == "." || id == ".." || id == "create-connect":
		return fault.New(fault.Invalid, "session ID '%s' is reserved", id)
	case len(id) > longestID:
		return fault.New(fault.Invalid, "session ID is longer than %d bytes", longestID)
	case !utf8.ValidString(id) || strings.ContainsFunc(id, func(c rune) bool { return c == '/' || unicode.IsControl(c) }):
		return fault.New(fault.Invalid, "session ID must be text without slashes and control characters")
	}
	return nil
}

func (s size) check() error {
	if s.cols < 1 || s.cols > mostCols {
		return fault.New(fault.Invalid, "cols must be between 1 and %d, not %d", mostCols, s.cols)
	}
	if s.rows < 1 || s.rows > mostRows {
		return fault.New(fault.Invalid, "rows must be between 1 and %d, not %d", mostRows, s.rows)
	}
	return nil
}

// parseQuery reads a request from a query and, since a query is seen in logs,
// its variables from a sub-protocol.
func parseQuery(query url.Values, envs string) (request, error) {
	r := request{ID: query.Get("id"), Cwd: query.Get("cwd")}
	for name, to := range map[string]*int{"cols": &r.Cols, "rows": &r.Rows, "scrollback": &r.Scrollback, "linger": &r.Linger} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return request{}, fault.Wrap(err, fault.Invalid, "%s must be a whole number, not %q", name, text)
		}
		*to = n
	}
	var err error
	r.Envs, err = parseEnvs(envs)
	return r, err
}

// parseEnvs reads the variables of a sub-protocol: a JSON object of strings, in
// Base64 for URLs, of which the padding may be left out. "" is no variables.
func parseEnvs(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "sub-protocol %s<envs>: not Base64 for URLs", envsProtocol)
	}
	var envs map[string]string
	if err := json.Unmarshal(b, &envs); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "sub-protocol %s<envs>: not a JSON object of strings", envsProtocol)
	}
	return envs, nil
}
