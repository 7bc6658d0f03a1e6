package imagequeue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// maxLog bounds the log of one job: a hostile build must not fill the disk.
const maxLog = 16 << 20

// log is the output of one job, in a file, which many can read while it is
// written.
type log struct {
	path string

	mu    sync.Mutex
	file  *os.File // nil when nobody writes
	size  int64
	full  bool
	grown chan struct{} // closed and replaced at each change
}

func newLog(path string) *log { return &log{path: path, grown: make(chan struct{})} }

// begin empties the log and opens it for writing.
func (l *log) begin() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	l.change(func() { l.file, l.size, l.full = f, 0, false })
	return nil
}

// Write implements io.Writer. It never fails: work must not end because its log
// cannot be kept.
func (l *log) Write(p []byte) (int, error) {
	l.change(func() {
		if l.file == nil || l.full {
			return
		}
		b := p
		if l.size+int64(len(b)) > maxLog {
			l.full = true
			b = fmt.Appendf(b[:maxLog-l.size:maxLog-l.size], "\n[the log ends here: it has reached %d MiB]\n", maxLog>>20)
		}
		n, _ := l.file.Write(b) // on a full disk the rest is lost
		l.size += int64(n)
	})
	return len(p), nil
}

// end closes the log; whoever follows it comes to an end.
func (l *log) end() {
	l.change(func() {
		if l.file != nil {
			_ = l.file.Close() // nothing depends on it
			l.file = nil
		}
	})
}

func (l *log) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.grown)
	l.grown = make(chan struct{})
}

// state returns whether somebody writes, and what is closed at the next change.
func (l *log) state() (writing bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file != nil, l.grown
}

// open returns a reader from the first byte. With follow it waits for more
// until the log has ended or ctx ends; then live says whether the job is over.
func (l *log) open(ctx context.Context, follow bool, over func() bool) (io.ReadCloser, error) {
	f, err := os.Open(l.path)
	if errors.Is(err, os.ErrNotExist) && follow {
		// It waits for its turn: there will be something to read.
		if f, err = os.OpenFile(l.path, os.O_CREATE|os.O_RDONLY, 0o600); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	if !follow {
		return f, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	return &follower{ctx: ctx, cancel: cancel, f: f, l: l, over: over}, nil
}

// follower reads a log that grows.
type follower struct {
	ctx    context.Context
	cancel context.CancelFunc
	f      *os.File
	l      *log
	over   func() bool
}

func (r *follower) Read(p []byte) (int, error) {
	for {
		// Asked before reading: what is written after an end that was seen
		// here cannot be missed.
		over := r.over()
		writing, changed := r.l.state()
		n, err := r.f.Read(p)
		if n > 0 || err != nil && err != io.EOF {
			return n, err
		}
		if over && !writing {
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}

func (r *follower) Close() error {
	r.cancel()
	return r.f.Close()
}
