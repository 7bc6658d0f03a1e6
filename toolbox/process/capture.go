package process

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// capture reads what a command writes to its standard output and error, up to a
// limit. What comes after the limit is read and dropped, so that the command
// does not block.
type capture struct {
	limit  int
	writer *os.File // the command's end
	reader *os.File
	eof    chan struct{} // closed when no process has the pipe open any more
	data   chan struct{} // something was read; capacity 1

	mu      sync.Mutex // guards what follows
	chunk   []byte
	buf     []byte
	dropped int64
	closed  bool // the answer has been made: drop everything
}

func newCapture(limit int) (*capture, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	// Only our end may be non-blocking: programs do not expect it of theirs.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, errors.Join(fmt.Errorf("pipe: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return &capture{
		limit:  limit,
		reader: os.NewFile(uintptr(fds[0]), "output"),
		writer: os.NewFile(uintptr(fds[1]), "output"),
		eof:    make(chan struct{}),
		data:   make(chan struct{}, 1),
		chunk:  make([]byte, 32<<10),
	}, nil
}

// start begins to read; the command has been given its end.
func (c *capture) start() {
	c.writer.Close()
	go c.read()
}

// abandon closes both ends of a pipe that no command was given.
func (c *capture) abandon() {
	c.writer.Close()
	c.reader.Close()
}

// read reads until no process has the pipe open. That may be long after the
// answer: a server that the command left running must not be killed by SIGPIPE
// for its first line of log.
func (c *capture) read() {
	defer close(c.eof)
	defer c.reader.Close()
	conn, err := c.reader.SyscallConn()
	if err != nil {
		return
	}
	for ended := false; !ended; {
		err := conn.Read(func(fd uintptr) bool {
			var some bool
			some, ended = c.take(int(fd))
			return some || ended
		})
		if err != nil {
			return
		}
		select {
		case c.data <- struct{}{}:
		default:
		}
	}
}

// take keeps what the pipe holds at the moment, at most a chunk. It reports
// whether there was something, and whether nothing will come any more. What is
// read is kept before anybody can look.
func (c *capture) take(fd int) (some, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := unix.Read(fd, c.chunk)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(fd, c.chunk)
	}
	switch {
	case n > 0:
		if c.keep(c.chunk[:n]) {
			c.chunk = make([]byte, 512) // from now on it is only thrown away
		}
		return true, false
	case errors.Is(err, unix.EAGAIN):
		return false, false
	default:
		return false, true
	}
}

// drain takes what was written before it was called. It reports whether nothing
// will come any more.
func (c *capture) drain() (ended bool) {
	conn, err := c.reader.SyscallConn()
	if err != nil {
		return true
	}
	err = conn.Control(func(fd uintptr) {
		some := true
		for read := 0; some && !ended && read <= largestPipe; read += len(c.chunk) {
			some, ended = c.take(int(fd))
		}
	})
	return ended || err != nil
}

// largestPipe is more than a pipe can hold, unless the host was told to allow
// larger ones.
const largestPipe = 1 << 20

// keep stores what fits. It reports whether nobody will read the output again.
// c.mu is held.
func (c *capture) keep(b []byte) bool {
	if c.closed {
		return len(b) > 512
	}
	room := min(c.limit-len(c.buf), len(b))
	c.buf = append(c.buf, b[:room]...)
	c.dropped += int64(len(b) - room)
	return false
}

// How long output is waited for after the command itself has ended while some
// other process holds the pipe: until it was silent for a moment, but not much
// longer than that, since such a process may write for ever.
const (
	quiet   = 50 * time.Millisecond
	lastest = 500 * time.Millisecond
)

// finish returns the output once the command has ended: all that the command
// wrote, and what others add in the moment after it.
func (c *capture) finish() []byte {
	if !c.drain() {
		c.linger()
		c.drain() // where time passed and nothing ran, it is not silence
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	out := c.buf
	c.buf = nil
	if c.dropped > 0 {
		out = fmt.Appendf(out, "\n[output truncated: the first %d bytes are shown, %d more were dropped]\n", c.limit, c.dropped)
	}
	return out
}

// linger waits for those that still hold the pipe.
func (c *capture) linger() {
	last := time.NewTimer(lastest)
	defer last.Stop()
	silent := time.NewTimer(quiet)
	defer silent.Stop()
	for {
		select {
		case <-c.eof:
			return
		case <-c.data:
			silent.Reset(quiet)
		case <-silent.C:
			return
		case <-last.C:
			return
		}
	}
}
