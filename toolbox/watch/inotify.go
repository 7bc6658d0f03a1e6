package watch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// notice is one event of the kernel.
type notice struct {
	watch  int32
	mask   uint32
	cookie uint32 // joins the two halves of a move
	name   string // of an entry of the watched directory; "" for itself
}

// mask is what the kernel is asked to tell of a directory.
const mask = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// parse reads the events in a buffer that the kernel filled. A part that makes
// no whole event is left out.
func parse(buf []byte) []notice {
	var all []notice
	for len(buf) >= unix.SizeofInotifyEvent {
		n := notice{
			watch:  int32(binary.NativeEndian.Uint32(buf)),
			mask:   binary.NativeEndian.Uint32(buf[4:]),
			cookie: binary.NativeEndian.Uint32(buf[8:]),
		}
		size := uint64(binary.NativeEndian.Uint32(buf[12:]))
		buf = buf[unix.SizeofInotifyEvent:]
		if size > uint64(len(buf)) {
			return all
		}
		name, _, _ := bytes.Cut(buf[:size], []byte{0}) // padded with zeros
		n.name = string(name)
		buf = buf[size:]
		all = append(all, n)
	}
	return all
}

// open returns a new queue of the kernel. Reading from it can be interrupted by
// closing it.
func open() (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

// control calls f with the descriptor of an open file.
func control(f *os.File, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = call(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// add watches a directory and returns the watch.
func add(f *os.File, path string, extra uint32) (watch int32, err error) {
	err = control(f, func(fd int) error {
		wd, err := unix.InotifyAddWatch(fd, path, mask|extra)
		watch = int32(wd)
		return err
	})
	return watch, err
}

// drop ends a watch. One that has ended already is no error.
func drop(f *os.File, watch int32) error {
	err := control(f, func(fd int) error {
		_, err := unix.InotifyRmWatch(fd, uint32(watch))
		return err
	})
	if errors.Is(err, syscall.EINVAL) {
		return nil
	}
	return err
}

// waiting reports whether the kernel has events that have not been read.
func waiting(f *os.File) (bool, error) {
	n := 0
	err := control(f, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCINQ) // FIONREAD
		return err
	})
	return n > 0, err
}
