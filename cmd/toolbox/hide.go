package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hide keeps other processes of the same user from reading the token: it wipes
// the environment that the kernel shows as /proc/PID/environ, and forbids them
// to trace this process or to read its memory.
func hide() error {
	wipeEnvironment()
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid tracing: %w", err)
	}
	return nil
}

// wipeEnvironment zeroes the strings that the kernel put on the first stack. Go
// works with copies of them. It does nothing where the kernel does not tell
// where they are.
func wipeEnvironment() {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	// The fields env_start and env_end are the 50th and 51st, counted from 1;
	// the second is a name in brackets that may contain anything.
	const start, end, afterName = 50, 51, 3
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= end-afterName {
		return
	}
	from, err1 := strconv.ParseUint(string(fields[start-afterName]), 10, 64)
	to, err2 := strconv.ParseUint(string(fields[end-afterName]), 10, 64)
	const most = 8 << 20 // more than the kernel lets anyone pass
	if err1 != nil || err2 != nil || from == 0 || to <= from || to-from > most {
		return
	}
	clear(unsafe.Slice((*byte)(addressOf(uintptr(from))), to-from))
}

// addressOf turns a number that the kernel gave into a pointer. The memory is
// the process's own and never moves.
func addressOf(n uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&n)) }
