package pty

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/internal/procstream"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// SFTPArgument makes the toolbox's program serve files on its standard input and
// output.
const SFTPArgument = "sftp"

// attach answers GET /process/attach with Upgrade: daytona-process: it runs one
// process for as long as the connection lasts. A process in a terminal is hung
// up on when the connection ends; any other one finds its pipes closed.
func (s *Service) attach(w http.ResponseWriter, r *http.Request) error {
	if !strings.EqualFold(r.Header.Get("Upgrade"), procstream.Protocol) {
		return fault.New(fault.Invalid, "%s is a connection: ask for an upgrade to %s", r.URL.Path, procstream.Protocol)
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take over the connection: %w", err)
	}
	defer conn.Close()
	if conn.SetDeadline(time.Time{}) != nil {
		return nil // the client has gone
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+procstream.Protocol+"\r\n\r\n"); err != nil {
		return nil //nolint:nilerr // the client has gone
	}
	s.serveProcess(conn, buffered.Reader)
	return nil
}

// attached is a process with its connection.
type attached struct {
	space    *launch.Space
	conn     net.Conn
	out      *procstream.Writer
	child    *reaper.Child
	terminal *terminal
	input    *os.File
	outputs  []*os.File // to be read to their ends
	queue    chan []byte
}

func (s *Service) serveProcess(conn net.Conn, from *bufio.Reader) {
	in := procstream.NewReader(from)
	a := &attached{space: s.Space, conn: conn, out: procstream.NewWriter(conn), queue: make(chan []byte, 32)}
	kind, data, err := in.Next()
	if err != nil {
		return
	}
	var start procstream.Start
	if kind != procstream.KindStart || json.Unmarshal(data, &start) != nil {
		err = fault.New(fault.Invalid, "the first message must say what to start")
	} else {
		err = a.start(start)
	}
	if err != nil {
		s.Log.Debug("not attached", "err", err)
		text := "the process cannot be started"
		if f, ok := errors.AsType[*fault.Error](err); ok {
			text = f.Text
		}
		_ = a.out.Send(procstream.KindFailed, []byte(text)) // the client has gone when this fails
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		a.receive(in)
	}()
	go a.feed(gone)
	a.send(gone)
}

// start starts the process.
func (a *attached) start(start procstream.Start) error {
	if err := launch.CheckVars(start.Env); err != nil {
		return err
	}
	env := a.space.Env.With(start.Env)
	shell := a.space.Shell(env)
	env["SHELL"] = shell
	c := reaper.Command{Path: shell, Args: []string{shell, "-c", start.Command}, Dir: a.space.Home()}
	switch {
	case start.SFTP:
		self, err := os.Executable()
		if err != nil {
			return err
		}
		c.Path, c.Args = self, []string{self, SFTPArgument}
	case start.Command == "":
		c.Args = []string{shell, "-l"}
	}
	if _, err := os.Stat(c.Dir); err != nil {
		c.Dir = a.space.WorkDir
	}
	if start.TTY != nil {
		return a.startTerminal(c, env, size{start.TTY.Cols, start.TTY.Rows})
	}
	return a.startPipes(c, env)
}

func (a *attached) startTerminal(c reaper.Command, env launch.Vars, to size) error {
	if to.cols < 1 || to.rows < 1 {
		to = size{defaultCols, defaultRows}
	}
	to = size{min(to.cols, mostCols), min(to.rows, mostRows)}
	if env["TERM"] == "" {
		env["TERM"] = "xterm-256color"
	}
	t, program, err := openTerminal(to)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "cannot open a terminal: %s", reasonOf(err))
	}
	defer program.Close()
	env["SSH_TTY"] = program.Name()
	c.Env, c.TTY, c.Stdin, c.Stdout, c.Stderr = env.Pairs(), true, program, program, program
	if a.child, err = a.space.Table.Start(c); err != nil {
		return errors.Join(startFault(err, c.Path), t.close())
	}
	a.terminal = t
	return nil
}

func (a *attached) startPipes(c reaper.Command, env launch.Vars) error {
	var theirs, ours [3]*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}
	for i := range theirs {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(theirs[:])
			closeAll(ours[:])
			return fault.Wrap(err, fault.Unavailable, "cannot open a pipe: %s", reasonOf(err))
		}
		theirs[i], ours[i] = r, w
		if i > 0 {
			theirs[i], ours[i] = w, r
		}
	}
	defer closeAll(theirs[:])
	c.Env, c.Stdin, c.Stdout, c.Stderr = env.Pairs(), theirs[0], theirs[1], theirs[2]
	child, err := a.space.Table.Start(c)
	if err != nil {
		closeAll(ours[:])
		return startFault(err, c.Path)
	}
	a.child, a.input, a.outputs = child, ours[0], ours[1:]
	return nil
}

