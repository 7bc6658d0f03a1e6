package desktop

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

// helper is the program that speaks with the accessibility bus. It is run for
// one request: it reads the request as JSON on its standard input, and prints
// {"answer": …} or {"code": …, "error": …}.
//
//go:embed a11y.py
var helper []byte

// Bounds of what is asked of the helper.
const (
	helperTime   = 30 * time.Second
	maxAnswer    = 32 << 20
	defaultDepth = 25
	maxDepth     = 100
	defaultLimit = 500
	maxLimit     = 5000
)

// question is what the helper is asked.
type question struct {
	Do        string   `json:"do"` // tree, find, focus, invoke or value
	Scope     string   `json:"scope,omitempty"`
	PID       int      `json:"pid,omitempty"`
	MaxDepth  int      `json:"maxDepth,omitempty"`
	MaxNodes  int      `json:"maxNodes,omitempty"`
	Role      string   `json:"role,omitempty"`
	Name      string   `json:"name,omitempty"`
	NameMatch string   `json:"nameMatch,omitempty"`
	States    []string `json:"states,omitempty"`
	Limit     int      `json:"limit,omitempty"`
	ID        string   `json:"id,omitempty"`
	Action    string   `json:"action,omitempty"`
	Value     string   `json:"value,omitempty"`
}

func invalidRequest(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).WithCode("A11Y_INVALID_REQUEST")
}

// scope checks which part of the desktop a question is about.
func (q *question) scope() error {
	switch q.Scope {
	case "":
		q.Scope = "focused"
		if q.PID != 0 {
			q.Scope = "pid"
		}
	case "focused", "all":
	case "pid":
		if q.PID <= 0 {
			return invalidRequest("pid is required with the scope pid")
		}
	default:
		return fault.New(fault.Invalid, "scope must be focused, pid or all, not %q", q.Scope).WithCode("A11Y_INVALID_SCOPE")
	}
	return nil
}

// Tree answers what the programs on the screen say of their contents.
func (s *Service) Tree(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	q := question{Do: "tree", Scope: query.Get("scope"), MaxDepth: defaultDepth, MaxNodes: maxLimit}
	for name, p := range map[string]*int{"pid": &q.PID, "maxDepth": &q.MaxDepth} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return invalidRequest("%s must be a whole number, not %q", name, text)
		}
		*p = n
	}
	if q.MaxDepth == 0 || q.MaxDepth > maxDepth {
		q.MaxDepth = maxDepth
	}
	if err := q.scope(); err != nil {
		return err
	}
	return s.ask(w, r, q)
}

// Find answers the nodes that fit a description.
func (s *Service) Find(w http.ResponseWriter, r *http.Request) error {
	q := question{}
	if err := wire.Decode(r, &q); err != nil {
		return err
	}
	q.Do, q.MaxDepth, q.MaxNodes = "find", maxDepth, 10*maxLimit
	if err := q.scope(); err != nil {
		return err
	}
	if q.NameMatch == "" {
		q.NameMatch = "substring"
	}
	if !slices.Contains([]string{"exact", "substring", "regex"}, q.NameMatch) {
		return invalidRequest("nameMatch must be exact, substring or regex, not %q", q.NameMatch)
	}
	if q.NameMatch == "regex" {
		// What this engine takes runs in linear time here and is bounded by
		// the helper's time there.
		if _, err := regexp.Compile(q.Name); err != nil {
			return invalidRequest("name is not a regular expression: %s", err)
		}
	}
	if q.Limit == 0 {
		q.Limit = defaultLimit
	}
	if q.Limit < 0 || q.Limit > maxLimit {
		return invalidRequest("limit must be from 1 to %d, not %d", maxLimit, q.Limit)
	}
	return s.ask(w, r, q)
}

// FocusNode gives a node the keyboard.
func (s *Service) FocusNode(w http.ResponseWriter, r *http.Request) error {
	return s.askNode(w, r, "focus")
}

// InvokeNode does what a node can do; its first action unless the request names one.
func (s *Service) InvokeNode(w http.ResponseWriter, r *http.Request) error {
	return s.askNode(w, r, "invoke")
}

// SetNodeValue writes a node's text or number.
func (s *Service) SetNodeValue(w http.ResponseWriter, r *http.Request) error {
	return s.askNode(w, r, "value")
}

