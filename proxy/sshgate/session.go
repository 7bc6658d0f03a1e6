package sshgate

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"daytona/internal/fault"
	"daytona/internal/procstream"
)

// session is a channel in which one process runs.
type session struct {
	*login
	channel ssh.Channel
	start   procstream.Start
	begun   bool

	mu      sync.Mutex
	process *procstream.Writer // nil until it runs
}

// What a client may set for its process. Anything else could change what
// programs of the sandbox are.
func accepts(name string) bool {
	return name == "LANG" || strings.HasPrefix(name, "LC_") || name == "COLORTERM" || name == "TERM" || name == "GIT_PROTOCOL" ||
		strings.HasPrefix(name, "VSCODE_")
}

func (l *login) session(asked ssh.NewChannel, notReady error) {
	channel, requests, err := asked.Accept()
	if err != nil {
		return
	}
	defer func() { _ = channel.Close() }() // the client may have closed it
	s := &session{login: l, channel: channel, start: procstream.Start{Env: map[string]string{"SSH_CONNECTION": connection(l.conn)}}}
	var running sync.WaitGroup
	defer running.Wait()
	for r := range requests {
		ok := s.answer(r)
		begins := ok && (r.Type == "shell" || r.Type == "exec" || r.Type == "subsystem")
		s.begun = s.begun || begins
		if r.WantReply {
			_ = r.Reply(ok, nil) // the client has gone when this fails
		}
		if begins {
			running.Go(func() {
				s.run(notReady)
				_ = channel.Close() // likewise
			})
		}
	}
}

// connection is how sshd tells a process where the login is from.
func connection(c *ssh.ServerConn) string {
	from, to := c.RemoteAddr().(*net.TCPAddr), c.LocalAddr().(*net.TCPAddr)
	return fmt.Sprintf("%s %d %s %d", from.IP, from.Port, to.IP, to.Port)
}

// answer takes a request of the session in, and reports whether it is granted.
func (s *session) answer(r *ssh.Request) bool {
	begun := s.begun
	switch r.Type {
	case "pty-req":
		var p struct {
			Term                         string
			Cols, Rows, PixelsX, PixelsY uint32
			Modes                        string
		}
		if begun || ssh.Unmarshal(r.Payload, &p) != nil {
			return false
		}
		s.start.TTY = &procstream.Size{Cols: int(p.Cols), Rows: int(p.Rows)}
		if p.Term != "" {
			s.start.Env["TERM"] = p.Term
		}
		return true
	case "env":
		var p struct{ Name, Value string }
		if begun || ssh.Unmarshal(r.Payload, &p) != nil || !accepts(p.Name) || len(s.start.Env) > 64 {
			return false
		}
		s.start.Env[p.Name] = p.Value
		return true
	case "shell":
		return !begun
	case "exec":
		var p struct{ Command string }
		if begun || ssh.Unmarshal(r.Payload, &p) != nil || p.Command == "" {
			return false
		}
		s.start.Command = p.Command
		return true
	case "subsystem":
		var p struct{ Name string }
		if begun || ssh.Unmarshal(r.Payload, &p) != nil || p.Name != "sftp" {
			return false
		}
		s.start.SFTP = true
		return true
	case "window-change":
		var p struct{ Cols, Rows, PixelsX, PixelsY uint32 }
		if ssh.Unmarshal(r.Payload, &p) != nil {
			return false
		}
		return s.tell(func(w *procstream.Writer) error {
			return w.SendJSON(procstream.KindResize, procstream.Size{Cols: int(p.Cols), Rows: int(p.Rows)})
		})
	case "signal":
		var p struct{ Name string }
		if ssh.Unmarshal(r.Payload, &p) != nil || len(p.Name) > 16 {
			return false
		}
		return s.tell(func(w *procstream.Writer) error { return w.Send(procstream.KindSignal, []byte(p.Name)) })
	}
	return false // agents and displays among them
}

