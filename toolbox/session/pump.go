package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// pump moves what comes out of a pipe into a log, until no process has the
// pipe's other end open any more.
type pump struct {
	stream stream
	out    *output
	poller *poller
	id     uint64 // the poller's number for it

	mu    sync.Mutex // held from a read to the end of the append that follows
	fd    int
	eof   bool // fd has been closed
	grown bool // the pipe has been made larger
}

// pieces are the buffers of those who read pipes and logs, which need one only
// while they do.
var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

const (
	pieceSize = 64 << 10
	grownPipe = 512 << 10
)

// newPump begins to read a pipe, whose reading end it takes over, and which must
// be non-blocking.
func newPump(poller *poller, fd int, s stream, out *output) (*pump, error) {
	p := &pump{stream: s, out: out, poller: poller, fd: fd}
	out.begin()
	if err := poller.add(p); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// move moves what can be read at once. n is 0 if there is nothing at present;
// more is false at the end of the pipe.
func (p *pump) move() (n int, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.eof {
		return 0, false
	}
	buf := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(buf)
	for {
		n, err := unix.Read(p.fd, buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, true
		case err != nil || n == 0:
			p.closeLocked()
			return 0, false
		}
		p.out.append(p.stream, buf[:n])
		if n == pieceSize && !p.grown {
			// It is more than a pipe usually holds: the printer is faster
			// than we are, and a larger pipe means fewer changes between the
			// two. A kernel that refuses has its reasons.
			p.grown = true
			_, _ = unix.FcntlInt(uintptr(p.fd), unix.F_SETPIPE_SZ, grownPipe)
		}
		return n, true
	}
}

func (p *pump) closeLocked() {
	if p.eof {
		return
	}
	p.eof = true
	p.poller.remove(p.id)
	_ = unix.Close(p.fd)
	p.out.end()
}

// drain moves everything that has been written to the pipe until now. It
// reports whether the pipe has come to its end.
func (p *pump) drain() (ended bool) {
	p.mu.Lock()
	// No more than fits into a pipe: what comes later may never end.
	capacity := 0
	if !p.eof {
		var err error
		if capacity, err = unix.FcntlInt(uintptr(p.fd), unix.F_GETPIPE_SZ, 0); err != nil || capacity <= 0 {
			capacity = 1 << 20
		}
	}
	p.mu.Unlock()
	for moved := 0; moved <= capacity; {
		n, more := p.move()
		if !more {
			return true
		}
		if n == 0 {
			return false
		}
		moved += n
	}
	return false
}

// stop ends the reading although somebody may still write.
func (p *pump) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeLocked()
}

// pipes is a directory of named pipes in memory.
type pipes struct {
	parents []string // where the directory may be, the best first

	mu  sync.Mutex // guards dir
	dir string
}

// path returns the path of a pipe, or of a file beside them.
func (p *pipes) path(name string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir != "" {
		if info, err := os.Lstat(p.dir); err == nil && info.IsDir() {
			return filepath.Join(p.dir, name), nil
		}
	}
	var first error
	for _, parent := range p.parents {
		dir, err := os.MkdirTemp(parent, "daytona-")
		if err == nil {
			// A file system may know no pipes.
			probe := filepath.Join(dir, "probe")
			if err = unix.Mkfifo(probe, 0o600); err == nil {
				err = os.Remove(probe)
			}
			if err == nil {
				p.dir = dir
				return filepath.Join(dir, name), nil
			}
			_ = os.RemoveAll(dir)
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

func (p *pipes) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
		p.dir = ""
	}
}

// outlet is a named pipe that a command prints to. Its writing end is kept open
// by us until the command is over, so that the pipe does not end before it has
// begun.
type outlet struct {
	path string // "" for a pipe without a name, which has no hold
	pump *pump
	hold int
}

func newOutlet(poller *poller, path string, s stream, out *output) (*outlet, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &fs.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	reading, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: err}, os.Remove(path))
	}
	hold, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: err}, unix.Close(reading), os.Remove(path))
	}
	p, err := newPump(poller, reading, s, out)
	if err != nil {
		return nil, errors.Join(err, unix.Close(hold), os.Remove(path))
	}
	return &outlet{path, p, hold}, nil
}

// release takes what is in the pipe and lets it end with its last writer. It
// reports whether it has ended.
func (o *outlet) release() bool {
	o.pump.drain()
	if o.path != "" {
		_ = unix.Close(o.hold)
		_ = os.Remove(o.path)
	}
	return o.pump.drain()
}

// inlet is a named pipe that a command reads.
type inlet struct {
	path string
	file *os.File
	turn sync.Mutex // one writer at a time, so that lines stay whole
}

func newInlet(path string) (*inlet, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &fs.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	// For reading too: else it could not be opened before the command has
	// done so, and writing would fail whenever no process listens.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: err}, os.Remove(path))
	}
	return &inlet{path: path, file: os.NewFile(uintptr(fd), "input")}, nil
}

// release ends the input.
func (i *inlet) release() {
	_ = i.file.Close()
	_ = os.Remove(i.path)
}

// newPipe returns a pipe whose reading end is non-blocking. Programs do not
// expect that of the end that they are given.
func newPipe() (reading int, writing *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return 0, nil, fmt.Errorf("pipe: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return 0, nil, errors.Join(fmt.Errorf("pipe: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return fds[0], os.NewFile(uintptr(fds[1]), "pipe"), nil
}
