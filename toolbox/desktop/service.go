// Package desktop lets a client use a computer's screen, mouse and keyboard: it
// runs an X server without a screen, a window manager and VNC in the sandbox, and
// takes pictures, moves the pointer and types.
//
// The programs come with the snapshot. Nothing runs until a client asks for it,
// and all of it ends with the sandbox. What it draws on and types into is reached
// by the X11 protocol itself (package x11), so that a click costs no process and
// no text ever passes through a shell.
package desktop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/desktop/x11"
	"daytona/toolbox/launch"
	"daytona/toolbox/wire"
)

// Codes that tell clients which of the usual things went wrong.
const (
	codeMissing    = "COMPUTER_USE_UNAVAILABLE"
	codeNotStarted = "COMPUTER_USE_NOT_STARTED"
)

// Config is what a Service needs.
type Config struct {
	Space *launch.Space
	Log   *slog.Logger
}

// Service answers the routes below /computeruse.
type Service struct {
	Config

	// changing is held while processes are started or stopped for a request,
	// input while events are sent: two texts typed at once would be one
	// jumble. Both are waited for together with the request's context.
	changing, input chan struct{}

	mu         sync.Mutex           // guards what follows
	processes  []*process           // by priority; nil until the first start
	lent       *lent                // replaced with the X server
	recordings map[string]*recorder // those under way, by id
}

// New returns a service. It starts nothing.
func New(c Config) *Service {
	return &Service{
		Config:   c,
		changing: make(chan struct{}, 1), input: make(chan struct{}, 1),
		lent:       &lent{},
		recordings: map[string]*recorder{},
	}
}

// Routes are the routes that the service answers.
func (s *Service) Routes() []wire.Route {
	routes := []wire.Route{
		{Pattern: "POST /computeruse/start", Handler: s.Start},
		{Pattern: "POST /computeruse/stop", Handler: s.Stop},
		{Pattern: "GET /computeruse/status", Handler: s.Status},
		{Pattern: "GET /computeruse/process-status", Handler: s.ProcessStatuses},
		{Pattern: "GET /computeruse/process/{name}/status", Handler: s.ProcessStatus},
		{Pattern: "POST /computeruse/process/{name}/restart", Handler: s.Restart},
		{Pattern: "GET /computeruse/process/{name}/logs", Handler: s.Logs},
		{Pattern: "GET /computeruse/process/{name}/errors", Handler: s.Errors},

		{Pattern: "GET /computeruse/screenshot", Handler: s.Screenshot},
		{Pattern: "GET /computeruse/screenshot/region", Handler: s.Region},
		{Pattern: "GET /computeruse/screenshot/compressed", Handler: s.Compressed},
		{Pattern: "GET /computeruse/screenshot/region/compressed", Handler: s.CompressedRegion},
		{Pattern: "GET /computeruse/display/info", Handler: s.DisplayInfo},
		{Pattern: "GET /computeruse/display/windows", Handler: s.Windows},

		{Pattern: "GET /computeruse/mouse/position", Handler: s.MousePosition},
		{Pattern: "POST /computeruse/mouse/move", Handler: s.MouseMove},
		{Pattern: "POST /computeruse/mouse/click", Handler: s.MouseClick},
		{Pattern: "POST /computeruse/mouse/down", Handler: s.MouseDown},
		{Pattern: "POST /computeruse/mouse/up", Handler: s.MouseUp},
		{Pattern: "POST /computeruse/mouse/drag", Handler: s.MouseDrag},
		{Pattern: "POST /computeruse/mouse/scroll", Handler: s.MouseScroll},
		{Pattern: "POST /computeruse/keyboard/type", Handler: s.Type},
		{Pattern: "POST /computeruse/keyboard/key", Handler: s.Key},
		{Pattern: "POST /computeruse/keyboard/hotkey", Handler: s.Hotkey},
		{Pattern: "POST /computeruse/keyboard/down", Handler: s.KeyDown},
		{Pattern: "POST /computeruse/keyboard/up", Handler: s.KeyUp},

		{Pattern: "POST /computeruse/recordings/start", Handler: s.RecordingStart},
		{Pattern: "POST /computeruse/recordings/stop", Handler: s.RecordingStop},
		{Pattern: "GET /computeruse/recordings", Handler: s.RecordingList},
		{Pattern: "GET /computeruse/recordings/{id}", Handler: s.RecordingGet},
		{Pattern: "GET /computeruse/recordings/{id}/download", Handler: s.RecordingDownload},
		{Pattern: "DELETE /computeruse/recordings/{id}", Handler: s.RecordingDelete},

		{Pattern: "GET /computeruse/a11y/tree", Handler: s.Tree},
		{Pattern: "POST /computeruse/a11y/find", Handler: s.Find},
		{Pattern: "POST /computeruse/a11y/node/focus", Handler: s.FocusNode},
		{Pattern: "POST /computeruse/a11y/node/invoke", Handler: s.InvokeNode},
		{Pattern: "POST /computeruse/a11y/node/value", Handler: s.SetNodeValue},
	}
	for i := range routes {
		routes[i].Handler = s.answering(routes[i].Handler)
	}
	return routes
}

