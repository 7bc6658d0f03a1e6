//go:build ignore

// This file becomes part of the standard library's package time in the server
// that make chaos builds with a clock that can jump. Only the time of day does,
// as on a real machine: what measures durations goes on.

package time

import "syscall"

// jumpVariable names a file whose first byte is the number of hours, signed, by
// which this process is ahead.
const jumpVariable = "CHAOS_CLOCK"

var jumped = mapJump()

func mapJump() []byte {
	name, ok := syscall.Getenv(jumpVariable)
	if !ok {
		return nil
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY, 0)
	if err != nil {
		panic(jumpVariable + ": " + err.Error())
	}
	defer syscall.Close(fd)
	b, err := syscall.Mmap(fd, 0, 1, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(jumpVariable + ": " + err.Error())
	}
	return b
}

// jumpingNow is runtimeNow with the jump.
func jumpingNow() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = runtimeNow()
	if len(jumped) != 0 {
		sec += int64(int8(jumped[0])) * 3600
	}
	return sec, nsec, mono
}
