package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"daytona/internal/fault"
	"daytona/runner"
)

// Create implements runner.Driver. Where the container exists and has not
// ended it is kept as it is; what is left of an ended or half-made one gives
// way.
func (d *Driver) Create(ctx context.Context, b runner.Bundle) error {
	return d.make(ctx, b, false)
}

// Run implements runner.Launcher. Where the container exists it is started as
// it is.
func (d *Driver) Run(ctx context.Context, b runner.Bundle) error {
	return d.make(ctx, b, true)
}

func (d *Driver) make(ctx context.Context, b runner.Bundle, run bool) error {
	if err := checkBundle(b); err != nil {
		return err
	}
	spec, err := d.engine.Spec(b)
	if err != nil {
		return err
	}
	defer d.locks.lock(b.ID)()
	switch r, err := d.store.load(b.ID); {
	case err == nil:
		if r.Phase != phaseCreating && d.alive(r) {
			if run {
				return d.start(ctx, b)
			}
			return nil
		}
		if err := d.purge(ctx, b.ID); err != nil {
			return err
		}
	case !fault.Is(err, fault.NotFound):
		return err
	}
	if err := d.create(ctx, b, spec, run); err != nil {
		// The caller may have gone away; what it asked for must go too.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTime)
		defer cancel()
		if perr := d.purge(clean, b.ID); perr != nil {
			err = errors.Join(err, perr)
		}
		for _, f := range []string{specFile, LogFile} {
			_ = os.Remove(filepath.Join(b.Dir, f))
		}
		return d.failed(ctx, err, "container %s could not be made", b.ID)
	}
	return nil
}

// create has the engine make the container, and start it where run is set: one
// command of the engine in place of two saves its own start, which is longer
// than what it does.
func (d *Driver) create(ctx context.Context, b runner.Bundle, spec *specs.Spec, run bool) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	now := time.Now()
	r := record{
		ID: b.ID, Dir: b.Dir, Phase: phaseCreating, BootID: boot, CreatedAt: now,
		Incarnation: strconv.FormatInt(now.UnixNano(), 36),
		Cgroup:      d.cfg.CgroupParent + "/" + b.ID,
	}
	state := filepath.Join(d.store.dir(b.ID), engineDir)
	if err := os.MkdirAll(state, 0o711); err != nil {
		return err
	}
	// From here on purge finds everything.
	if err := d.store.save(r); err != nil {
		return err
	}
	group := d.cgroup(r)
	// What a lost record left may still be there.
	if err := d.empty(ctx, group); err != nil {
		return err
	}
	limits := b.Limits
	limits.Pids = d.engine.HostPids(b.Limits.Pids)
	if err := d.groups.prepare(group, limits); err != nil {
		return err
	}
	if b.Background {
		if err := d.groups.yield(group, limits.CPU, true); err != nil {
			return err
		}
	}
	spec.Linux.CgroupsPath = group
	if err := writeJSON(filepath.Join(b.Dir, specFile), spec); err != nil {
		return err
	}
	logFile := filepath.Join(b.Dir, LogFile)
	if err := os.WriteFile(logFile, nil, 0o600); err != nil {
		return err
	}
	pidFile := filepath.Join(state, "pid")
	command := []string{"create"}
	r.Phase = phaseCreated
	if run {
		command = []string{"run", "--detach"}
		r.Phase, r.StartedAt = phaseStarted, now
	}
	args := slices.Concat(d.engine.Args(b, state, logFile), command, []string{"--bundle", b.Dir, "--pid-file", pidFile, b.ID})
	if err := runCLI(ctx, d.cfg.Binary, args, d.cfg.Env, logFile); err != nil {
		return err
	}
	if r.PID, err = readPID(pidFile); err != nil {
		return err
	}
	if r.StartTime, err = startTime(r.PID); err != nil {
		return fmt.Errorf("the container ended while it was made: %w: %s", err, logTail(logFile))
	}
	return d.store.save(r)
}

func readPID(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// Start implements runner.Driver. A running container is left as it is; one
// that has ended is a Conflict.
func (d *Driver) Start(ctx context.Context, b runner.Bundle) error {
	defer d.locks.lock(b.ID)()
	return d.start(ctx, b)
}

// start owns the container's lock.
func (d *Driver) start(ctx context.Context, b runner.Bundle) error {
	r, err := d.load(b.ID)
	if err != nil {
		return err
	}
	if r.Phase == phaseCreating {
		return fault.New(fault.Conflict, "container %s was not made to the end", b.ID)
	}
	if !d.alive(r) {
		return fault.New(fault.Conflict, "container %s has ended", b.ID)
	}
	if r.Phase == phaseStarted {
		return nil
	}
	// Told in advance: a killed engine may have started it all the same.
	r.Phase, r.StartedAt = phaseStarting, time.Now()
	if err := d.store.save(r); err != nil {
		return err
	}
	state, logFile := filepath.Join(d.store.dir(b.ID), engineDir), filepath.Join(r.Dir, LogFile)
	args := append(d.engine.Args(b, state, logFile), "start", b.ID)
	if err := runCLI(ctx, d.cfg.Binary, args, d.cfg.Env, logFile); err != nil {
		return d.failed(ctx, err, "container %s could not be started", b.ID)
	}
	r.Phase = phaseStarted
	return d.store.save(r)
}