// receive takes what the client sends until the connection is over.
func (a *attached) receive(in *procstream.Reader) {
	defer close(a.queue)
	for ended := false; ; {
		kind, data, err := in.Next()
		if err != nil {
			return
		}
		switch kind {
		case procstream.KindInput:
			if !ended {
				a.queue <- append([]byte(nil), data...) // nobody else sends
			}
			ended = ended || len(data) == 0
		case procstream.KindResize:
			var to procstream.Size
			if a.terminal != nil && json.Unmarshal(data, &to) == nil && to.Cols > 0 && to.Rows > 0 {
				_ = a.terminal.resize(size{min(to.Cols, mostCols), min(to.Rows, mostRows)}) // it may have been closed
			}
		case procstream.KindSignal:
			if sig := unix.SignalNum("SIG" + string(data)); sig != 0 {
				a.child.Signal(sig)
			}
		}
	}
}

// feed gives the process its input. One that reads nothing, or has ended, does
// not keep the client's messages from being taken.
func (a *attached) feed(gone <-chan struct{}) {
	var to io.Writer = a.input
	if a.terminal != nil {
		to = a.terminal.file
	}
	broken := false
	for data := range a.queue {
		switch {
		case broken:
		case len(data) > 0:
			_, err := to.Write(data)
			broken = err != nil
		case a.terminal != nil:
			_, err := to.Write([]byte{4}) // what ends the input of a terminal
			broken = err != nil
		default:
			a.input.Close()
			broken = true
		}
	}
	<-gone
	if a.input != nil {
		a.input.Close()
	}
	if a.terminal != nil {
		// The shell's jobs are told, too.
		_ = a.terminal.close()
		a.child.Signal(unix.SIGHUP)
	}
}

// send sends what the process prints, and then how it ended.
func (a *attached) send(gone <-chan struct{}) {
	if a.terminal != nil {
		a.sendTerminal()
	} else {
		var all sync.WaitGroup
		for i, from := range a.outputs {
			kind := procstream.KindOutput
			if i == 1 {
				kind = procstream.KindError
			}
			all.Go(func() {
				defer from.Close() // a process that goes on printing is told
				_, _ = io.Copy(onlyWriter{a.out.Stream(kind)}, from)
			})
		}
		// When the client has gone nobody waits for the rest.
		read := make(chan struct{})
		go func() {
			select {
			case <-gone:
				for _, from := range a.outputs {
					_ = from.SetReadDeadline(time.Now())
				}
			case <-read:
			}
		}()
		all.Wait()
		close(read)
	}
	select {
	case <-a.child.Done():
	case <-gone:
		return
	}
	exit := procstream.Exit{Code: a.child.ExitCode()}
	if status := a.child.Status(); status.Signaled() {
		exit.Signal = strings.TrimPrefix(unix.SignalName(syscall.Signal(status.Signal())), "SIG")
	}
	if a.out.SendJSON(procstream.KindExit, exit) != nil {
		return
	}
	if c, ok := a.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		// The client has read everything when it closes its side.
		_ = a.conn.SetReadDeadline(time.Now().Add(exitWait))
		<-gone
	}
}

// exitWait is how long a client may take to read the last of the output.
const exitWait = 30 * time.Second

// onlyWriter hides everything but Write, so that io.Copy uses a buffer.
type onlyWriter struct{ io.Writer }

func (a *attached) sendTerminal() {
	go func() {
		<-a.child.Done()
		a.terminal.interrupt()
	}()
	var pool = sync.Pool{New: func() any { return new(make([]byte, frame)) }}
	to := a.out.Stream(procstream.KindOutput)
	for {
		piece, err := a.terminal.read(&pool)
		if len(piece) > 0 {
			if _, werr := to.Write(piece); werr != nil {
				return
			}
		}
		if err != nil {
			break
		}
	}
	// What was printed last may still be on its way through the kernel, unless
	// it says that nobody has the terminal open any more.
	for done, tries := 0, 0; done < mostRest; {
		piece, err := a.terminal.readNow(&pool)
		if len(piece) == 0 {
			if tries++; err != nil || tries > restTries {
				return
			}
			time.Sleep(restPause)
			continue
		}
		if _, err := to.Write(piece); err != nil {
			return
		}
		done += len(piece)
	}
}

const (
	restTries = 20
	restPause = 5 * time.Millisecond
)

// mostRest is how much is still read from a terminal whose process has ended.
const mostRest = 256 << 10
