package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A proc is a handle on one process that can never come to mean another.
type proc struct {
	file  *os.File // pidfd
	pid   int
	start uint64 // in clock ticks since boot; 0 when not known
}

// errDead says that a process does not exist any more.
var errDead = errors.New("process has ended")

// openProc opens the process which had pid and started at start (in clock
// ticks since boot). It fails with errDead when that process is gone, even if
// another has its pid now. With start 0 any process is accepted.
func openProc(pid int, start uint64) (*proc, error) {
	if pid <= 0 {
		return nil, errDead
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, errDead
	}
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	// The file takes part in the runtime's poller, so that waiting for a
	// process holds no thread.
	p := &proc{file: os.NewFile(uintptr(fd), "pidfd"), pid: pid, start: start}
	if start == 0 {
		return p, nil
	}
	// Read after the descriptor was opened: if the times agree, it cannot be
	// a later process with the same pid.
	if now, err := startTime(pid); err != nil || now != start {
		p.close()
		return nil, errDead
	}
	return p, nil
}

func (p *proc) close() { _ = p.file.Close() }

// control runs f with the descriptor.
func (p *proc) control(f func(fd int) error) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// signal sends a signal. That the process has ended is no error.
func (p *proc) signal(sig unix.Signal) error {
	err := p.control(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// ended reports whether the process of a pidfd has ended.
func ended(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

func (p *proc) alive() bool {
	var dead bool
	err := p.control(func(fd int) error { dead = ended(fd); return nil })
	return err == nil && !dead
}

// wait blocks until the process has ended or ctx is done.
func (p *proc) wait(ctx context.Context) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	if err := p.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = raw.Read(func(fd uintptr) bool { return ended(int(fd)) })
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// status returns how an ended process ended. Until its parent (the host's
// init) has collected it, /proc tells; from then on the descriptor does, from
// Linux 6.15. ok is false where neither does.
func (p *proc) status() (ws unix.WaitStatus, ok bool) {
	if ws, ok := p.collected(); ok {
		return ws, true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err == nil {
		if st, err := parseStat(stat); err == nil && st.state == 'Z' && (p.start == 0 || st.start == p.start) {
			return unix.WaitStatus(st.exitCode), true
		}
	}
	return p.collected() // just now
}

func (p *proc) collected() (unix.WaitStatus, bool) {
	info, err := p.info(unix.PIDFD_INFO_EXIT)
	if err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, false
	}
	return unix.WaitStatus(info.Exit_code), true
}

func (p *proc) info(mask uint64) (unix.PidfdInfo, error) {
	info := unix.PidfdInfo{Mask: mask}
	err := p.control(func(fd int) error { return pidfdInfo(fd, &info) })
	return info, err
}

// startTime returns when a process started, in clock ticks since boot.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	st, err := parseStat(b)
	return st.start, err
}

// stat is what matters of /proc/<pid>/stat.
type stat struct {
	state    byte
	flags    uint64 // field 9
	start    uint64 // field 22
	exitCode uint32 // field 52, once the process has ended
}

// parseStat reads /proc/<pid>/stat. The second field, the name, may hold
// anything, brackets and blanks included.
func parseStat(b []byte) (stat, error) {
	i := bytes.LastIndexByte(b, ')')
	f := bytes.Fields(b[i+1:])
	if i < 0 || len(f) < 50 {
		return stat{}, errors.New("unexpected form of /proc/<pid>/stat")
	}
	start, err := strconv.ParseUint(string(f[19]), 10, 64)
	if err != nil {
		return stat{}, err
	}
	flags, err := strconv.ParseUint(string(f[6]), 10, 64)
	if err != nil {
		return stat{}, err
	}
	code, err := strconv.ParseUint(string(f[49]), 10, 32)
	return stat{state: f[0][0], flags: flags, start: start, exitCode: uint32(code)}, err
}

// exiting reports whether a process is on its way out.
func exiting(pid int) bool {
	const pfExiting = 0x4
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	st, err := parseStat(b)
	return err == nil && st.flags&pfExiting != 0
}

// bootID identifies the present run of the kernel.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(b)), err
}
