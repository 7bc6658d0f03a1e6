package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// MarkVariable is in the environment of every process of a session, so that
// those can be found which have cut themselves off from their shell.
const MarkVariable = "DAYTONA_SESSION_MARK"

// grace is how long the processes of a deleted session may take to end.
const grace = 5 * time.Second

// session is a shell and what it was told to do.
type session struct {
	id     string
	dir    string // name of its directory
	space  *launch.Space
	store  *store
	pipes  *pipes
	poller *poller
	ids    *ids
	log    *slog.Logger
	mark   string // value of MarkVariable
	cookie []byte // begins the shell's reports
	shell  *reaper.Child
	style  style
	orders *os.File // the shell's standard input
	report *os.File // what it prints itself

	ended chan struct{} // closed when the shell has ended
	gone  chan struct{} // closed when the session has been deleted

	mu       sync.Mutex // guards what follows
	commands []*command
	byID     map[string]*command
	queue    []*command // those that have not begun
	current  *command
	deleting bool
	over     bool // the shell has ended
}

// style is how a kind of shell is told to do something, whatever names the user
// has redefined.
type style struct{ source, print string }

func styleOf(shell string) style {
	switch filepath.Base(shell) {
	case "bash", "zsh":
		return style{`\builtin .`, `\builtin printf`}
	}
	// In other shells a syntax error in a sourced text would end the shell,
	// unless `.` is called by way of `command`.
	return style{`\command .`, `\command printf`}
}

// startSession starts the shell of a session whose directory has been made.
func (s *Service) startSession(id, dir string) (*session, error) {
	x := &session{
		id: id, dir: dirName(id), space: s.Space, store: &s.store, pipes: &s.pipes, poller: &s.poller, ids: &s.ids,
		log: s.Log.With("session", id), mark: rand.Text(), cookie: []byte(rand.Text()),
		ended: make(chan struct{}), gone: make(chan struct{}), byID: map[string]*command{},
	}
	env := s.Space.Env.With(map[string]string{MarkVariable: x.mark})
	path := s.Space.Shell(env)
	x.style = styleOf(path)
	reading, reports, err := newPipe()
	if err != nil {
		return nil, err
	}
	defer reports.Close()
	x.report = os.NewFile(uintptr(reading), "reports")
	stdin, orders, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, x.report.Close())
	}
	defer stdin.Close()
	x.orders = orders
	// os.Pipe makes both ends non-blocking; the shell's must not be.
	if err := unix.SetNonblock(int(stdin.Fd()), false); err != nil {
		return nil, errors.Join(err, x.report.Close(), orders.Close())
	}
	start := reaper.Command{
		Path: path, Args: []string{path}, Env: env.Pairs(), Dir: dir,
		Stdin: stdin, Stdout: reports, Stderr: reports,
	}
	x.shell, err = s.Space.Table.Start(start)
	if err != nil {
		return nil, errors.Join(err, x.report.Close(), orders.Close())
	}
	go x.listen()
	go func() {
		<-x.shell.Done()
		x.shellEnded()
	}()
	return x, nil
}

// errEnded is said of a session whose shell has ended.
func errEnded(why string) error {
	return fault.New(fault.Invalid, "bad request: session cancelled: %s; create another one", why).WithCode("SESSION_ENDED")
}

const whyExited = "its shell has ended (a command exited it)"

// exec begins a command, or lets it wait for the one that runs.
func (s *session) exec(text string, held, echo bool) (*command, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return nil, err
	}
	c, err := s.newCommand(text, held, echo)
	if err != nil {
		return nil, err
	}
	s.commands = append(s.commands, c)
	s.byID[c.id] = c
	s.trimLocked()
	if s.current != nil {
		s.queue = append(s.queue, c)
		return c, nil
	}
	s.runLocked(c)
	return c, nil
}

func (s *session) usableLocked() error {
	switch {
	case s.deleting:
		return errEnded("it is being deleted")
	case s.over:
		return errEnded(whyExited)
	}
	return nil
}

// runLocked tells the shell to run a command. When that fails, the command is over.
func (s *session) runLocked(c *command) {
	s.current = c
	c.witness = s.space.Watch()
	if err := s.order(c); err != nil {
		s.log.Error("command not started", "command", c.id, "err", err)
		c.out.append(stderr, fmt.Appendf(nil, "cannot run the command: %s\n", reason(err)))
		c.finish(launch.Ending{ExitCode: -1, Cause: launch.CauseFailed})
		s.nextLocked()
	}
}

// nextLocked lets the next command begin.
func (s *session) nextLocked() {
	s.current = nil
	if len(s.queue) > 0 && !s.over && !s.deleting {
		next := s.queue[0]
		s.queue = s.queue[1:]
		s.runLocked(next)
	}
}

