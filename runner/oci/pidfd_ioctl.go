package oci

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func pidfdInfo(fd int, info *unix.PidfdInfo) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(unix.PIDFD_GET_INFO), uintptr(unsafe.Pointer(info)))
	if errno != 0 {
		return errno
	}
	return nil
}
