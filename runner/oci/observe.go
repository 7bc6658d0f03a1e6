package oci

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
)

// Inspect implements runner.Driver.
func (d *Driver) Inspect(_ context.Context, id string) (runner.Container, error) {
	r, err := d.load(id)
	if err != nil {
		return runner.Container{}, err
	}
	return d.container(r), nil
}

// List implements runner.Driver.
func (d *Driver) List(context.Context) ([]runner.Container, error) {
	ids, err := d.store.ids()
	if err != nil {
		return nil, err
	}
	var cs []runner.Container
	for _, id := range ids {
		r, err := d.load(id)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		cs = append(cs, d.container(r))
	}
	return cs, nil
}

func (d *Driver) container(r record) runner.Container {
	c := runner.Container{ID: r.ID}
	if r.Phase == phaseCreating || !d.alive(r) {
		return c
	}
	c.PID = r.PID
	c.Created = r.Phase == phaseCreated || r.Phase == phaseStarting
	c.Running = r.Phase == phaseStarted
	return c
}

// load reads a record. Where a start was under way when its process was
// killed, the engine's state says what became of it.
func (d *Driver) load(id string) (record, error) {
	r, err := d.store.load(id)
	if err == nil && r.Phase == phaseStarting && d.engine.Started(filepath.Join(d.store.dir(id), engineDir), id) {
		r.Phase = phaseStarted
	}
	return r, err
}

// alive reports whether the first process of a container has not ended.
func (d *Driver) alive(r record) bool {
	if boot, err := bootID(); err != nil || boot != r.BootID {
		return false
	}
	p, err := openProc(r.PID, r.StartTime)
	if err != nil {
		return false
	}
	defer p.close()
	return p.alive()
}

// Wait implements runner.Driver. The answer is kept: asked again, even by a
// later process, it is the same until Create or Delete.
func (d *Driver) Wait(ctx context.Context, id string) (runnerapi.End, error) {
	r, err := d.load(id)
	if err != nil {
		return runnerapi.End{}, err
	}
	for {
		f := facts{}
		p, err := openProc(r.PID, r.StartTime)
		switch {
		case err == nil:
			err := p.wait(ctx)
			if err == nil {
				f.status, f.known = p.status()
			}
			p.close()
			if err != nil {
				return runnerapi.End{}, fault.Wrap(err, fault.Timeout, "container %s has not ended yet", id)
			}
		case !errors.Is(err, errDead):
			return runnerapi.End{}, err
		}
		f.at = time.Now()
		end, now, err := d.settle(ctx, r, f)
		if err != nil || now == nil {
			return end, err
		}
		r = *now // it was still being made
	}
}

// settle finds the cause of an end, once its first process has ended, and
// keeps it. If the container came to life meanwhile, it returns its record.
func (d *Driver) settle(ctx context.Context, r record, f facts) (runnerapi.End, *record, error) {
	defer d.locks.lock(r.ID)()
	now, err := d.load(r.ID)
	if fault.Is(err, fault.NotFound) || err == nil && now.Incarnation != r.Incarnation {
		// It was deleted meanwhile, and with it the evidence.
		e := endOf(facts{stopMarked: true, status: f.status, known: f.known, at: f.at})
		return e, nil, nil
	}
	if err != nil {
		return runnerapi.End{}, nil, err
	}
	if d.alive(now) {
		return runnerapi.End{}, &now, nil
	}
	// Helpers of the engine may outlive the first process for a moment.
	if err := d.killAll(ctx, now); err != nil {
		return runnerapi.End{}, nil, err
	}
	if e, ok := d.store.end(r.ID); ok {
		return e, nil, nil
	}
	boot, err := bootID()
	if err != nil {
		return runnerapi.End{}, nil, err
	}
	f.stopMarked = d.store.stopMarked(r.ID)
	f.otherBoot = now.BootID != boot
	f.started = now.Phase == phaseStarted
	if u, err := d.groups.usage(d.cgroup(r)); err == nil {
		f.oomKills, f.pidsHits = u.oomKills, u.pidsHits
	} else if !errors.Is(err, fs.ErrNotExist) {
		return runnerapi.End{}, nil, err
	}
	f.said = d.engine.LastWords(now.Dir)
	e := endOf(f)
	if err := d.store.saveEnd(r.ID, e); err != nil {
		d.cfg.Log.Warn("the end of a container could not be kept", "container", r.ID, "error", err)
	}
	return e, nil, nil
}

// SetBackground implements runner.Backgrounder.
func (d *Driver) SetBackground(_ context.Context, b runner.Bundle, on bool) error {
	r, err := d.load(b.ID)
	if err != nil {
		return err
	}
	err = d.groups.yield(d.cgroup(r), b.Limits.CPU, on)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Conflict, "container %s has ended", b.ID)
	}
	return err
}

// SetLimits implements runner.Resizer. The engines see their limits in the
// control group alone.
func (d *Driver) SetLimits(_ context.Context, b runner.Bundle) error {
	defer d.locks.lock(b.ID)()
	r, err := d.load(b.ID)
	if err != nil {
		return err
	}
	limits := b.Limits
	if limits.Pids > 0 {
		limits.Pids = d.engine.HostPids(limits.Pids)
	}
	switch err := d.groups.resize(d.cgroup(r), limits); {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.Conflict, "container %s has ended", b.ID)
	case errors.Is(err, unix.EBUSY):
		return fault.Wrap(err, fault.Conflict, "container %s uses more memory than it shall have", b.ID)
	default:
		return err
	}
}

// Stats implements runner.Driver.
func (d *Driver) Stats(_ context.Context, id string) (runner.Stats, error) {
	r, err := d.load(id)
	if err != nil {
		return runner.Stats{}, err
	}
	u, err := d.groups.usage(d.cgroup(r))
	if errors.Is(err, fs.ErrNotExist) {
		return runner.Stats{}, fault.New(fault.Conflict, "container %s has ended", id)
	}
	if err != nil {
		return runner.Stats{}, err
	}
	return runner.Stats{MemoryBytes: u.memory, CPUTime: u.cpu, Pids: u.pids, OOMKills: u.oomKills}, nil
}