func (s *session) tell(say func(*procstream.Writer) error) bool {
	s.mu.Lock()
	w := s.process
	s.mu.Unlock()
	return w != nil && say(w) == nil
}

// run runs the process to its end, and tells the client how it ended: before the
// end of the output, for which clients wait to close the channel, after which
// nothing more can be said.
func (s *session) run(notReady error) {
	err := notReady
	var exit procstream.Exit
	if err == nil {
		exit, err = s.carry()
	}
	if err != nil {
		if !errors.Is(err, io.EOF) {
			s.log.Debug("SSH session failed", "error", err)
		}
		fmt.Fprintf(s.channel.Stderr(), "daytona: %s.\r\n", textOf(err))
		exit = procstream.Exit{Code: 255}
	}
	if exit.Signal != "" {
		_, _ = s.channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Name       string
			CoreDumped bool
			Text, Lang string
		}{Name: exit.Signal}))
	} else {
		var status [4]byte
		binary.BigEndian.PutUint32(status[:], uint32(exit.Code))
		_, _ = s.channel.SendRequest("exit-status", false, status[:])
	}
	_ = s.channel.CloseWrite() // the client has gone when this fails
}

// errEnded is what is said when the sandbox goes away under a process.
var errEnded = fault.New(fault.Unavailable, "the connection to the sandbox was lost: it may have stopped")

// carry passes on what the process and the client have to say to each other.
func (s *session) carry() (procstream.Exit, error) {
	var exit procstream.Exit
	stream, err := s.upgrade("/process/attach", procstream.Protocol)
	if err != nil {
		return exit, err
	}
	defer stream.Close()
	w := procstream.NewWriter(stream)
	if err := w.SendJSON(procstream.KindStart, s.start); err != nil {
		return exit, errEnded
	}
	s.mu.Lock()
	s.process = w
	s.mu.Unlock()
	go func() { // ends with the channel
		buf := make([]byte, 32<<10)
		for {
			n, err := s.channel.Read(buf)
			if n > 0 {
				s.meter.Note()
				if w.Send(procstream.KindInput, buf[:n]) != nil {
					return
				}
			}
			if err != nil {
				_ = w.Send(procstream.KindInput, nil) // the process has ended when this fails
				return
			}
		}
	}()
	r := procstream.NewReader(stream)
	for {
		kind, data, err := r.Next()
		if err != nil {
			return exit, errEnded
		}
		switch kind {
		case procstream.KindOutput, procstream.KindError:
			s.meter.Note()
			var to io.Writer = s.channel
			if kind == procstream.KindError {
				to = s.channel.Stderr()
			}
			if _, err := to.Write(data); err != nil {
				return exit, io.EOF
			}
		case procstream.KindFailed:
			return exit, fault.New(fault.Unavailable, "%s", strings.ToValidUTF8(string(data), "?"))
		case procstream.KindExit:
			if err := json.Unmarshal(data, &exit); err != nil {
				return exit, errEnded
			}
			return exit, nil
		}
	}
}

// upgrade asks the sandbox's toolbox for a connection.
func (l *login) upgrade(path, protocol string) (io.ReadWriteCloser, error) {
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, "http://toolbox"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	res, err := l.Plane.RoundTripToolbox(req, l.pass.SandboxID)
	if err != nil {
		return nil, err
	}
	stream, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode == http.StatusSwitchingProtocols && ok {
		return stream, nil
	}
	defer res.Body.Close()
	var said struct{ Message string }
	if json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&said) == nil && said.Message != "" {
		return nil, fault.New(fault.Unavailable, "%s", said.Message)
	}
	if res.StatusCode == http.StatusNotFound {
		return nil, fault.New(fault.Unavailable, "the sandbox was started by an older version of the server: stop and start it, then log in again")
	}
	return nil, fault.New(fault.Unavailable, "the sandbox refused (%s)", res.Status)
}