// problem is the body of an error answer: the usual one, with the text where
// clients of computer use look for it.
type problem struct {
	wire.Error
	Reason   string `json:"error"`
	Details  string `json:"details,omitempty"`
	Solution string `json:"solution,omitempty"`
}

// explained is an error with more to say than its text.
type explained struct {
	error
	details, solution string
}

func (e explained) Unwrap() error { return e.error }

// answering wraps a handler: without the programs nothing is tried, and errors
// have the shape that clients of computer use expect.
func (s *Service) answering(h wire.Handler) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := s.available()
		if err == nil {
			err = h(w, r)
		}
		if err == nil || r.Context().Err() != nil {
			return err
		}
		body := problem{Error: wire.Describe(err, r, time.Now())}
		body.Reason = body.Message
		if e, ok := errors.AsType[explained](err); ok {
			body.Details, body.Solution = e.details, e.solution
		}
		if body.StatusCode >= http.StatusInternalServerError {
			s.Log.Error("request failed", "path", r.URL.Path, "err", err)
		}
		return wire.JSON(w, body.StatusCode, body)
	}
}

// available returns why there can be no desktop in this sandbox.
func (s *Service) available() error {
	if _, ok := s.program("Xvfb"); ok {
		return nil
	}
	return explained{
		fault.New(fault.Unavailable, "Computer-use functionality is not available: this sandbox's image has no X server").WithCode(codeMissing),
		"the program Xvfb is not in the sandbox's PATH",
		"Create the sandbox from the snapshot daytona-desktop (the server makes it when it is started with --snapshots daytona-slim,daytona-desktop), " +
			"or install the programs in your own image: apt-get install xvfb jwm x11vnc novnc ffmpeg",
	}
}

// program finds a program in the sandbox's PATH.
func (s *Service) program(name string) (path string, ok bool) {
	path, err := launch.LookPath(name, s.Space.Env.Get("PATH"), s.Space.WorkDir)
	return path, err == nil
}

// display is the number of the display, from the sandbox's environment.
func (s *Service) display() int {
	name, ok := strings.CutPrefix(s.Space.Env.Get("DISPLAY"), ":")
	if !ok {
		return 0
	}
	name, _, _ = strings.Cut(name, ".")
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < 1000 {
		return n
	}
	return 0
}

// screen connects to the display. The caller closes the connection.
func (s *Service) screen(ctx context.Context) (*x11.Conn, error) {
	c, err := x11.Dial(ctx, s.display())
	if err != nil {
		return nil, explained{
			fault.Wrap(err, fault.Invalid, "the desktop is not running: call /computeruse/start first").WithCode(codeNotStarted),
			err.Error(), "",
		}
	}
	return c, nil
}

// onScreen does something with the display and waits until the server has done it.
func (s *Service) onScreen(ctx context.Context, do func(*x11.Conn) error) error {
	c, err := s.screen(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := do(c); err != nil {
		return trouble(err)
	}
	return trouble(c.Sync())
}

// trouble is what a client reads of an X server that failed meanwhile.
func trouble(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "the X server did not do what it was asked: %s", err)
}

// hold takes a lock, or gives up with the request.
func hold(ctx context.Context, lock chan struct{}) (release func(), err error) {
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another request: %w", context.Cause(ctx))
	}
}
