package session

import (
	"net/http"
	"os"
	"strings"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

// StartEntrypoint starts the image's own program, with the sandbox's environment
// and no input. What it prints is the log of the session "entrypoint". It may be
// called once. An error means that the program does not run; it is in the log
// too.
func (s *Service) StartEntrypoint(args []string) (*reaper.Child, error) {
	dir := dirName(entrypointID)
	begun := s.store.begin(dir)
	x := &session{id: entrypointID, dir: dir, store: &s.store, ids: &s.ids, log: s.Log}
	c, err := x.newCommand(strings.Join(args, " "), false, false)
	if err != nil {
		// The program matters more than its log.
		c = &command{id: s.ids.next(), text: strings.Join(args, " "), dir: dir, store: &s.store, log: s.Log,
			out: &output{full: reason(err)}, done: make(chan struct{})}
	}
	if !c.disk {
		s.Log.Warn("log of the image's program not stored", "begin", begun, "err", err)
	}
	s.mu.Lock()
	s.entrypoint = c
	s.mu.Unlock()
	c.witness = s.Space.Watch()
	child, err := s.launchEntrypoint(args, c)
	if err != nil {
		c.out.append(stderr, []byte(err.Error()+"\n"))
		c.finish(launch.Ending{ExitCode: -1, Cause: launch.CauseFailed})
		return nil, err
	}
	go func() {
		<-child.Done()
		c.finish(c.witness.Ending(child.ExitCode()))
	}()
	return child, nil
}

func (s *Service) launchEntrypoint(args []string, c *command) (*reaper.Child, error) {
	env := s.Space.Env.With(nil)
	path, err := launch.LookPath(args[0], env["PATH"], s.Space.WorkDir)
	if err != nil {
		return nil, err
	}
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	var ends [2]*os.File
	for i := range ends {
		reading, writing, err := newPipe()
		if err != nil {
			return nil, err
		}
		defer writing.Close()
		p, err := newPump(&s.poller, reading, stream(i), c.out)
		if err != nil {
			return nil, err
		}
		ends[i] = writing
		c.outlets = append(c.outlets, &outlet{pump: p})
	}
	return s.Space.Table.Start(reaper.Command{
		Path: path, Args: args, Env: env.Pairs(), Dir: s.Space.WorkDir,
		Stdin: stdin, Stdout: ends[0], Stderr: ends[1],
	})
}

// getEntrypoint answers GET /process/session/entrypoint.
func (s *Service) getEntrypoint(w http.ResponseWriter, r *http.Request) error {
	reply := sessionReply{entrypointID, []commandReply{}}
	if c := s.entrypointCommand(); c != nil {
		reply.Commands = append(reply.Commands, c.reply(wire.DialectOf(r).Strict))
	}
	return wire.JSON(w, http.StatusOK, reply)
}

func (s *Service) entrypointCommand() *command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entrypoint
}

// entrypointLogs answers GET /process/session/entrypoint/logs.
func (s *Service) entrypointLogs(w http.ResponseWriter, r *http.Request) error {
	c := s.entrypointCommand()
	if c == nil {
		// The image has no program of its own, or has not started it yet.
		return s.showLog(w, r, source{
			open:   func() (*reader, error) { return emptyReader(), nil },
			extent: func(bool) extent { return extent{over: true} },
		})
	}
	return s.showLog(w, r, c.source())
}
