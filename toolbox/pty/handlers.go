package pty

import (
	"errors"
	"net/http"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// shown answers errors in the shape that these routes have always had: the
// member error is the text. The other members are those of every error.
func (s *Service) shown(h wire.Handler) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := h(w, r)
		if _, ok := errors.AsType[*fault.Error](err); !ok {
			return err
		}
		body := wire.Describe(err, r, time.Now())
		body.Reason = body.Message
		if body.StatusCode >= http.StatusInternalServerError {
			s.Log.Error("request failed", "path", r.URL.Path, "err", err)
		}
		return wire.JSON(w, body.StatusCode, body)
	}
}

// list answers GET /process/pty.
func (s *Service) list(w http.ResponseWriter, _ *http.Request) error {
	all := []Info{}
	for _, each := range s.all() {
		all = append(all, each.info())
	}
	return wire.JSON(w, http.StatusOK, struct {
		Sessions []Info `json:"sessions"`
	}{all})
}

// create answers POST /process/pty. The shell is started at once, or with
// lazyStart by the first client that connects and so sees all that it prints.
func (s *Service) create(w http.ResponseWriter, r *http.Request) error {
	var req request
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	created, err := s.session(req)
	if err != nil {
		return err
	}
	if err := s.add(created); err != nil {
		return err
	}
	if !req.LazyStart {
		if err := created.start(); err != nil {
			created.kill()
			return err
		}
	}
	return wire.JSON(w, http.StatusCreated, struct {
		SessionID string `json:"sessionId"`
	}{created.id})
}

// get answers GET /process/pty/{id}.
func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	found, err := s.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, found.info())
}

// remove answers DELETE /process/pty/{id}: everything that the session started
// is killed.
func (s *Service) remove(w http.ResponseWriter, r *http.Request) error {
	found, err := s.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	found.kill()
	return wire.JSON(w, http.StatusOK, struct {
		Message string `json:"message"`
	}{"PTY session deleted"})
}

// resize answers POST /process/pty/{id}/resize.
func (s *Service) resize(w http.ResponseWriter, r *http.Request) error {
	found, err := s.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	var req struct {
		Cols int `json:"cols"`
		Rows int `json:"rows"`
	}
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	to := size{req.Cols, req.Rows}
	if err := to.check(); err != nil {
		return err
	}
	if err := found.resize(to); err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, found.info())
}

// Sub-protocols that clients offer.
const (
	exitProtocol = "X-Daytona-Pty-Exit-Control" // wants a control message about the end
	envsProtocol = "X-Daytona-Pty-Envs~"        // followed by the new session's variables
)

// connect answers GET /process/pty/{id}/connect, a WebSocket. Whoever cannot be
// connected learns why from a control message and the close frame, since
// browsers do not show the answer to a handshake that failed.
func (s *Service) connect(w http.ResponseWriter, r *http.Request) error {
	if err := needUpgrade(r); err != nil {
		return err
	}
	conn, err := wire.Accept(w, r, exitProtocol, envsProtocol)
	if err != nil {
		s.Log.Debug("no WebSocket", "path", r.URL.Path, "err", err)
		return nil //nolint:nilerr // Accept has answered.
	}
	found, err := s.find(r.PathValue("id"))
	var c *client
	if err == nil {
		c, err = found.attach(wantsExit(r))
	}
	if err != nil {
		s.Log.Debug("not connected", "path", r.URL.Path, "err", err)
		s.bid(conn, refusal(wire.Describe(err, r, time.Now()).Message))
		return nil
	}
	found.serve(c, conn)
	return nil
}

// createConnect answers GET /process/pty/create-connect, a WebSocket: it makes a
// session and connects to it. What is wrong with the request is told by the
// status of the handshake.
func (s *Service) createConnect(w http.ResponseWriter, r *http.Request) error {
	if err := needUpgrade(r); err != nil {
		return err
	}
	envs, _ := wire.Protocol(r, envsProtocol)
	req, err := parseQuery(r.URL.Query(), envs)
	if err != nil {
		return err
	}
	created, err := s.session(req)
	if err != nil {
		return err
	}
	if err := s.add(created); err != nil {
		return err
	}
	// Connected before it is started, so that nothing it prints is missed.
	c, err := created.attach(wantsExit(r))
	if err != nil {
		created.kill()
		return err
	}
	conn, err := wire.Accept(w, r, exitProtocol, envsProtocol)
	if err != nil {
		s.Log.Debug("no WebSocket", "path", r.URL.Path, "err", err)
		created.kill()
		return nil //nolint:nilerr // Accept has answered.
	}
	created.serve(c, conn)
	return nil
}

func wantsExit(r *http.Request) bool {
	_, offered := wire.Protocol(r, exitProtocol)
	return offered
}

func needUpgrade(r *http.Request) error {
	if !wire.IsUpgrade(r) {
		return fault.New(fault.Invalid, "%s is a WebSocket: ask for an upgrade", r.URL.Path)
	}
	return nil
}
