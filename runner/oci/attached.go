package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
)

// RunToEnd implements runner.Attacher.
func (d *Driver) RunToEnd(ctx context.Context, b runner.Bundle, out io.Writer) (runnerapi.End, error) {
	none := runnerapi.End{}
	if err := checkBundle(b); err != nil {
		return none, err
	}
	spec, err := d.engine.Spec(b)
	if err != nil {
		return none, err
	}
	boot, err := bootID()
	if err != nil {
		return none, err
	}
	defer d.locks.lock(b.ID)()
	now := time.Now()
	r := record{
		ID: b.ID, Dir: b.Dir, Phase: phaseCreating, BootID: boot, CreatedAt: now,
		Incarnation: strconv.FormatInt(now.UnixNano(), 36),
		Cgroup:      d.cfg.CgroupParent + "/" + b.ID,
	}
	state := filepath.Join(d.store.dir(b.ID), engineDir)
	if err := os.MkdirAll(state, 0o711); err != nil {
		return none, err
	}
	if err := d.store.save(r); err != nil {
		return none, err
	}
	// From here on purge finds everything, in this process or a later one.
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTime)
		defer cancel()
		if perr := d.purge(clean, b.ID); perr != nil {
			d.cfg.Log.Warn("a container that has ended could not be removed", "container", b.ID, "error", perr)
		}
	}()
	group := d.cgroup(r)
	limits := b.Limits
	limits.Pids = d.engine.HostPids(b.Limits.Pids)
	if err := d.groups.prepare(group, limits); err != nil {
		return none, err
	}
	spec.Linux.CgroupsPath = group
	if err := writeJSON(filepath.Join(b.Dir, specFile), spec); err != nil {
		return none, err
	}
	logFile := filepath.Join(b.Dir, LogFile)
	if err := os.WriteFile(logFile, nil, 0o600); err != nil {
		return none, err
	}
	status, err := d.attached(ctx, b, state, logFile, out)
	if err != nil {
		if ctx.Err() != nil {
			return none, context.Cause(ctx)
		}
		return none, d.failed(ctx, err, "container %s could not be run", b.ID)
	}
	f := facts{started: true, status: status, known: true, at: time.Now(), said: d.engine.LastWords(b.Dir)}
	if u, err := d.groups.usage(group); err == nil {
		f.oomKills, f.pidsHits = u.oomKills, u.pidsHits
	}
	if f.oomKills > 0 && exitCode(status) == 128+int(unix.SIGKILL) { // as the engine passes it on
		f.known = false
	}
	e := endOf(f)
	e.ExitCode = exitCode(status)
	return e, nil
}

// attached runs the engine's command until the container has ended. The command
// dies with this process, and the container by its control group.
func (d *Driver) attached(ctx context.Context, b runner.Bundle, state, logFile string, out io.Writer) (unix.WaitStatus, error) {
	args := append(d.engine.Args(b, state, logFile), "run")
	args = append(append(args, d.engine.RunArgs()...), "--bundle", b.Dir, b.ID)
	// A pipe of our own: what the container left running may hold it open, and
	// must not hold us.
	pr, pw, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer pr.Close()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(out, pr) // ends when the pipe does
	}()
	// The death signal is tied to the thread that started the command.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, d.cfg.Binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", d.cfg.Env, pw, pw
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL, Setsid: true}
	err = cmd.Run()
	_ = pw.Close() // ours; the container's copies end with it
	if kerr := d.groups.kill(context.WithoutCancel(ctx), d.cfg.CgroupParent+"/"+b.ID); kerr != nil {
		err = errors.Join(err, kerr)
	}
	select {
	case <-copied:
	case <-time.After(killTime):
		_ = pr.Close()
	}
	if cmd.ProcessState == nil || ctx.Err() != nil {
		return 0, err
	}
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return 0, fmt.Errorf("no status: %w", err)
	}
	status := unix.WaitStatus(ws)
	if said := logTail(logFile); said != "" && exitCode(status) != 0 && engineFailed(status, said) {
		return 0, fault.New(fault.Unprocessable, "the command could not be started: %s", said)
	}
	return status, nil
}

// engineFailed tells an engine that could not start a command from a command
// that failed: only the engine writes to its log.
func engineFailed(status unix.WaitStatus, said string) bool {
	return said != "" && (exitCode(status) == 128 || exitCode(status) == 1 || exitCode(status) == 255)
}
