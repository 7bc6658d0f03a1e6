package session

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

type inputRequest struct {
	Data *string `json:"data"`
}

// errCompleted is said to those who send input to a command that is over.
var errCompleted = fault.New(fault.Gone, "gone: the command has already completed").WithCode("COMMAND_ALREADY_COMPLETED")

// inputPatience is how long a command may take to read what it is sent.
const inputPatience = 30 * time.Second

// input answers POST /process/session/{session}/command/{command}/input: the
// command finds the data, with a newline at its end, on its standard input.
func (s *Service) input(w http.ResponseWriter, r *http.Request) error {
	var req inputRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if req.Data == nil {
		return fault.New(fault.Invalid, "bad request: data is required")
	}
	id, command := r.PathValue("session"), r.PathValue("command")
	c, err := s.command(id, command)
	if err != nil {
		return err
	}
	if c == nil {
		if _, err := s.pastCommand(id, command); err != nil {
			return err
		}
		return errCompleted
	}
	data := *req.Data
	if !strings.HasSuffix(data, "\n") {
		data += "\n"
	}
	if err := c.send(data); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// send writes to the command's standard input.
func (c *command) send(data string) error {
	c.mu.Lock()
	in, end := c.inlet, c.end
	c.mu.Unlock()
	switch {
	case end != nil:
		return errCompleted
	case !c.held:
		return fault.New(fault.Invalid, "bad request: the standard input of a synchronous command is closed; start it with runAsync")
	case in == nil:
		return fault.New(fault.Conflict, "conflict: the command has not started yet: another one of its session is running")
	}
	in.turn.Lock()
	defer in.turn.Unlock()
	if c.echo {
		// Before the command can answer it.
		c.out.append(stdout, []byte(data))
	}
	// Pipes know deadlines; where they did not, writing would wait longer.
	_ = in.file.SetWriteDeadline(time.Now().Add(inputPatience))
	n, err := in.file.WriteString(data)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.New(fault.Timeout, "request timeout: the command does not read its input; it took %d of %d bytes", n, len(data))
	case c.ending() != nil:
		return errCompleted
	}
	return err
}
