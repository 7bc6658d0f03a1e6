package toolbox

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/desktop"
	"daytona/toolbox/files"
	"daytona/toolbox/git"
	"daytona/toolbox/interpreter"
	"daytona/toolbox/launch"
	"daytona/toolbox/lsp"
	"daytona/toolbox/ports"
	"daytona/toolbox/process"
	"daytona/toolbox/pty"
	"daytona/toolbox/ready"
	"daytona/toolbox/reaper"
	"daytona/toolbox/session"
	"daytona/toolbox/watch"
	"daytona/toolbox/wire"
)

// Config is what a Server needs.
type Config struct {
	// Token is the secret that every request must carry. Required.
	Token string
	// Home is the user's home directory. Defaults to $HOME, else "/".
	Home string
	// WorkDir is where commands start and what relative paths start from.
	// Defaults to the current directory.
	WorkDir string
	// Environ is the environment for processes, as "K=V". Defaults to the
	// process's own. The toolbox's own settings are taken out of it.
	Environ []string
	// ShellList is the list of registered shells, of which one runs the
	// commands. Defaults to /etc/shells.
	ShellList string
	// Table starts the processes. Defaults to one that leaves other children
	// of this process alone.
	Table *reaper.Table
	// Version is what GET /version answers. Defaults to "dev".
	Version string
	// MaxOutput is how many bytes of one command's output are kept. Defaults
	// to 16 MiB.
	MaxOutput int
	// Ready makes the toolbox keep a Python interpreter ready. Table must get
	// the orphans of its processes then.
	Ready bool
	// Log defaults to none.
	Log *slog.Logger
}

// Header names that the toolbox knows.
const (
	TokenHeader     = "X-Daytona-Toolbox-Token"
	RequestIDHeader = "X-Request-Id"
	// ForwardedHeader marks a request that the runner passes on for a client.
	ForwardedHeader = "X-Daytona-Toolbox-Forwarded"
)

// Settings are the names of the environment variables by which the program
// cmd/toolbox is configured. No other process gets to see them.
var settings = []string{
	"DAYTONA_TOOLBOX_TOKEN", "DAYTONA_TOOLBOX_TOKEN_FILE", "DAYTONA_TOOLBOX_LISTEN",
	"DAYTONA_TOOLBOX_HOME", "DAYTONA_TOOLBOX_WORKDIR", "DAYTONA_TOOLBOX_LOG",
}

// Server answers the toolbox's requests.
type Server struct {
	config   Config
	space    *launch.Space
	files    *files.Service
	process  *process.Service
	contexts *interpreter.Service
	python   *ready.Interpreter // nil unless one is kept ready
	ports    *ports.Service
	lsp      *lsp.Service
	pty      *pty.Service
	watch    *watch.Service
	session  *session.Service
	git      *git.Service
	desktop  *desktop.Service
	mux      *http.ServeMux

	initOnce sync.Once
	ready    chan struct{} // closed by the first init

	mu    sync.Mutex // guards token
	token [sha256.Size]byte
}

// New returns a server.
func New(c Config) (*Server, error) {
	if c.Token == "" {
		return nil, fault.New(fault.Invalid, "a token is required")
	}
	if c.Environ == nil {
		c.Environ = os.Environ()
	}
	if c.Table == nil {
		c.Table = reaper.New()
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.WorkDir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return nil, fmt.Errorf("work directory: %w", err)
		}
		c.WorkDir = dir
	}
	env := launch.NewEnviron(c.Environ, settings...)
	if c.Home == "" {
		c.Home = env.Get("HOME")
	}
	if c.Home == "" {
		c.Home = "/"
	}
	env.Set(map[string]string{"HOME": c.Home})
	space := &launch.Space{Table: c.Table, Env: env, WorkDir: c.WorkDir, ShellList: c.ShellList}
	var python *ready.Interpreter
	startPython := func(context.Context, reaper.Command, string) (*reaper.Child, bool) { return nil, false }
	if c.Ready {
		python = ready.New(ready.Config{Space: space, Log: c.Log})
		startPython = python.Start
	}
	s := &Server{
		config: c,
		space:  space,
		ready:  make(chan struct{}),
		token:  sha256.Sum256([]byte(c.Token)),
		files: &files.Service{
			WorkDir: c.WorkDir,
			Home:    space.Home,
			Log:     c.Log,
		},
		process: process.New(process.Config{
			Space: space, MaxOutput: c.MaxOutput, Log: c.Log, Python: startPython,
		}),
		python:   python,
		contexts: interpreter.New(interpreter.Config{Space: space, Log: c.Log, Python: startPython}),
		ports:    &ports.Service{Log: c.Log},
		git:      &git.Service{Space: space, Log: c.Log},
		lsp:      lsp.New(lsp.Config{Space: space, Log: c.Log}),
		pty:      pty.New(pty.Config{Space: space, Log: c.Log}),
		watch:    watch.New(watch.Config{Space: space, Log: c.Log}),
		session:  session.New(session.Config{Space: space, Log: c.Log}),
		desktop:  desktop.New(desktop.Config{Space: space, Log: c.Log}),
	}
	s.mux = s.routes()
	return s, nil
}

