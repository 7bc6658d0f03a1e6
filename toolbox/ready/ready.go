// Package ready keeps a Python interpreter ready that has imported what programs
// usually import, and starts programs as copies of it.
//
// It does what a start of "python3 -u -" would, wherever the program cannot tell
// the difference; whoever asks starts a fresh process otherwise. Package comment
// of the Python part: template.py.
package ready

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// Config is what an Interpreter needs.
type Config struct {
	Space *launch.Space
	Log   *slog.Logger
	// Modules are imported as far as they are installed. Defaults to those
	// that take long and are asked for often.
	Modules []string
	// Idle is how long it is kept after its last use. Defaults to 10 minutes.
	Idle time.Duration
	// Enough reports whether there is memory for it. Defaults to a look at
	// the limits of the sandbox.
	Enough func() bool
	// Look is how often Enough is asked while one is kept. Defaults to half a
	// second.
	Look time.Duration
}

// usual are the modules that are imported unless a Config says otherwise, those
// first on which others are built: what is written in C can import others behind
// the template's back, except when it is the first to do so.
var usual = []string{"numpy", "pandas", "matplotlib", "matplotlib.pyplot", "requests", "json", "ctypes"}

// rest is how long no interpreter is made ready after one was killed, by which
// the kernel tells that memory is short, or could not be started.
const rest = 10 * time.Minute

// Interpreter starts Python programs as copies of a process that is kept for
// that. Its methods can be called at the same time.
type Interpreter struct {
	Config

	mu       sync.Mutex // guards what follows
	template *template
	starting bool
	closed   bool
	notUntil time.Time
	used     time.Time
	idle     *time.Timer
	waits    bool // no limit of idleness yet
}

// New returns an interpreter that is not ready yet.
func New(c Config) *Interpreter {
	if c.Modules == nil {
		c.Modules = usual
	}
	if c.Idle == 0 {
		c.Idle = 10 * time.Minute
	}
	if c.Enough == nil {
		c.Enough = enoughMemory
	}
	if c.Look == 0 {
		c.Look = 500 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Interpreter{Config: c}
}

// Warm makes it ready in the background, for a sandbox that waits for its first
// use. It is kept until Claim is called.
func (i *Interpreter) Warm() {
	i.mu.Lock()
	i.waits = true
	i.mu.Unlock()
	i.prepare()
}

// Claim says that the sandbox is in use from now on.
func (i *Interpreter) Claim() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waits = false
	if i.template != nil {
		i.touchLocked()
	}
}

// Close ends it for ever.
func (i *Interpreter) Close() {
	i.mu.Lock()
	i.closed = true
	t := i.template
	i.template = nil
	i.mu.Unlock()
	if t != nil {
		t.close()
	}
}

// Start starts a command, which must be "python3 -u -" with arguments, with the
// program text that it will read from its standard input. It reports false,
// without having run anything, where only a fresh process will do; then it gets
// ready for the next time if it can.
func (i *Interpreter) Start(ctx context.Context, c reaper.Command, code string) (*reaper.Child, bool) {
	if len(c.Args) < len(command) || !slices.Equal(c.Args[:len(command)], command) {
		return nil, false
	}
	i.mu.Lock()
	t := i.template
	i.mu.Unlock()
	if t == nil {
		i.prepare()
		return nil, false
	}
	if !t.unchanged() || !t.fits(t.path, i.Space.Env.With(nil)) {
		// It belongs to a sandbox that has changed since.
		i.drop(t, 0)
		i.prepare()
		return nil, false
	}
	if !t.fits(c.Path, pairs(c.Env)) || !suits(code, t.asked) {
		return nil, false
	}
	if !i.Enough() {
		i.Log.Info("ready interpreter ended: memory is short")
		i.drop(t, rest)
		return nil, false
	}
	i.mu.Lock()
	i.touchLocked()
	i.mu.Unlock()
	s := t.take()
	if s == nil {
		if !worth(code) { // the next copy is on its way
			return nil, false
		}
		var err error
		if s, err = t.fork(); err != nil {
			i.Log.Warn("ready interpreter ended", "err", err)
			i.drop(t, rest)
			return nil, false
		}
	}
	if err := s.run(ctx, c); err != nil {
		i.Log.Debug("fresh process instead of a ready one", "err", err)
		if !errors.Is(err, errRefused) && ctx.Err() == nil {
			i.drop(t, rest)
		} else {
			go i.refill(t, nil)
		}
		return nil, false
	}
	go i.refill(t, s.child)
	return s.child, true
}

// lull is how long a program may run before the next copy is made beside it.
const lull = 300 * time.Millisecond

// refill makes the next copy once a program has ended, so as not to compete with
// it, and gives the memory back when that was killed.
func (i *Interpreter) refill(t *template, child *reaper.Child) {
	if child != nil {
		select {
		case <-child.Done():
		case <-time.After(lull):
		}
	}
	if err := t.refill(); err != nil {
		i.Log.Warn("ready interpreter ended", "err", err)
		i.drop(t, rest)
	}
	if child == nil {
		return
	}
	<-child.Done()
	if status := child.Status(); status.Signaled() && status.Signal() == syscall.SIGKILL && !i.Enough() {
		i.drop(t, rest)
	}
}

// prepare starts a template in the background, if that is wise.
func (i *Interpreter) prepare() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.starting || i.template != nil || time.Now().Before(i.notUntil) {
		return
	}
	if !i.Enough() {
		i.notUntil = time.Now().Add(time.Minute)
		return
	}
	i.starting = true
	go func() {
		start := func() (*template, error) {
			return startTemplate(i.Space.Table, i.Space.Env.With(nil), i.Space.WorkDir, i.Space.Home(), i.Modules)
		}
		t, err := start()
		if errors.Is(err, errChanging) {
			t, err = start()
		}
		if err == nil {
			err = t.refill()
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.starting = false
		if err != nil || i.closed {
			i.Log.Info("no ready interpreter", "err", err)
			i.notUntil = time.Now().Add(rest)
			if t != nil {
				t.close()
			}
			return
		}
		i.template = t
		i.touchLocked()
		go i.watch(t)
	}()
}

// watch gives a template's memory back when others need it, and notices that it
// has been ended by somebody else. Where it is the sandbox as a whole that ends
// when memory runs out, nobody may lose it for the sake of speed.
func (i *Interpreter) watch(t *template) {
	look := time.NewTicker(i.Look)
	defer look.Stop()
	for {
		select {
		case <-t.child.Done():
			i.drop(t, rest)
			return
		case <-look.C:
			if !i.Enough() {
				i.Log.Info("ready interpreter ended: memory is short")
				i.drop(t, rest)
				return
			}
		}
	}
}

// drop ends a template, after which none is started for a while.
func (i *Interpreter) drop(t *template, pause time.Duration) {
	i.mu.Lock()
	ours := i.template == t
	if ours {
		i.template = nil
		i.notUntil = time.Now().Add(pause)
	}
	i.mu.Unlock()
	if ours {
		t.close()
	}
}

// touchLocked begins the time of idleness anew.
func (i *Interpreter) touchLocked() {
	i.used = time.Now()
	if i.waits {
		return
	}
	if i.idle == nil {
		i.idle = time.AfterFunc(i.Idle, i.expire)
		return
	}
	i.idle.Reset(i.Idle)
}

// expire gives the memory back.
func (i *Interpreter) expire() {
	i.mu.Lock()
	t := i.template
	if t == nil || i.waits || time.Since(i.used) < i.Idle {
		i.mu.Unlock()
		return
	}
	i.template = nil
	i.mu.Unlock()
	t.close()
}
