package interpreter

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// backlogLimit is how much is kept of what a context prints while nothing runs
// in it: the end of it is shown with the next run.
const backlogLimit = 64 << 10

// stream reads what a worker prints to one of its descriptors, as long as any
// process has it open, and hands it to who has subscribed, in whole characters.
type stream struct {
	pipe *os.File
	raw  syscall.RawConn

	mu      sync.Mutex   // held while a piece is read and handed over
	emit    func(string) // nil while nothing runs
	buf     []byte       // one read
	partial []byte       // the beginning of a character
	backlog []byte
}

// newStream returns a stream and the end of its pipe that a worker writes to.
func newStream() (*stream, *os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe", err)
	}
	// Only our end may be non-blocking: programs do not expect it of theirs.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	pipe, writer := os.NewFile(uintptr(fds[0]), "output"), os.NewFile(uintptr(fds[1]), "output")
	raw, err := pipe.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(err, pipe.Close(), writer.Close())
	}
	return &stream{pipe: pipe, raw: raw}, writer, nil
}

// read hands over what comes, until no process has the other end open.
func (s *stream) read() {
	defer s.pipe.Close()
	for {
		ended := false
		err := s.raw.Read(func(fd uintptr) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			n := s.pieceLocked(fd)
			ended = n == 0
			return n >= 0
		})
		if err != nil || ended {
			return
		}
	}
}

// pieceLocked reads and hands over one piece. It returns its length, 0 at the
// end and -1 when there is nothing to read now.
func (s *stream) pieceLocked(fd uintptr) int {
	if s.buf == nil {
		s.buf = make([]byte, 32<<10)
	}
	for {
		n, err := unix.Read(int(fd), s.buf)
		switch {
		case err == nil:
			s.handLocked(s.buf[:n])
			return n
		case errors.Is(err, unix.EAGAIN):
			s.buf = nil // a context waits much longer than it runs
			return -1
		case !errors.Is(err, unix.EINTR):
			return 0
		}
	}
}

func (s *stream) handLocked(b []byte) {
	if s.emit == nil {
		s.backlog = append(s.backlog, b...)
		if over := len(s.backlog) - backlogLimit; over > 0 {
			s.backlog = append(s.backlog[:0], s.backlog[over:]...)
		}
		return
	}
	whole, rest := wholeRunes(append(s.partial, b...))
	if len(whole) > 0 {
		s.emit(string(whole))
	}
	s.partial = append([]byte(nil), rest...)
}

// subscribe hands over to emit from now on, first what has come in between.
// emit is called by one goroutine at a time.
func (s *stream) subscribe(emit func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emit = emit
	if b := s.backlog; len(b) > 0 {
		s.backlog = nil
		s.handLocked(b)
	}
}

// drain hands over what the pipe holds now: when it returns, everything that
// was written before it was called has been handed over.
func (s *stream) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A program that writes all the time must not hold us: no more than a pipe
	// can hold was there when we began.
	const capacity = 1 << 20
	_ = s.raw.Control(func(fd uintptr) {
		for read := 0; read < capacity; {
			n := s.pieceLocked(fd)
			if n <= 0 {
				return
			}
			read += n
		}
	}) // fails once the pipe was closed, and is empty then
}

// unsubscribe ends what subscribe began. A character of which only the
// beginning has come is handed over as it is.
func (s *stream) unsubscribe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.partial) > 0 && s.emit != nil {
		s.emit(string(s.partial))
	}
	s.partial, s.emit = nil, nil
}

// wholeRunes splits b before a character at its end of which bytes are missing.
func wholeRunes(b []byte) (whole, rest []byte) {
	for back := 1; back <= min(utf8.UTFMax-1, len(b)); back++ {
		i := len(b) - back
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i], b[i:]
			}
			break
		}
	}
	return b, nil
}
