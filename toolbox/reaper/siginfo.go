package reaper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// childOf returns the process that a SIGCHLD's information is about. The kernel
// puts it first in the union that follows signo, errno and code, aligned to a
// pointer.
func childOf(info *unix.Siginfo) int {
	const header = 3 * unsafe.Sizeof(int32(0))
	const align = unsafe.Sizeof(uintptr(0))
	const offset = (header + align - 1) / align * align
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
