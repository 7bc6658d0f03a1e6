package process

import (
	"fmt"
	"net/http"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/wire"
)

type executeRequest struct {
	Command string            `json:"command"`
	Cwd     string            `json:"cwd,omitempty"`
	Timeout *uint32           `json:"timeout,omitempty"` // seconds
	Envs    map[string]string `json:"envs,omitempty"`
	// Past the reference: standard output and error are to be kept apart.
	// The header X-Daytona-Split-Output asks for the same.
	SplitOutput bool `json:"splitOutput,omitempty"`
}

type executeReply struct {
	ExitCode int    `json:"exitCode"`
	Code     *int   `json:"code,omitempty"` // the first era's name
	Result   string `json:"result"`
	// Past the reference: why it ended, the signal's name if one did that,
	// and each stream for itself if they were to be kept apart.
	Cause  string  `json:"cause,omitempty"`
	Signal string  `json:"signal,omitempty"`
	Stdout *string `json:"stdout,omitempty"`
	Stderr *string `json:"stderr,omitempty"`
}

// Execute answers POST /process/execute: it runs a command and returns its exit
// code and what it printed, standard output and error in one.
//
// The text is fed to the shell on its standard input, as if typed. A client
// that wraps its commands for a server without a shell gets what it expects.
func (s *Service) Execute(w http.ResponseWriter, r *http.Request) error {
	var req executeRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if strings.TrimSpace(req.Command) == "" {
		return fault.New(fault.Invalid, "command cannot be empty or whitespace-only")
	}
	if err := launch.CheckVars(req.Envs); err != nil {
		return err
	}
	dialect := wire.DialectOf(r)
	j := job{
		env:     s.Space.Env.With(req.Envs),
		dir:     s.Space.Dir(req.Cwd),
		timeout: timeLimit(req.Timeout, dialect),
		limit:   s.MaxOutput,
		apart:   req.SplitOutput || r.Header.Get("X-Daytona-Split-Output") == "true",
	}
	var err error
	if dialect.WrapsCommands() && isWrapped(req.Command) {
		j.args = splitLegacy(req.Command)
		j.path, err = launch.LookPath(j.args[0], j.env["PATH"], j.dir)
	} else {
		j.path = s.Space.Shell(j.env)
		j.args = []string{j.path}
		j.input = []byte(req.Command + "\n")
		if plain, ok := direct(j, j.path, req.Command); ok {
			plain.shell, plain.command = j.path, strings.Join(plain.args, " ")
			j.direct = &plain
		}
	}
	var o outcome
	if err != nil {
		o = startFailure(err)
	} else {
		if o, err = run(r.Context(), s.Space, j); err != nil {
			return fmt.Errorf("run command: %w", err)
		}
	}
	return answer(w, r, o, func() error {
		reply := executeReply{ExitCode: o.exitCode, Result: text(o.output)}
		if !dialect.Strict {
			reply.Code = &o.exitCode
			reply.Cause, reply.Signal = o.cause, o.signal
		}
		if j.apart {
			out, errs := reply.Result, text(o.errors)
			reply.Stdout, reply.Stderr = &out, &errs
			reply.Result += errs
		}
		return wire.JSON(w, http.StatusOK, reply)
	})
}

// text makes output valid for JSON, which knows no other bytes than UTF-8.
func text(b []byte) string {
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
