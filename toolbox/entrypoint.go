package toolbox

import (
	"errors"
	"os"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// StartEntrypoint starts the image's own program with the sandbox's environment.
// What it prints goes to the toolbox's own output.
func (s *Server) StartEntrypoint(table *reaper.Table, args []string) (*reaper.Child, error) {
	if len(args) == 0 {
		return nil, errors.New("no program named")
	}
	env := s.space.Env.With(nil)
	path, err := launch.LookPath(args[0], env["PATH"], s.config.WorkDir)
	if err != nil {
		return nil, err
	}
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	return table.Start(reaper.Command{
		Path: path, Args: args, Env: env.Pairs(), Dir: s.config.WorkDir,
		Stdin: stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
}
