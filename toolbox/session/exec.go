package session

import (
	"net/http"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/wire"
)

type execRequest struct {
	Command           string `json:"command"`
	RunAsync          bool   `json:"runAsync,omitempty"`
	Async             bool   `json:"async,omitempty"` // the same
	SuppressInputEcho bool   `json:"suppressInputEcho,omitempty"`
}

// exec answers POST /process/session/{session}/exec. The command is not ended
// when the client goes: its result can be fetched later.
func (s *Service) exec(w http.ResponseWriter, r *http.Request) error {
	var req execRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	switch {
	case strings.TrimSpace(req.Command) == "":
		return fault.New(fault.Invalid, "bad request: command cannot be empty")
	case len(req.Command) > maxCommand:
		return fault.New(fault.Invalid, "bad request: command is longer than %d MiB", maxCommand>>20)
	case strings.ContainsRune(req.Command, 0):
		return fault.New(fault.Invalid, "bad request: command contains a NUL byte")
	}
	id := r.PathValue("session")
	if id == entrypointID {
		return fault.New(fault.Invalid, "bad request: the entrypoint session takes no commands; create another session")
	}
	x, ok := s.find(id)
	if !ok {
		if _, err := s.past(id); err != nil {
			return err
		}
		return fault.New(fault.Gone, "gone: the session ended when the sandbox stopped; create another one, or delete this one").WithCode("SESSION_ENDED")
	}
	async := req.RunAsync || req.Async
	c, err := x.exec(req.Command, async, !req.SuppressInputEcho)
	if err != nil {
		return err
	}
	if async {
		return wire.JSON(w, http.StatusAccepted, struct {
			CmdID string `json:"cmdId"`
		}{c.id})
	}
	select {
	case <-c.done:
	case <-r.Context().Done():
		return r.Context().Err()
	}
	c.mu.Lock()
	cause, byShell := c.end.Cause, c.byShell
	c.mu.Unlock()
	switch {
	case cause == launch.CauseDeleted:
		return errEnded("it was deleted while the command ran")
	case byShell:
		return errEnded(whyExited)
	}
	return s.answerExec(w, r, c)
}
