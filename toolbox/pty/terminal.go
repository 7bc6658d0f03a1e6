package pty

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is the master end of a pseudo-terminal.
type terminal struct {
	file *os.File
}

// size is a terminal's size in characters.
type size struct {
	cols, rows int
}

// openTerminal makes a pseudo-terminal. The second file is the end of the
// program that will run in it; the caller closes it once the program has it.
func openTerminal(s size) (*terminal, *os.File, error) {
	// Non-blocking, so that nobody who waits for a terminal holds a thread.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	t := &terminal{os.NewFile(uintptr(fd), "/dev/ptmx")}
	program, err := preparePair(fd, s)
	if err != nil {
		return nil, nil, errors.Join(err, t.close())
	}
	return t, program, nil
}

func preparePair(master int, s size) (*os.File, error) {
	number, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("number of the terminal: %w", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock the terminal: %w", err)
	}
	if err := setSize(master, s); err != nil {
		return nil, err
	}
	// Where lines are edited by the kernel a backspace must take a whole
	// character away, not one byte of it.
	if settings, err := unix.IoctlGetTermios(master, unix.TCGETS); err == nil {
		settings.Iflag |= unix.IUTF8
		_ = unix.IoctlSetTermios(master, unix.TCSETS, settings)
	}
	path := "/dev/pts/" + strconv.Itoa(number)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func setSize(fd int, s size) error {
	err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(s.cols), Row: uint16(s.rows)})
	if err != nil {
		return fmt.Errorf("set the size of the terminal: %w", err)
	}
	return nil
}

// resize changes the size. The kernel tells the program in the foreground.
func (t *terminal) resize(s size) error {
	return t.control(func(fd int) error { return setSize(fd, s) })
}

// close hangs up.
func (t *terminal) close() error { return t.file.Close() }

// interrupt ends the waiting of read, now and from now on.
func (t *terminal) interrupt() { _ = t.file.SetReadDeadline(time.Now()) }

// read waits for output and returns all that there is then, up to the size of
// the pool's buffers. The error is that nothing will come any more (EIO, when no
// process has the terminal open), or that the wait was interrupted.
func (t *terminal) read(buffers *sync.Pool) ([]byte, error) {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var got []byte
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		// Nobody holds a buffer while there is nothing to read.
		got, readErr = readReady(int(fd), buffers)
		return len(got) > 0 || readErr != nil
	})
	return got, errors.Join(err, readErr)
}

// readNow is read without the wait: what there is at this moment, or nothing.
func (t *terminal) readNow(buffers *sync.Pool) (got []byte, err error) {
	err = t.control(func(fd int) (err error) {
		got, err = readReady(fd, buffers)
		return err
	})
	return got, err
}

// readReady reads until there is nothing to read or the buffer is full, and
// returns a copy.
func readReady(fd int, buffers *sync.Pool) ([]byte, error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	buf, n := *buffer, 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err == nil && m <= 0 {
			err = unix.EIO
		}
		if err != nil {
			return bytes.Clone(buf[:n]), err
		}
		n += m
	}
	return bytes.Clone(buf[:n]), nil
}

// writeNow writes as much of b as the terminal takes at this moment.
func (t *terminal) writeNow(b []byte) (n int, err error) {
	err = t.control(func(fd int) (err error) {
		n, err = writeReady(fd, b)
		return err
	})
	return n, err
}

// write waits until the terminal has taken all of b.
func (t *terminal) write(b []byte) error {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	var writeErr error
	err = raw.Write(func(fd uintptr) bool {
		var n int
		n, writeErr = writeReady(int(fd), b)
		b = b[n:]
		return len(b) == 0 || writeErr != nil
	})
	return errors.Join(err, writeErr)
}

// writeReady writes until b is empty or the terminal is full.
func writeReady(fd int, b []byte) (int, error) {
	done := 0
	for done < len(b) {
		rest := b[done:]
		if at := nextSignal(fd, rest); at == 0 {
			rest = rest[:1]
			// A key that interrupts takes what was typed before it and
			// not yet read with it. The kernel does that when it comes to
			// the key, but gVisor's does not come to it while a line
			// waits to be read: a program that reads nothing could not
			// be interrupted.
			_ = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCOFLUSH)
		} else if at > 0 {
			rest = rest[:at]
		}
		n, err := unix.Write(fd, rest)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return done, nil
		case err != nil:
			return done, err
		default:
			done += n
		}
	}
	return done, nil
}

// signalKeys are the keys that send signals, unless a program has chosen others.
const signalKeys = "\x03\x1c\x1a" // ^C ^\ ^Z

// nextSignal returns where in b the first key is that makes the terminal send a
// signal and forget what was typed before, or -1.
func nextSignal(fd int, b []byte) int {
	at := bytes.IndexAny(b, signalKeys)
	if at < 0 {
		return -1
	}
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil || settings.Lflag&unix.ISIG == 0 || settings.Lflag&unix.NOFLSH != 0 {
		return -1
	}
	for i, c := range b[at:] {
		if c != 0 && (c == settings.Cc[unix.VINTR] || c == settings.Cc[unix.VQUIT] || c == settings.Cc[unix.VSUSP]) {
			return at + i
		}
	}
	return -1
}

// control calls f with the master's descriptor, which stays valid meanwhile.
func (t *terminal) control(f func(fd int) error) error {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
