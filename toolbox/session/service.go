package session

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"errors"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/wire"
)

// Config is what a Service needs.
type Config struct {
	Space *launch.Space
	// Dirs are where logs may be kept, the best first. Defaults to
	// ~/.daytona/sessions and, for users without a home directory, one below
	// /tmp.
	Dirs []string
	// PipeDirs are where named pipes may be, the best first. Defaults to
	// /dev/shm and /tmp.
	PipeDirs []string
	// Patience is how long a reader may take for one piece of output before
	// it is given up. Defaults to a minute.
	Patience time.Duration
	Log      *slog.Logger
}

// Service answers the routes below /process/session.
type Service struct {
	Config
	store  store
	pipes  pipes
	poller poller
	ids    ids

	mu         sync.Mutex // guards what follows
	sessions   map[string]*session
	entrypoint *command // nil until it is started
}

// entrypointID is the id of the session, and of the command in it, that stands
// for the image's own program.
const entrypointID = "entrypoint"

// New returns a service. Nothing is made on disk before the first session is.
func New(c Config) *Service {
	if c.Dirs == nil {
		home := c.Space.Home()
		c.Dirs = []string{
			filepath.Join(home, ".daytona", "sessions"),
			fmt.Sprintf("/tmp/.daytona-%d/sessions", os.Getuid()),
		}
	}
	if c.PipeDirs == nil {
		c.PipeDirs = []string{"/dev/shm", "/tmp"}
	}
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	return &Service{
		Config: c, store: store{dirs: c.Dirs}, pipes: pipes{parents: c.PipeDirs},
		sessions: map[string]*session{},
	}
}

// Close deletes all sessions, as a program does that is not the first process of
// a sandbox, with which everything ends.
func (s *Service) Close() {
	s.mu.Lock()
	all := s.sessions
	s.sessions = map[string]*session{}
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // no grace
	for _, x := range all {
		if x != nil {
			x.delete(ctx)
		}
	}
	s.poller.close()
	s.pipes.close()
	s.store.close()
}

// Routes are the routes that the service answers.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{
		{Pattern: "GET /process/session", Handler: s.list},
		{Pattern: "POST /process/session", Handler: s.create},
		{Pattern: "GET /process/session/{session}", Handler: s.get},
		{Pattern: "DELETE /process/session/{session}", Handler: s.remove},
		{Pattern: "POST /process/session/{session}/exec", Handler: s.exec},
		{Pattern: "GET /process/session/{session}/command/{command}", Handler: s.getCommand},
		{Pattern: "GET /process/session/{session}/command/{command}/logs", Handler: s.logs},
		{Pattern: "POST /process/session/{session}/command/{command}/input", Handler: s.input},
		{Pattern: "GET /process/session/entrypoint", Handler: s.getEntrypoint},
		{Pattern: "GET /process/session/entrypoint/logs", Handler: s.entrypointLogs},
	}
}

// Shapes on the wire.
type (
	sessionReply struct {
		SessionID string         `json:"sessionId"`
		Commands  []commandReply `json:"commands"`
	}
	commandReply struct {
		ID       string `json:"id"`
		Command  string `json:"command"`
		ExitCode *int   `json:"exitCode,omitempty"` // absent while it runs
		// Past the reference: why it is over, the signal's name, and what
		// has become of output that is not in the log.
		Cause      string `json:"cause,omitempty"`
		Signal     string `json:"signal,omitempty"`
		OutputLost string `json:"outputLost,omitempty"`
	}
)

// reply describes a command.
func (c *command) reply(strict bool) commandReply {
	r := commandReply{ID: c.id, Command: c.text}
	if e := c.ending(); e != nil {
		r.describe(*e, strict)
	}
	if e := c.out.extent(false); e.lost > 0 && !strict {
		r.OutputLost = fmt.Sprintf("%s; %d bytes were dropped", e.full, e.lost)
	}
	return r
}

func (r *commandReply) describe(e launch.Ending, strict bool) {
	r.ExitCode = &e.ExitCode
	if !strict {
		r.Cause, r.Signal = e.Cause, e.Signal
	}
}

func notFound(what string) error {
	return fault.New(fault.NotFound, "not found: %s not found", what)
}

// find returns a live session.
func (s *Service) find(id string) (*session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[id]
	return x, x != nil
}

func (s *Service) list(w http.ResponseWriter, r *http.Request) error {
	strict := wire.DialectOf(r).Strict
	s.mu.Lock()
	var all []*session
	for _, x := range s.sessions {
		if x != nil {
			all = append(all, x)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *session) int { return strings.Compare(a.id, b.id) })
	replies := []sessionReply{}
	for _, x := range all {
		if reply, ok := x.reply(strict); ok {
			replies = append(replies, reply)
		}
	}
	return wire.JSON(w, http.StatusOK, replies)
}

// reply describes a session; ok is false for one that is being deleted.
func (s *session) reply(strict bool) (reply sessionReply, ok bool) {
	s.mu.Lock()
	commands := slices.Clone(s.commands)
	deleting := s.deleting
	s.mu.Unlock()
	reply = sessionReply{s.id, []commandReply{}}
	for _, c := range commands {
		reply.Commands = append(reply.Commands, c.reply(strict))
	}
	return reply, !deleting
}

type createRequest struct {
	SessionID string `json:"sessionId"`
}

