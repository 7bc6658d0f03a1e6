//go:build linux && (amd64 || arm64)

package reaper

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Written by the handlers in the assembly files, which can take no lock.
var (
	outside        uint32  // SIGTERM has come from outside the PID namespace
	runtimeHandler uintptr // the Go runtime's own handler, the same for all signals
)

func dropSent()
func noteSender()
func addresses() (drop, note uintptr)

// sigaction is the kernel's struct, the same on both architectures.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// filterSignals puts a handler in front of the Go runtime's, once in the life
// of a process, for every signal that a process might send: SIGTERM is noted
// with its sender, the others are dropped unless the kernel itself raised them.
// SIGKILL and SIGSTOP cannot be handled. Linux keeps them, and every signal
// without a handler, from the first process; gVisor does not, so signals that
// the runtime leaves at their default get a handler too. SIGURG stays: the
// runtime sends it to itself. It reports whether it could.
func filterSignals() bool {
	drop, note := addresses()
	old, err := rtSigaction(syscall.SIGTERM, nil)
	if err != nil || old.handler <= 1 {
		return false
	}
	runtimeHandler = old.handler
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		switch sig {
		case syscall.SIGURG, syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGKILL, syscall.SIGSTOP:
			continue
		}
		action := old // with the flags and the restorer that the runtime needs
		action.handler = drop
		if sig == syscall.SIGTERM {
			action.handler = note
		}
		if _, err := rtSigaction(sig, &action); err != nil {
			return false
		}
	}
	return true
}

func askedFromOutside() bool { return atomic.LoadUint32(&outside) != 0 }

// rtSigaction returns a signal's action and sets it unless action is nil.
func rtSigaction(sig syscall.Signal, action *sigaction) (old sigaction, err error) {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(&old)), unsafe.Sizeof(old.mask), 0, 0)
	if errno != 0 {
		return old, errno
	}
	return old, nil
}