func (s *Service) askNode(w http.ResponseWriter, r *http.Request, do string) error {
	var in struct {
		ID     string  `json:"id"`
		Action string  `json:"action,omitempty"`
		Value  *string `json:"value,omitempty"`
	}
	if err := wire.Decode(r, &in); err != nil {
		return err
	}
	if in.ID == "" {
		return invalidRequest("id is required")
	}
	q := question{Do: do, ID: in.ID, Action: in.Action}
	if do == "value" {
		if in.Value == nil {
			return invalidRequest("value is required")
		}
		q.Value = *in.Value
	}
	return s.ask(w, r, q)
}

// statuses of the helper's codes.
var a11yKinds = map[string]fault.Kind{
	"A11Y_UNAVAILABLE": fault.Unavailable, "A11Y_NODE_NOT_FOUND": fault.NotFound, "A11Y_NO_ACCESSIBLE_ROOT": fault.NotFound,
	"A11Y_ACTION_NOT_SUPPORTED": fault.Invalid, "A11Y_INVALID_REQUEST": fault.Invalid, "A11Y_INTERNAL": fault.Internal,
}

// ask runs the helper and answers with what it says.
func (s *Service) ask(w http.ResponseWriter, r *http.Request, q question) error {
	python, ok := s.program("python3")
	if !ok {
		return unavailable("the program python3 is not in the sandbox's PATH")
	}
	if p := s.process("atspi"); p == nil {
		return unavailable("the accessibility bus is not running: call /computeruse/start first")
	}
	in, err := json.Marshal(q)
	if err != nil {
		return err
	}
	out, err := s.runHelper(r.Context(), python, in)
	if err != nil {
		return err
	}
	var said struct {
		Answer json.RawMessage `json:"answer"`
		Code   string          `json:"code"`
		Error  string          `json:"error"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return fault.Wrap(fmt.Errorf("%w: %.500s", err, out), fault.Internal, "the accessibility helper failed").WithCode("A11Y_INTERNAL")
	}
	switch {
	case said.Code == "A11Y_UNAVAILABLE":
		return unavailable(said.Error)
	case said.Code != "":
		kind, ok := a11yKinds[said.Code]
		if !ok {
			kind = fault.Internal
		}
		return fault.New(kind, "%s", said.Error).WithCode(said.Code)
	}
	return wire.JSON(w, http.StatusOK, said.Answer)
}

func unavailable(why string) error {
	return explained{
		fault.New(fault.Unavailable, "the accessibility tree is not available: %s", why).WithCode("A11Y_UNAVAILABLE"),
		why, "Create the sandbox from the snapshot daytona-desktop, or install python3-gi, gir1.2-atspi-2.0, at-spi2-core and dbus-x11 in your own image.",
	}
}

// runHelper runs the helper to its end and returns what it printed.
func (s *Service) runHelper(ctx context.Context, python string, in []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTime)
	defer cancel()
	stdin, err := os.CreateTemp("", "a11y-*")
	if err != nil {
		return nil, noFolder(err)
	}
	defer stdin.Close()
	if err := errors.Join(os.Remove(stdin.Name()), write(stdin, in)); err != nil {
		return nil, noFolder(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	child, err := s.Space.Table.Start(reaper.Command{
		Path: python, Args: []string{"python3", "-I", "-c", string(helper)},
		Env: s.Space.Env.With(map[string]string{"DBUS_SESSION_BUS_ADDRESS": s.bus(), "DISPLAY": ":" + decimal(s.display())}).Pairs(),
		Dir: "/", Stdin: stdin, Stdout: w, Stderr: w,
	})
	w.Close()
	if err != nil {
		return nil, unavailable(err.Error())
	}
	stop := context.AfterFunc(ctx, child.KillTree)
	defer stop()
	out, err := io.ReadAll(io.LimitReader(r, maxAnswer))
	child.Signal(syscall.SIGKILL) // it has nothing more to say
	<-child.Done()
	if ctx.Err() != nil {
		return nil, fault.Wrap(context.Cause(ctx), fault.Timeout, "the accessibility tree could not be read within %s: a program may hang", helperTime).WithCode("A11Y_INTERNAL")
	}
	return bytes.TrimSpace(out), err
}

// write fills a file that is to be read from its start.
func write(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	return err
}
