// Package interpreter keeps programs running that take their code piece by
// piece: contexts, of which each is a process whose variables last from one run
// to the next. What runs is shown on a WebSocket while it runs.
package interpreter

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

// Config is what a Service needs.
type Config struct {
	Space *launch.Space
	// Python starts "python3 -u -" from a ready interpreter, or reports that
	// it cannot. May be nil.
	Python func(context.Context, reaper.Command, string) (*reaper.Child, bool)
	Log    *slog.Logger
}

// Service answers the routes below /process/interpreter.
type Service struct {
	Config

	mu       sync.Mutex
	contexts map[string]*session // with the default one
}

// New returns a service without contexts.
func New(c Config) *Service {
	return &Service{Config: c, contexts: map[string]*session{}}
}

// Routes are the routes that the service answers.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{
		{Pattern: "POST /process/interpreter/context", Handler: s.Create},
		{Pattern: "GET /process/interpreter/context", Handler: s.List},
		{Pattern: "DELETE /process/interpreter/context/{id}", Handler: s.Delete},
		{Pattern: "POST /process/interpreter/context/{id}/interrupt", Handler: s.Interrupt},
		{Pattern: "GET /process/interpreter/execute", Handler: s.Execute},
	}
}

// defaultID names the context that is there without being made. It is not
// listed and cannot be deleted.
const defaultID = "default"

// description is a context as clients see it.
type description struct {
	ID        string `json:"id"`
	Cwd       string `json:"cwd"`
	CreatedAt string `json:"createdAt"`
	Active    bool   `json:"active"`
	Language  string `json:"language"`
}

func (s *session) describe() description {
	return description{s.id, s.dir, s.created.UTC().Format(time.RFC3339Nano), s.active(), s.language}
}

// Create answers POST /process/interpreter/context: it starts an interpreter.
func (s *Service) Create(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Cwd      string `json:"cwd,omitempty"`
		Language string `json:"language,omitempty"`
	}
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if req.Language == "" {
		req.Language = "python"
	}
	dir := s.Space.Dir(req.Cwd)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fault.Wrap(err, fault.Invalid, "cwd is not a directory: %s", req.Cwd)
	}
	c := s.session(uuid.NewString(), req.Language, dir)
	worker, err := s.startWorker(r.Context(), c.language, dir)
	if err != nil {
		return err
	}
	c.worker = worker
	s.mu.Lock()
	s.contexts[c.id] = c
	s.mu.Unlock()
	return wire.JSON(w, http.StatusOK, c.describe())
}

func (s *Service) session(id, language, dir string) *session {
	return &session{id: id, language: language, dir: dir, created: time.Now(), service: s}
}

// List answers GET /process/interpreter/context, oldest first.
func (s *Service) List(w http.ResponseWriter, _ *http.Request) error {
	s.mu.Lock()
	all := make([]*session, 0, len(s.contexts))
	for id, c := range s.contexts {
		if id != defaultID {
			all = append(all, c)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *session) int {
		if n := a.created.Compare(b.created); n != 0 {
			return n
		}
		return strings.Compare(a.id, b.id)
	})
	reply := struct {
		Contexts []description `json:"contexts"`
	}{make([]description, 0, len(all))}
	for _, c := range all {
		reply.Contexts = append(reply.Contexts, c.describe())
	}
	return wire.JSON(w, http.StatusOK, reply)
}

// Delete answers DELETE /process/interpreter/context/{id}: the interpreter and
// all that it has started are killed.
func (s *Service) Delete(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if id == defaultID {
		return fault.New(fault.Invalid, "the default context cannot be deleted")
	}
	s.mu.Lock()
	c, ok := s.contexts[id]
	delete(s.contexts, id)
	s.mu.Unlock()
	if !ok {
		return fault.New(fault.NotFound, "context not found: %s", id)
	}
	c.remove()
	return message(w, "context deleted")
}

// Interrupt answers POST /process/interpreter/context/{id}/interrupt: what runs
// in the context gets a KeyboardInterrupt.
func (s *Service) Interrupt(w http.ResponseWriter, r *http.Request) error {
	c, err := s.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	if !c.interrupt() {
		return fault.New(fault.Conflict, "nothing runs in context %s", c.id)
	}
	return message(w, "interrupted")
}

func message(w http.ResponseWriter, text string) error {
	return wire.JSON(w, http.StatusOK, struct {
		Message string `json:"message"`
	}{text})
}

// find returns a context; the default one is made by being asked for.
func (s *Service) find(id string) (*session, error) {
	if id == "" {
		id = defaultID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.contexts[id]
	if !ok && id == defaultID {
		c = s.session(id, "python", s.Space.WorkDir)
		s.contexts[id] = c
	} else if !ok {
		return nil, fault.New(fault.NotFound, "context not found: %s", id)
	}
	return c, nil
}

const (
	maxMessage = 64 << 20 // of a client; code is text that a person or a model wrote
	firstWait  = time.Minute
)

// Execute answers GET /process/interpreter/execute, a WebSocket: the client's
// first message says what to run, the frames sent are what it prints, and the
// code with which the socket is closed says how it ended.
func (s *Service) Execute(w http.ResponseWriter, r *http.Request) error {
	if !wire.IsUpgrade(r) {
		return fault.New(fault.Invalid, "this route is a WebSocket")
	}
	conn, err := wire.Accept(w, r)
	if err != nil {
		return nil // has been answered
	}
	defer func() { _ = conn.CloseNow() }() // has been closed, or the client has gone
	conn.SetReadLimit(maxMessage)
	first, cancel := context.WithTimeout(r.Context(), firstWait)
	kind, msg, err := conn.Read(first)
	cancel()
	if err != nil {
		_ = conn.Close(websocket.StatusProtocolError, "no message came")
		return nil
	}
	c := newClient(conn)
	refuse := func(code websocket.StatusCode, reason string) error {
		c.finish(code, reason)
		<-c.done
		return nil
	}
	if kind != websocket.MessageText {
		return refuse(websocket.StatusProtocolError, "the first message must be text")
	}
	req, err := parseRequest(msg)
	if err != nil {
		return refuse(websocket.StatusPolicyViolation, public(err))
	}
	session, err := s.find(req.ContextID)
	if err != nil {
		return refuse(websocket.StatusPolicyViolation, public(err))
	}
	run := &run{request: req, client: c, interrupt: make(chan struct{}, 1)}
	if err := session.enqueue(run); err != nil {
		return refuse(websocket.StatusPolicyViolation, public(err))
	}
	go c.listen(run)
	<-c.done
	return nil
}

// listen reads what the client says during a run, by which pings are answered
// too.
func (c *client) listen(r *run) {
	for {
		_, msg, err := c.conn.Read(context.Background())
		if err != nil {
			c.lost()
			return
		}
		var said struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(msg, &said) == nil && said.Type == "interrupt" {
			select {
			case r.interrupt <- struct{}{}:
			default:
			}
		}
	}
}
