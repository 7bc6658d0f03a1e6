package desktop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"daytona/toolbox/desktop/x11"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

const (
	minPause  = 200 * time.Millisecond // before a crashed process is started again;
	maxPause  = 30 * time.Second       // it doubles up to this,
	longLife  = time.Minute            // until the process has lived that long
	readyTime = 45 * time.Second       // from the start of a process until it works
	stopTime  = 3 * time.Second        // for a process to end by itself
	manyEnds  = 3                      // so many ends before it has ever worked are a failure
)

// process keeps one program of the desktop running until it is told to end.
type process struct {
	program
	space   *launch.Space
	display int
	out     string // log files
	errs    string
	log     *slog.Logger

	cancel context.CancelFunc
	done   chan struct{} // closed when it is over for good
	again  chan struct{} // asks for a restart; capacity 1

	mu      sync.Mutex
	pid     int  // 0 when it does not run
	ready   bool // it runs and works
	ends    int  // since it last worked
	last    error
	changed chan struct{} // closed at every change of the above
}

// run starts the process and keeps it running. It returns at once.
func (s *Service) run(p program, l layout) (*process, error) {
	dir := s.folder()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	proc := &process{
		program: p, space: s.Space, display: l.display, log: s.Log.With("process", p.name),
		out: filepath.Join(dir, p.name+".log"), errs: filepath.Join(dir, p.name+".err"),
		cancel: cancel, done: make(chan struct{}), again: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	for _, path := range []string{proc.out, proc.errs} {
		if err := (&logFile{path: path}).fresh(); err != nil {
			cancel()
			return nil, err
		}
	}
	go proc.supervise(ctx)
	return proc, nil
}

// supervise starts the process again whenever it ends, at growing intervals.
func (p *process) supervise(ctx context.Context) {
	defer close(p.done)
	pause := minPause
	for {
		began := time.Now()
		err := p.once(ctx)
		p.update(func() {
			p.pid, p.ready, p.last = 0, false, err
			p.ends++
		})
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > longLife {
			pause = minPause
		}
		if errors.Is(err, errRestart) {
			pause = minPause
			continue
		}
		p.log.Warn("a process of the desktop ended", "err", err, "again", pause)
		select {
		case <-ctx.Done():
			return
		case <-p.again:
			pause = minPause
			continue
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

var errRestart = errors.New("restarted")

// once runs the process to its end and says how it ended.
func (p *process) once(ctx context.Context) error {
	if p.needsDisplay {
		if err := p.awaitDisplay(ctx); err != nil {
			return err
		}
	}
	if p.name == "xvfb" {
		if err := p.clearLock(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	child, err := p.start(func() { p.works() })
	if err != nil {
		return err
	}
	p.update(func() { p.pid = child.PID() })
	switch {
	case p.manager:
		go p.awaitManager(ctx)
	case p.port != 0:
		go p.awaitPort(ctx)
	}
	select {
	case <-child.Done():
		return fmt.Errorf("%s ended with exit code %d: %s", p.name, child.ExitCode(), tail(p.errs))
	case <-p.again:
		end(child)
		return errRestart
	case <-ctx.Done():
		end(child)
		return context.Cause(ctx)
	}
}

// start starts the process with its output going to its logs.
func (p *process) start(ready func()) (*reaper.Child, error) {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer outW.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, outR.Close())
	}
	defer errW.Close()
	vars := map[string]string{"DISPLAY": fmt.Sprintf(":%d", p.display)}
	for name, value := range p.env {
		vars[name] = value
	}
	child, err := p.space.Table.Start(reaper.Command{
		Path: p.path, Args: p.args, Env: p.space.Env.With(vars).Pairs(), Dir: p.space.Home(),
		Stdin: stdin, Stdout: outW, Stderr: errW,
	})
	if err != nil {
		return nil, errors.Join(err, outR.Close(), errR.Close())
	}
	out := &logFile{path: p.out, prefix: p.line}
	if p.line != "" {
		out.onLine = ready
	}
	go out.copyFrom(outR)
	go (&logFile{path: p.errs}).copyFrom(errR)
	return child, nil
}

// end ends a process and everything below it.
func end(child *reaper.Child) {
	child.Signal(syscall.SIGTERM)
	child.Signal(syscall.SIGCONT)
	select {
	case <-child.Done():
		return
	case <-time.After(stopTime):
	}
	child.KillTree()
	select {
	case <-child.Done():
	case <-time.After(stopTime): // another user's, or stuck in the kernel
	}
}

// works notes that the process is ready.
func (p *process) works() {
	p.update(func() {
		p.ready = p.pid != 0
		p.ends, p.last = 0, nil
	})
}

func (p *process) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// await returns when the process works, or why it does not.
func (p *process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for {
		p.mu.Lock()
		ready, ends, last, changed := p.ready, p.ends, p.last, p.changed
		p.mu.Unlock()
		if ready {
			return nil
		}
		if ends >= manyEnds {
			return last
		}
		select {
		case <-changed:
		case <-p.done:
			return fmt.Errorf("%s was stopped", p.name)
		case <-ctx.Done():
			if last == nil {
				last = fmt.Errorf("%s is not ready after %s: %s", p.name, readyTime, tail(p.errs))
			}
			return last
		}
	}
}

// stop ends the process for good.
func (p *process) stop() {
	p.cancel()
	<-p.done
}

// restart ends the process and starts it again.
func (p *process) restart() {
	p.update(func() { p.ready, p.ends, p.last = false, 0, nil })
	select {
	case p.again <- struct{}{}:
	default: // somebody asked already
	}
}

// between is the time between two looks at what cannot be waited for.
const between = 30 * time.Millisecond

func (p *process) awaitDisplay(ctx context.Context) error {
	for {
		c, err := x11.Dial(ctx, p.display)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(between):
		}
	}
}

func (p *process) awaitManager(ctx context.Context) {
	c, err := x11.Dial(ctx, p.display)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	if c.AwaitManager(ctx) == nil {
		p.works()
	}
}

func (p *process) awaitPort(ctx context.Context) {
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
		if err == nil {
			_ = c.Close()
			p.works()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(between):
		}
	}
}

// clearLock removes what an X server left that was killed: the process number in
// its lock may by now be another process's, and the next one would give up.
func (p *process) clearLock(ctx context.Context) error {
	if c, err := x11.Dial(ctx, p.display); err == nil {
		return errors.Join(fmt.Errorf("another X server already serves display :%d", p.display), c.Close())
	}
	for _, path := range []string{fmt.Sprintf("/tmp/.X%d-lock", p.display), fmt.Sprintf("/tmp/.X11-unix/X%d", p.display)} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// tail returns the end of a log, for a message.
func tail(path string) string {
	text, err := readLog(path)
	if err != nil || text == "" {
		return "it printed nothing"
	}
	return text[max(0, len(text)-500):]
}
