// Package pty runs shells in pseudo-terminals, to which clients connect by
// WebSocket.
//
// A session is a shell with its terminal. It lives until the shell ends or the
// session is deleted; clients come and go meanwhile, several at a time. What the
// shell prints goes to those that are connected at that moment; a record of it is
// kept for later ones only where the session was asked for with scrollback.
//
// The memory of a session is bounded whatever its program and its clients do.
// A program that prints faster than its clients read is held back, as by any
// terminal; a client that does not read, or that keeps the others waiting, is
// disconnected. A client that sends faster than the program reads is held back.
package pty

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/wire"
)

// Config is what a Service needs. A limit that is 0 means its default.
type Config struct {
	Space *launch.Space
	// MaxSessions is how many sessions there may be at a time, 256 by default.
	MaxSessions int
	// MaxClients is how many clients a session may have at a time, 32 by default.
	MaxClients int
	// Backlog is how many bytes of output may wait for one client before the
	// program is held back for its sake, 256 KiB by default.
	Backlog int
	// Stall is how long the program is held back for a client that takes
	// nothing, and Lag how long altogether for one that lags behind
	// others, before it is disconnected. 10 s and 2 s by default.
	Stall, Lag time.Duration
	// FrameLimit is the time that the network has to take one frame, 30 s by
	// default: a connection that hangs is ended then.
	FrameLimit time.Duration
	Log        *slog.Logger
}

// What is not worth a setting.
const (
	frame      = 32 << 10        // most bytes of output in one frame; clients refuse large ones
	inputPiece = 4 << 10         // bytes of input that are handed on at a time
	inputLimit = 64 << 10        // bytes of one client's input that may wait for the program
	killWait   = 5 * time.Second // for a killed shell to be gone
)

// Service answers the routes below /process/pty.
type Service struct {
	Config
	output sync.Pool // *[]byte of size frame
	input  sync.Pool // *[]byte of size inputPiece

	mu       sync.Mutex // guards sessions
	sessions map[string]*session
}

// New returns a service.
func New(c Config) *Service {
	c.MaxSessions = cmp.Or(c.MaxSessions, 256)
	c.MaxClients = cmp.Or(c.MaxClients, 32)
	c.Backlog = cmp.Or(c.Backlog, 256<<10)
	c.Stall = cmp.Or(c.Stall, 10*time.Second)
	c.Lag = cmp.Or(c.Lag, 2*time.Second)
	c.FrameLimit = cmp.Or(c.FrameLimit, 30*time.Second)
	s := &Service{Config: c, sessions: map[string]*session{}}
	s.output.New = func() any { return new(make([]byte, frame)) }
	s.input.New = func() any { return new(make([]byte, inputPiece)) }
	return s
}

// Routes are the routes that the service answers.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{
		{Pattern: "GET /process/pty", Handler: s.shown(s.list)},
		{Pattern: "POST /process/pty", Handler: s.shown(s.create)},
		{Pattern: "GET /process/pty/create-connect", Handler: s.shown(s.createConnect)},
		{Pattern: "GET /process/pty/{id}", Handler: s.shown(s.get)},
		{Pattern: "DELETE /process/pty/{id}", Handler: s.shown(s.remove)},
		{Pattern: "POST /process/pty/{id}/resize", Handler: s.shown(s.resize)},
		{Pattern: "GET /process/pty/{id}/connect", Handler: s.shown(s.connect)},
		{Pattern: "GET /process/attach", Handler: s.attach},
	}
}

// add takes a session in.
func (s *Service) add(new *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.sessions[new.id]; taken {
		return fault.New(fault.Conflict, "PTY session with ID '%s' already exists", new.id)
	}
	if len(s.sessions) >= s.MaxSessions {
		return fault.New(fault.TooMany, "there are %d PTY sessions, which is the most that a sandbox may have; delete one first", s.MaxSessions)
	}
	s.sessions[new.id] = new
	return nil
}

// find returns a session that has not ended.
func (s *Service) find(id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.sessions[id]; found != nil {
		return found, nil
	}
	return nil, fault.New(fault.NotFound, "PTY session not found")
}

// forget lets a session go. Its name may belong to another one already.
func (s *Service) forget(old *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[old.id] == old {
		delete(s.sessions, old.id)
	}
}

// all returns the sessions, the oldest first.
func (s *Service) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*session, 0, len(s.sessions))
	for _, each := range s.sessions {
		all = append(all, each)
	}
	slices.SortFunc(all, func(a, b *session) int {
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id))
	})
	return all
}

// HangUp closes every terminal. Interactive shells ignore being asked to end,
// but end with their terminal, and tell their jobs.
func (s *Service) HangUp() {
	for _, each := range s.all() {
		each.mu.Lock()
		if each.terminal != nil {
			_ = each.terminal.close()
			each.child.Signal(unix.SIGHUP) // Linux does it, gVisor does not
		}
		each.mu.Unlock()
	}
}

// Close kills every session.
func (s *Service) Close() {
	for _, each := range s.all() {
		each.kill()
	}
}
