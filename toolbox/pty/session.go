package pty

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// markVariable is in the environment of every process of a session, so that
// those are found which have cut themselves off from its shell.
const markVariable = "DAYTONA_PTY_MARK"

// session is a shell in a terminal.
type session struct {
	service *Service
	id      string
	cwd     string
	envs    map[string]string
	lazy    bool
	created time.Time
	mark    string // value of markVariable

	room  chan struct{} // a client has taken a piece of output; capacity 1
	input input

	mu       sync.Mutex // guards what follows
	size     size
	terminal *terminal     // nil until started
	child    *reaper.Child // nil until started
	over     bool          // ended, or about to be: takes no clients
	clients  map[*client]struct{}

	scrollback scrollback
	linger     time.Duration // without clients, until it ends; 0 is for ever
	lonely     *time.Timer
}

// Info is how a session is shown.
type Info struct {
	ID        string            `json:"id"`
	Cwd       string            `json:"cwd"`
	Envs      map[string]string `json:"envs"`
	Cols      int               `json:"cols"`
	Rows      int               `json:"rows"`
	CreatedAt string            `json:"createdAt"` // RFC 3339
	Active    bool              `json:"active"`    // the shell runs
	LazyStart bool              `json:"lazyStart"`
}

func (s *session) info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{
		ID: s.id, Cwd: s.cwd, Envs: s.envs, Cols: s.size.cols, Rows: s.size.rows,
		CreatedAt: s.created.UTC().Format(time.RFC3339Nano),
		Active:    s.child != nil && !s.over, LazyStart: s.lazy,
	}
}

// errOver is the answer to whoever comes when the shell has ended.
func errOver() error { return fault.New(fault.Gone, "PTY session has ended") }

// start starts the shell unless it has been started.
func (s *session) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return errOver()
	case s.child != nil:
		return nil
	}
	terminal, program, err := openTerminal(s.size)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "cannot open a terminal: %s", reasonOf(err))
	}
	defer program.Close()
	space := s.service.Space
	env := environment(space, s.envs)
	env[markVariable] = s.mark
	shell := space.Shell(env)
	child, err := space.Table.Start(reaper.Command{
		Path: shell, Args: []string{shell, "-i", "-l"}, Env: env.Pairs(), Dir: s.cwd,
		Stdin: program, Stdout: program, Stderr: program, TTY: true,
	})
	if err != nil {
		return errors.Join(startFault(err, shell), terminal.close())
	}
	s.terminal, s.child = terminal, child
	s.input.terminal = terminal
	go s.run(terminal, child)
	return nil
}

// environment is what the shell gets: the sandbox's own, below what the session
// was given.
func environment(space *launch.Space, envs map[string]string) launch.Vars {
	env := space.Env.With(envs)
	if _, chosen := envs["TERM"]; !chosen && (env["TERM"] == "" || env["TERM"] == "dumb") {
		env["TERM"] = "xterm-256color"
	}
	return env
}

// startFault says why a shell could not be started.
func startFault(err error, shell string) error {
	if path, ok := errors.AsType[*os.PathError](err); ok && path.Op == "chdir" {
		return fault.Wrap(err, fault.Invalid, "cannot start in %s: %s", path.Path, reasonOf(err))
	}
	return fault.Wrap(err, fault.Unavailable, "cannot start %s: %s", shell, reasonOf(err))
}

// reasonOf is the kernel's word on what failed: no secret, and the only thing
// that helps.
func reasonOf(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno.Error()
	}
	return "internal error"
}

// run hands output on until the shell has ended, then ends the session.
func (s *session) run(terminal *terminal, child *reaper.Child) {
	go func() {
		<-child.Done()
		terminal.interrupt()
	}()
	for {
		piece, err := terminal.read(&s.service.output)
		s.broadcast(piece)
		if err != nil {
			break
		}
	}
	// No process has the terminal open, or the shell has ended.
	<-child.Done()
	if child.Status().Signaled() {
		// It could tell its jobs nothing, and gVisor does not either.
		s.family(child).HangUp()
	}
	// What it printed last is still in the terminal. A program that it left
	// running may print for ever, so this ends at what the terminal can hold.
	const most = 256 << 10
	for done := 0; done < most; {
		piece, err := terminal.readNow(&s.service.output)
		s.broadcast(piece)
		done += len(piece)
		if len(piece) == 0 || err != nil {
			break
		}
	}
	s.end(exitOf(child.ExitCode()))
}

// family is the shell with all that it started.
func (s *session) family(shell *reaper.Child) reaper.Family {
	return reaper.Family{Root: shell, Mark: markVariable + "=" + s.mark}
}

// end ends the session: whoever is connected is told, after the session has
// been taken from the list, so that its name is free for who has been told.
func (s *session) end(e exit) {
	s.service.forget(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.terminal != nil {
		_ = s.terminal.close()
	}
	for c := range s.clients {
		s.dismissLocked(c, e.farewell(c.wantsExit))
	}
}

// resize sets the size, also of a shell that has not been started yet.
func (s *session) resize(to size) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errOver()
	}
	if s.terminal != nil {
		if err := s.terminal.resize(to); err != nil {
			return fault.Wrap(err, fault.Unavailable, "cannot resize the terminal: %s", reasonOf(err))
		}
	}
	s.size = to
	return nil
}

// kill ends the session together with everything that it started. It returns
// when the shell has gone, at the latest after killWait.
func (s *session) kill() {
	s.service.forget(s)
	s.mu.Lock()
	s.over = true // starts no more
	child := s.child
	s.mu.Unlock()
	if child == nil {
		s.end(exitOf(128 + int(unix.SIGKILL)))
		return
	}
	child.KillTree() // at once: the shell is not asked
	if left := s.family(child).End(context.Background(), 0); left > 0 {
		s.service.Log.Warn("processes of other users could not be killed", "pty", s.id, "processes", left)
	}
	late := time.NewTimer(killWait)
	defer late.Stop()
	select {
	case <-child.Done():
	case <-late.C:
		s.service.Log.Error("killed shell is still there", "pty", s.id, "pid", child.PID())
	}
}
