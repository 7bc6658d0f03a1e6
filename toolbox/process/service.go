// Package process runs commands and code in the sandbox: each in a process group
// of its own, within limits of time and output, with nothing left behind when it
// is ended from outside.
package process

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

// Config is what a Service needs.
type Config struct {
	Space *launch.Space
	// MaxOutput is how many bytes of a command's output are kept. Defaults
	// to 16 MiB.
	MaxOutput int
	// TempDir holds the programs that cannot be fed on standard input.
	// Defaults to /tmp.
	TempDir string
	// Python starts "python3 -u -" for a program text as a copy of a ready
	// interpreter, or reports that only a fresh process will do. May be nil.
	Python func(context.Context, reaper.Command, string) (*reaper.Child, bool)
	Log    *slog.Logger
}

// Service answers the routes below /process that run something to its end.
type Service struct {
	Config
}

// New returns a service.
func New(c Config) *Service {
	if c.MaxOutput == 0 {
		c.MaxOutput = 16 << 20
	}
	if c.TempDir == "" {
		c.TempDir = "/tmp"
	}
	return &Service{Config: c}
}

// Routes are the routes that the service answers.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{
		{Pattern: "POST /process/execute", Handler: s.Execute},
		{Pattern: "POST /process/code-run", Handler: s.CodeRun},
	}
}

// legacyTimeout is the limit for clients that expect one when they name none.
const legacyTimeout = 360 * time.Second

// timeLimit turns a request's seconds into a limit; 0 means none.
func timeLimit(seconds *uint32, d wire.Dialect) time.Duration {
	if seconds != nil && *seconds > 0 {
		return time.Duration(*seconds) * time.Second
	}
	if d.Old() {
		return legacyTimeout
	}
	return 0
}

// answer writes the reply for an outcome: 200 with the exit code, or 408 with
// what had been printed.
func answer(w http.ResponseWriter, r *http.Request, o outcome, reply func() error) error {
	if !o.timedOut {
		return reply()
	}
	err := fault.New(fault.Timeout, "request timeout: command execution timeout").WithCode("PROCESS_EXECUTION_TIMEOUT")
	body := wire.Describe(err, r, time.Now())
	result := text(o.output)
	body.Result = &result
	return wire.JSON(w, body.StatusCode, body)
}