// Ready is closed once the sandbox has been given its identity.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// WarmUp makes ready what a sandbox that waits for its owner will be asked for
// first. It returns at once.
func (s *Server) WarmUp() {
	if s.python != nil {
		s.python.Warm()
	}
}

// Environ returns the environment that a new process gets, as "K=V".
func (s *Server) Environ() []string { return s.space.Env.With(nil).Pairs() }

// WorkDir returns where processes start.
func (s *Server) WorkDir() string { return s.config.WorkDir }

// StartEntrypoint starts the image's own program with the sandbox's environment.
// What it prints is the log of the session "entrypoint".
func (s *Server) StartEntrypoint(args []string) (*reaper.Child, error) {
	return s.session.StartEntrypoint(args)
}

// Stopping says that the sandbox is about to end, so that commands which end
// from now on can tell why.
func (s *Server) Stopping() { s.space.Stop() }

// Close ends what clients have left running. The first process of a sandbox need
// not call it: everything ends with it.
func (s *Server) Close() {
	s.session.Close()
	s.pty.Close()
}

// HangUp tells the programs in terminals that the end is near. It does not wait.
func (s *Server) HangUp() { s.pty.HangUp() }

// ServeHTTP answers one request: whoever it is from, by what token, and how it
// went is decided and logged here and nowhere else.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	out := &recorder{ResponseWriter: w}
	log := s.config.Log.With("method", r.Method, "path", r.URL.Path)
	if id := r.Header.Get(RequestIDHeader); id != "" {
		log = log.With("request", id)
		out.Header().Set(RequestIDHeader, id)
	}
	if trace := traceID(r.Header.Get("Traceparent")); trace != "" {
		log = log.With("trace", trace)
	}
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		err, _ := cause.(error)
		broken := errors.Is(err, http.ErrAbortHandler) // on purpose, by a handler
		if !broken {
			log.Error("handler panicked", "cause", cause, "stack", string(debug.Stack()))
		}
		if out.status == 0 && !broken {
			s.fail(out, r, log, fmt.Errorf("panic: %v", cause))
			return
		}
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}()
	if !s.authentic(r.Header.Get(TokenHeader)) {
		s.fail(out, r, log, fault.New(fault.Unauthenticated, "unauthorized: missing or wrong toolbox token"))
		return
	}
	r.Header.Del(TokenHeader)
	if strings.HasPrefix(r.URL.Path, ports.Prefix) {
		// Past the mux, which tidies paths up, and the limit on pauses:
		// both are the business of the program that it is for.
		s.handle(s.ports.Proxy).ServeHTTP(out, r)
		return
	}
	r.Body = &patientBody{r.Body, http.NewResponseController(w)}
	s.mux.ServeHTTP(out, r)
	log.Debug("answered", "status", out.status, "bytes", out.bytes, "took", time.Since(begun))
}

// authentic reports whether token is the toolbox's.
func (s *Server) authentic(token string) bool {
	given := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	return subtle.ConstantTimeCompare(given[:], s.token[:]) == 1
}

// handle turns a handler that returns an error into one that has answered it.
func (s *Server) handle(h wire.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, s.config.Log, err)
		}
	})
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	if r.Context().Err() != nil {
		log.Debug("client has gone", "path", r.URL.Path, "err", err)
		return
	}
	body := wire.Describe(err, r, time.Now())
	if body.StatusCode >= http.StatusInternalServerError {
		log.Error("request failed", "path", r.URL.Path, "request", r.Header.Get(RequestIDHeader), "err", err)
	}
	if out, ok := w.(*recorder); ok && out.status != 0 {
		return
	}
	if err := wire.JSON(w, body.StatusCode, body); err != nil {
		log.Error("error not shown", "err", err)
	}
}

// traceID returns the trace id of a W3C traceparent header, or "".
func traceID(header string) string {
	parts := strings.Split(header, "-")
	if len(parts) < 4 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	return parts[1]
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom lets a file go to the connection without passing through memory.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := io.Copy(r.ResponseWriter, src)
	r.bytes += n
	return n, err
}

// Unwrap gives http.ResponseController the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
