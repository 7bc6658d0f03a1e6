package interpreter

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/toolbox/charts"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

//go:embed worker.py
var pythonWorker string

//go:embed worker.js
var nodeWorker string

// maxAnswer bounds one line from a worker: a chart with its picture, or the
// traceback of an error whose text is long.
const maxAnswer = 16 << 20

// worker is the process in which a context's code runs.
type worker struct {
	child          *reaper.Child
	control        *os.File
	stdout, stderr *stream
	answers        chan answer // closed when the worker says no more
}

// startWorker starts a worker for a language in a directory.
func (s *Service) startWorker(ctx context.Context, language, dir string) (*worker, error) {
	args, script, err := program(language)
	if err != nil {
		return nil, err
	}
	env := s.Space.Env.With(nil)
	path, err := launch.LookPath(args[0], env["PATH"], dir)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unprocessable, "%s cannot be started: %v; install it in the sandbox", args[0], err)
	}
	stdin, err := launch.MemoryFile("stdin", []byte(script))
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	stdout, outWriter, err := newStream()
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	defer outWriter.Close()
	stderr, errWriter, err := newStream()
	if err != nil {
		return nil, errors.Join(err, ours.Close(), stdout.pipe.Close())
	}
	defer errWriter.Close()
	child, err := s.start(ctx, language, reaper.Command{
		Path: path, Args: args, Env: env.Pairs(), Dir: dir,
		Stdin: stdin, Stdout: outWriter, Stderr: errWriter, Extra: []*os.File{theirs},
	})
	if err != nil {
		return nil, errors.Join(
			fault.Wrap(err, fault.Unprocessable, "%s cannot be started: %v", args[0], err),
			ours.Close(), stdout.pipe.Close(), stderr.pipe.Close())
	}
	w := &worker{child: child, control: ours, stdout: stdout, stderr: stderr, answers: make(chan answer)}
	go stdout.read()
	go stderr.read()
	go w.listen()
	return w, nil
}

// start starts a worker's process, by way of a ready interpreter if there is
// one.
func (s *Service) start(ctx context.Context, language string, c reaper.Command) (*reaper.Child, error) {
	if language == "python" && s.Python != nil {
		if child, ok := s.Python(ctx, c, ""); ok {
			return child, nil
		}
	}
	return s.Space.Table.Start(c)
}

// program returns the command of a language's worker, and what it is fed.
func program(language string) (args []string, script string, err error) {
	switch language {
	case "python":
		return []string{"python3", "-u", "-"}, charts.Figures() + "\n\n" + pythonWorker, nil
	case "javascript", "typescript":
		return []string{"node", "-", language}, nodeWorker, nil
	}
	return nil, "", fault.New(fault.Invalid, "language must be python, javascript or typescript, not %q", language)
}

// listen reads what the worker says. What makes no sense ends it: nobody could
// tell any more whether the code is still running.
func (w *worker) listen() {
	defer close(w.answers)
	defer w.control.Close()
	lines := bufio.NewReaderSize(w.control, 4<<10)
	for {
		line, err := readLine(lines, maxAnswer)
		if err != nil {
			break
		}
		a, err := parseAnswer(line)
		if err != nil {
			break
		}
		select {
		case w.answers <- a:
		case <-w.child.Done():
			return
		}
	}
	w.child.KillTree()
}

// readLine reads a line of limited length.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, errors.New("line is too long")
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// send gives the worker something to run.
func (w *worker) send(code string, envs map[string]string) error {
	return w.write(struct {
		Code string            `json:"code"`
		Envs map[string]string `json:"envs,omitempty"`
	}{code, envs})
}

// acknowledge tells the worker that something shown has been passed on.
func (w *worker) acknowledge(seq int64) error {
	return w.write(struct {
		Ack int64 `json:"ack"`
	}{seq})
}

func (w *worker) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	// One that does not read, since it was stopped from outside, is lost.
	if err := w.control.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	_, err = w.control.Write(append(line, '\n'))
	return err
}

// alive reports whether the worker can be given something.
func (w *worker) alive() bool {
	if w == nil {
		return false
	}
	select {
	case <-w.child.Done():
		return false
	default:
		return true
	}
}

// epitaph says how a worker ended.
func (w *worker) epitaph() string {
	status := w.child.Status()
	switch {
	case status.Signaled() && status.Signal() == unix.SIGKILL:
		return "the interpreter was killed (signal 9); did it run out of memory?"
	case status.Signaled():
		return fmt.Sprintf("the interpreter was ended by signal %d (%v)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("the interpreter ended with exit code %d", status.ExitStatus())
}

// kill ends the worker and all that it has started.
func (w *worker) kill() {
	w.child.KillTree()
	select {
	case <-w.child.Done():
	case <-time.After(2 * time.Second): // hangs in the kernel
	}
}

// socketPair returns our end, with deadlines, and a plain one for a worker.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control"), nil
}