// create answers POST /process/session.
func (s *Service) create(w http.ResponseWriter, r *http.Request) error {
	var req createRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	const longest = 1024
	switch {
	case req.SessionID == "":
		return fault.New(fault.Invalid, "bad request: sessionId is required")
	case req.SessionID == entrypointID:
		return fault.New(fault.Invalid, "bad request: session id %q is reserved", entrypointID)
	case len(req.SessionID) > longest:
		return fault.New(fault.Invalid, "bad request: sessionId is longer than %d bytes", longest)
	}
	if err := s.reserve(r.Context(), req.SessionID); err != nil {
		return err
	}
	x, err := s.begin(req.SessionID, wire.DialectOf(r))
	s.mu.Lock()
	if err != nil {
		delete(s.sessions, req.SessionID)
	} else {
		s.sessions[req.SessionID] = x
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// reserve puts nil into the place of a session that is to be made. It waits
// while one of that name is being deleted.
func (s *Service) reserve(ctx context.Context, id string) error {
	for {
		s.mu.Lock()
		x, taken := s.sessions[id]
		if !taken {
			s.sessions[id] = nil
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if x == nil || !x.isDeleting() {
			return fault.New(fault.Conflict, "conflict: session already exists")
		}
		select {
		case <-x.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.forget(x)
	}
}

func (s *session) isDeleting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleting
}

// forget takes a deleted session off the list.
func (s *Service) forget(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[x.id] == x {
		delete(s.sessions, x.id)
	}
}

// begin makes a session.
func (s *Service) begin(id string, d wire.Dialect) (*session, error) {
	if err := s.store.begin(dirName(id)); err != nil {
		// A full disk does not keep anyone from starting a shell.
		if !isFull(err) {
			return nil, fmt.Errorf("create session: %w", storeFault(err))
		}
	}
	start := "/"
	for _, dir := range []string{s.startDir(d), s.Space.Home()} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			start = dir
			break
		}
	}
	x, err := s.startSession(id, start)
	if err != nil {
		_ = s.store.remove(dirName(id)) // it is empty, and the next of that name would remove it too
		return nil, fault.Wrap(err, fault.Unprocessable, "unprocessable entity: cannot start the session's shell: %s", reason(err))
	}
	return x, nil
}

// workDirSince is the first release whose sessions start in the work directory.
var workDirSince = wire.Version{0, 103, 0}

// startDir is where a client expects its sessions to start.
func (s *Service) startDir(d wire.Dialect) string {
	old := !d.Named && d.ViaAPI
	if d.Known {
		old = d.Version.Before(workDirSince)
	}
	if old {
		return s.Space.Home()
	}
	return s.Space.WorkDir
}

// get answers GET /process/session/{session}.
func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("session")
	strict := wire.DialectOf(r).Strict
	if x, ok := s.find(id); ok {
		reply, ok := x.reply(strict)
		if !ok {
			return notFound("session")
		}
		return wire.JSON(w, http.StatusOK, reply)
	}
	past, err := s.past(id)
	if err != nil {
		return err
	}
	reply := sessionReply{id, []commandReply{}}
	for _, c := range past {
		reply.Commands = append(reply.Commands, c.reply(strict))
	}
	return wire.JSON(w, http.StatusOK, reply)
}

func (c pastCommand) reply(strict bool) commandReply {
	r := commandReply{ID: c.id, Command: c.text}
	r.describe(c.end, strict)
	return r
}

// past returns the commands of a session of an earlier run of the sandbox.
func (s *Service) past(id string) ([]pastCommand, error) {
	s.mu.Lock()
	_, making := s.sessions[id]
	s.mu.Unlock()
	if making || id == entrypointID {
		return nil, notFound("session")
	}
	commands, err := s.store.past(dirName(id))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.Log.Warn("old session not read", "session", id, "err", err)
		}
		return nil, notFound("session")
	}
	return commands, nil
}

// remove answers DELETE /process/session/{session}: when it has answered, no
// process of the session is left.
func (s *Service) remove(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("session")
	if id == entrypointID {
		return fault.New(fault.Invalid, "bad request: the entrypoint session cannot be deleted")
	}
	x, ok := s.find(id)
	if !ok {
		if _, err := s.past(id); err != nil {
			return err
		}
		if err := s.store.remove(dirName(id)); err != nil {
			return fmt.Errorf("delete session: %w", err)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	// It is carried through whether the client waits or not.
	if !x.delete(context.WithoutCancel(r.Context())) {
		return notFound("session")
	}
	s.forget(x)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// getCommand answers GET /process/session/{session}/command/{command}.
func (s *Service) getCommand(w http.ResponseWriter, r *http.Request) error {
	id, command := r.PathValue("session"), r.PathValue("command")
	strict := wire.DialectOf(r).Strict
	c, err := s.command(id, command)
	if err != nil {
		return err
	}
	if c != nil {
		reply := c.reply(strict)
		reply.Command = c.fullText()
		return wire.JSON(w, http.StatusOK, reply)
	}
	past, err := s.pastCommand(id, command)
	if err != nil {
		return err
	}
	if text, err := s.store.text(dirName(id), past.id); err == nil {
		past.text = text
	}
	return wire.JSON(w, http.StatusOK, past.reply(strict))
}

// command returns a command of a live session or of the entrypoint's, nil if
// there is no such session, and an error if it has no such command.
func (s *Service) command(session, id string) (*command, error) {
	if session == entrypointID {
		c := s.entrypointCommand()
		if c == nil || c.id != id {
			return nil, notFound("command")
		}
		return c, nil
	}
	x, ok := s.find(session)
	if !ok {
		return nil, nil
	}
	c, ok := x.command(id)
	if !ok {
		return nil, notFound("command")
	}
	return c, nil
}

func (s *Service) pastCommand(session, id string) (pastCommand, error) {
	commands, err := s.past(session)
	if err != nil {
		return pastCommand{}, err
	}
	for _, c := range commands {
		if c.id == id {
			return c, nil
		}
	}
	return pastCommand{}, notFound("command")
}
