package fakedriver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daytona/api/runnerapi"
	"daytona/internal/atomicfile"
	"daytona/internal/fault"
)

// Stop implements runner.Driver.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := d.pass(ctx, "Stop"); err != nil {
		return err
	}
	if _, err := d.load(id); err != nil {
		return err
	}
	pid, started := d.shimPID(id)
	if started && alive(pid, id) {
		if err := d.note(id, runnerapi.End{Cause: runnerapi.CauseUser, Evidence: "it was stopped"}); err != nil {
			return err
		}
		if grace > 0 {
			_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended
			wait, cancel := context.WithTimeout(ctx, grace)
			defer cancel()
			if err := waitPID(wait, pid, id); err != nil && ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return killAll(ctx, id, d.session(id))
}

// Delete implements runner.Driver.
func (d *Driver) Delete(ctx context.Context, id string) error {
	if err := d.pass(ctx, "Delete"); err != nil {
		return err
	}
	return d.purge(ctx, id)
}

func (d *Driver) purge(ctx context.Context, id string) error {
	session := d.session(id)
	if session != 0 && alive(session, id) { // whoever waits shall hear why
		if err := d.note(id, runnerapi.End{Cause: runnerapi.CauseUser, Evidence: "it was deleted"}); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := killAll(ctx, id, session); err != nil {
			return err
		}
	}
	// The file without which a shim that was just launched does not go on.
	if err := os.Remove(d.path(id, bundleFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := killAll(ctx, id, session); err != nil {
		return err
	}
	if err := os.Remove(d.socket(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(filepath.Join(d.cfg.Dir, id))
}

// Wait implements runner.Driver.
func (d *Driver) Wait(ctx context.Context, id string) (runnerapi.End, error) {
	if err := d.pass(ctx, "Wait"); err != nil {
		return runnerapi.End{}, err
	}
	if _, err := d.load(id); err != nil {
		return runnerapi.End{}, err
	}
	pid, started := d.shimPID(id)
	if !started {
		return runnerapi.End{}, fault.New(fault.Conflict, "container %s was not started", id)
	}
	if err := waitPID(ctx, pid, id); err != nil {
		if ctx.Err() != nil {
			err = fault.Wrap(err, fault.Timeout, "container %s still runs", id)
		}
		return runnerapi.End{}, err
	}
	// The first process is gone; as in a real container, so are all others.
	if err := killAll(ctx, id, pid); err != nil {
		return runnerapi.End{}, err
	}
	if _, err := d.load(id); fault.Is(err, fault.NotFound) {
		return runnerapi.End{Cause: runnerapi.CauseUser, ExitCode: -1, Evidence: "it was deleted", At: time.Now()}, nil
	}
	return d.endOf(id), nil
}

// End ends a container as if it had come to that end by itself.
func (d *Driver) End(id string, end runnerapi.End) error {
	if err := d.note(id, end); err != nil {
		return err
	}
	return killAll(context.Background(), id, d.session(id))
}

func (d *Driver) note(id string, end runnerapi.End) error {
	data, err := json.Marshal(end)
	if err != nil {
		return err
	}
	return atomicfile.WriteFast(d.path(id, endFile), data, 0o600)
}

// session is the number of the session that a container's processes are in, 0
// when it was not started.
func (d *Driver) session(id string) int {
	pid, _ := d.shimPID(id)
	return pid
}

// killAll kills every process of a container and returns when none is left.
func killAll(ctx context.Context, id string, session int) error {
	for {
		left := processes(id, session)
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollPause):
		}
	}
}

// processes finds the living processes of a container: by their session, or,
// when they left it, by the mark in their environment.
func processes(id string, session int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if belongs(pid, id, session) {
			found = append(found, pid)
		}
	}
	return found
}

func belongs(pid int, id string, session int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// pid (name) state ppid pgrp session …; the name may contain anything.
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 4 || fields[0] == "Z" || fields[0] == "X" {
		return false
	}
	if marked(pid, id) {
		return true
	}
	// A session's number is not given away again while the session has
	// members, but it is afterwards: then the leader bears another mark.
	return session != 0 && fields[3] == strconv.Itoa(session) && (pid != session || marked(pid, id)) && leaderFits(session, id)
}

// leaderFits says whether the leader of a session is the container's shim, or gone.
func leaderFits(session int, id string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(session) + "/environ")
	return err != nil || len(env) == 0 || hasMark(env, id)
}

func marked(pid int, id string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && hasMark(env, id)
}

func hasMark(env []byte, id string) bool {
	mark := []byte(marker + "=" + id)
	for kv := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(kv, mark) {
			return true
		}
	}
	return false
}

// alive says whether the shim of a container lives under a number.
func alive(pid int, id string) bool { return belongs(pid, id, 0) }

// waitPID blocks, without polling, until a shim has ended.
func waitPID(ctx context.Context, pid int, id string) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	if !alive(pid, id) { // the number went to a stranger before it was opened
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err = conn.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return err == nil && n > 0
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Containers lists the ids of all containers in Dir's care that have living
// processes, whether or not their files are still there.
func (d *Driver) Containers() ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil {
			continue
		}
		var id, dir string
		for kv := range strings.SplitSeq(string(env), "\x00") {
			if v, ok := strings.CutPrefix(kv, marker+"="); ok {
				id = v
			}
			if v, ok := strings.CutPrefix(kv, dirMarker+"="); ok {
				dir = v
			}
		}
		if id != "" && dir == d.cfg.Dir && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
