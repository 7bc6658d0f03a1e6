package git

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// pipe carries what a process writes. It is read by one goroutine.
type pipe struct {
	reader *os.File
	writer *os.File // the process's end
	over   atomic.Bool
	late   int // bytes read since over
}

func newPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	// Only our end may be non-blocking: programs do not expect it of theirs.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, errors.Join(fmt.Errorf("pipe: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return &pipe{reader: os.NewFile(uintptr(fds[0]), "pipe"), writer: os.NewFile(uintptr(fds[1]), "pipe")}, nil
}

// What may still come once the process has ended: it has written everything by
// then, so that more than a pipe holds, or what comes later, is somebody else's
// (a daemon that was left behind with the pipe open).
const (
	quiet  = 100 * time.Millisecond
	atMost = 1 << 20
)

// end tells that the process has ended.
func (p *pipe) end() {
	p.over.Store(true)
	_ = p.reader.SetReadDeadline(time.Now().Add(quiet)) // wakes a reader
}

// Read reads what the process wrote.
func (p *pipe) Read(b []byte) (int, error) {
	for {
		over := p.over.Load()
		if over {
			if p.late >= atMost {
				return 0, io.EOF
			}
			_ = p.reader.SetReadDeadline(time.Now().Add(quiet))
		}
		n, err := p.reader.Read(b)
		if over {
			p.late += n
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if over {
				return n, io.EOF
			}
			continue // the deadline came between our look and our read
		}
		return n, err
	}
}

func (p *pipe) close() {
	p.reader.Close()
	p.writer.Close()
}

// tail keeps the last bytes of what is written to it.
type tail struct {
	limit int
	buf   []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.buf = append(t.buf, b...)
	if extra := len(t.buf) - t.limit; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(b), nil
}