// order makes the pipes of a command and tells the shell of them.
func (s *session) order(c *command) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	base, err := s.pipes.path(c.id[24:])
	if err != nil {
		return err
	}
	if c.script == "" {
		c.script, c.temp = base+".text", base+".text"
		if err := os.WriteFile(c.script, []byte(c.whole+"\n"), 0o600); err != nil {
			return err
		}
	}
	for i, name := range []string{base + ".out", base + ".err"} {
		o, err := newOutlet(s.poller, name, stream(i), c.out)
		if err != nil {
			return err
		}
		c.outlets = append(c.outlets, o)
	}
	input := os.DevNull
	if c.held {
		if c.inlet, err = newInlet(base + ".in"); err != nil {
			return err
		}
		input = c.inlet.path
	}
	// The group's redirections are undone before the report, and processes
	// that it leaves behind do not have the shell's own pipes.
	line := fmt.Sprintf("{ %s %s; } <%s >%s 2>%s; { %s '\\n%%s %%s %%s\\n' %s %s \"$?\"; } 2>/dev/null\n",
		s.style.source, quote(c.script), quote(input), quote(base+".out"), quote(base+".err"), s.style.print, s.cookie, c.id)
	// A shell reads its standard input byte by byte, and a file at once: the
	// order is in a file, of which the shell is told in few bytes.
	if err := os.WriteFile(base, []byte(line), 0o600); err != nil {
		return err
	}
	c.order = base
	_, err = s.orders.WriteString(s.style.source + " " + quote(base) + "\n")
	return err
}

// quote makes a word that a shell takes as it is.
func quote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// listen reads what the shell prints itself: its reports, and its own troubles,
// which belong to the command that runs.
func (s *session) listen() {
	defer s.report.Close()
	var lines splitter
	buf := make([]byte, 512)
	for {
		n, err := s.report.Read(buf)
		lines.feed(buf[:n], s.line)
		if err != nil {
			return
		}
	}
}

// line takes one line of the shell's own output.
func (s *session) line(b []byte) {
	if rest, ok := bytes.CutPrefix(b, s.cookie); ok {
		if fields := strings.Fields(string(rest)); len(fields) == 2 {
			if code, err := strconv.Atoi(fields[1]); err == nil {
				s.reported(fields[0], code)
			}
		}
		return
	}
	if len(b) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current.out.append(stderr, append(b, '\n'))
	}
}

// reported takes note that the shell is done with a command.
func (s *session) reported(id string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.id != id {
		return // the user's own doing
	}
	s.current.finish(s.current.witness.Ending(code))
	s.nextLocked()
}

// shellEnded ends what depends on the shell.
func (s *session) shellEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.current != nil {
		e := s.current.witness.Ending(s.shell.ExitCode())
		if s.deleting {
			e.Cause, e.Signal = launch.CauseDeleted, ""
		}
		s.current.finishByShell(e)
		s.current = nil
	}
	for _, c := range s.queue {
		c.finishByShell(launch.Ending{ExitCode: -1, Cause: launch.CauseEnded})
	}
	s.queue = nil
	_ = s.orders.Close()
	close(s.ended)
}

// trimLocked forgets the oldest commands that are over when there are too many.
func (s *session) trimLocked() {
	for i := 0; len(s.commands) > keptCommands && i < len(s.commands); {
		c := s.commands[i]
		if c.ending() == nil {
			i++
			continue
		}
		s.commands = append(s.commands[:i:i], s.commands[i+1:]...)
		delete(s.byID, c.id)
		if c.disk {
			if err := s.store.remove(filepath.Join(s.dir, c.id)); err != nil {
				s.log.Warn("old log not removed", "command", c.id, "err", err)
			}
		}
	}
}

// delete ends everything that the session has started, and removes its logs. It
// returns false if another call is doing or has done that.
func (s *session) delete(ctx context.Context) bool {
	s.mu.Lock()
	if s.deleting {
		s.mu.Unlock()
		return false
	}
	s.deleting = true
	s.mu.Unlock()
	defer close(s.gone)
	if left := (reaper.Family{Root: s.shell, Mark: MarkVariable + "=" + s.mark}).End(ctx, grace); left > 0 {
		s.log.Warn("processes of a deleted session live on; they belong to another user", "processes", left)
	}
	select {
	case <-s.ended:
	case <-time.After(time.Second): // it hangs in the kernel
	}
	_ = s.report.Close()
	s.mu.Lock()
	commands := s.commands
	s.mu.Unlock()
	for _, c := range commands {
		c.finish(launch.Ending{ExitCode: 128 + int(syscall.SIGKILL), Cause: launch.CauseDeleted})
		c.abandon()
	}
	if err := s.store.remove(s.dir); err != nil {
		s.log.Warn("logs of a deleted session not removed", "err", err)
	}
	return true
}

// command returns one of the session's commands.
func (s *session) command(id string) (*command, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.byID[id]
	return c, ok && !s.deleting
}

// splitter splits bytes into lines without their ends. A line that is too long
// is passed on in pieces.
type splitter struct{ rest []byte }

func (l *splitter) feed(b []byte, line func([]byte)) {
	const longest = 16 << 10
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			l.rest = append(l.rest, b...)
			if len(l.rest) > longest {
				line(l.rest)
				l.rest = nil
			}
			return
		}
		line(append(l.rest, b[:end]...))
		l.rest, b = nil, b[end+1:]
	}
}
