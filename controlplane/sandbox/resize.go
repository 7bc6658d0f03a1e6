package sandbox

import (
	"context"
	"errors"
	"strings"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// Resize is a change of what a sandbox may use that is under way. While it is,
// the sandbox counts for the greater of both in everything.
type Resize struct {
	From  org.Resources `json:"from"`
	To    org.Resources `json:"to"`
	Since time.Time     `json:"since"`
}

// ResizeLimit is how long a change of what a sandbox may use is tried; one of its
// disk, whose files may have to be copied, as long as files may be on their way.
const ResizeLimit = 5 * time.Minute

func (s Sandbox) resizeLimit() time.Duration {
	if s.Resize.From.DiskGiB != s.Resize.To.DiskGiB {
		return filesLimit(s)
	}
	return ResizeLimit
}

// ResizeRequest asks for other resources; nil stays as it is. vCPUs, GiB, GiB.
type ResizeRequest struct {
	CPU, Memory, Disk *int
}

// Apply returns what sb shall have. One that runs can only get more processors
// and memory; a disk changes while it is stopped, and never becomes smaller. The
// error names each field that is wrong.
func (r ResizeRequest) Apply(sb Sandbox) (org.Resources, error) {
	now, to := sb.Resources(), sb.Resources()
	if r.CPU == nil && r.Memory == nil && r.Disk == nil {
		return to, fault.New(fault.Invalid, "At least one of cpu, memory and disk must be given")
	}
	started := sb.State == Started
	var bad problems
	for _, f := range []struct {
		name     string
		want, to *int
		disk     bool
	}{{"cpu", r.CPU, &to.CPU, false}, {"memory", r.Memory, &to.MemoryGiB, false}, {"disk", r.Disk, &to.DiskGiB, true}} {
		if f.want == nil || *f.want == *f.to {
			continue
		}
		switch {
		case *f.want < 1 || *f.want > maxInterval:
			bad.check(f.name, errors.New("must be a positive integer"))
		case f.disk && *f.want < *f.to:
			bad.check(f.name, errors.New("can only become larger"))
		case f.disk && started:
			bad.check(f.name, errors.New("can only be changed while the sandbox is stopped. Stop it first"))
		case *f.want < *f.to && started:
			bad.check(f.name, errors.New("can only become larger while the sandbox is started. Stop it first"))
		}
		*f.to = *f.want
	}
	if err := bad.err(); err != nil {
		return to, err
	}
	if to == now {
		return to, fault.New(fault.Invalid, "The sandbox has these resources already (%d vCPU, %d GiB of memory, %d GiB of disk)", now.CPU, now.MemoryGiB, now.DiskGiB)
	}
	return to, nil
}

// Resize changes what a started or stopped sandbox may use: of a started one at
// once, without a restart. It waits like Start.
func (m *Manager) Resize(ctx context.Context, orgID, idOrName string, r ResizeRequest) (Sandbox, error) {
	var to org.Resources
	sb, err := m.begin(ctx, orgID, idOrName, "resized", func(sb Sandbox) (Work, Admit, error) {
		var err error
		if to, err = r.Apply(sb); err != nil {
			return Work{}, nil, err
		}
		w := sb.work()
		w.Size = larger(sb.Resources(), to)
		w.Resize = &Resize{From: sb.Resources(), To: to, Since: m.now()}
		w.ErrorReason = nil
		return w, m.admitGrowth(sb, to), nil
	})
	if sb, err = m.settle(ctx, sb, err, "resize", nudge{files: true}); err != nil {
		return sb, err
	}
	if sb.Resize == nil && sb.Resources() != to && sb.ErrorReason != nil {
		return Sandbox{}, fault.New(fault.Unavailable, "%s", *sb.ErrorReason)
	}
	return sb, nil
}

// admitGrowth is the check of the organization's state and quota for what sb
// takes more.
func (m *Manager) admitGrowth(sb Sandbox, to org.Resources) Admit {
	more := org.Resources{}
	if to.CPU > sb.CPU {
		more.CPU = to.CPU
	}
	if to.MemoryGiB > sb.MemoryGiB {
		more.MemoryGiB = to.MemoryGiB
	}
	if to.DiskGiB > sb.DiskGiB {
		more.DiskGiB = to.DiskGiB
	}
	counts, now := more, m.now()
	if !sb.State.TakesCompute() {
		counts.CPU, counts.MemoryGiB = 0, 0
	}
	return func(o org.Organization, used org.Usage) error {
		if err := o.CheckActive(now); err != nil {
			return err
		}
		if err := o.Quota.CheckSandbox(more); err != nil {
			return err
		}
		return o.Quota.Admit(used, counts)
	}
}

// larger is the greater of two, in each.
func larger(a, b org.Resources) org.Resources {
	return org.Resources{CPU: max(a.CPU, b.CPU), GPU: max(a.GPU, b.GPU), MemoryGiB: max(a.MemoryGiB, b.MemoryGiB), DiskGiB: max(a.DiskGiB, b.DiskGiB)}
}

// resizeIt has the runner make the change.
func (m *Manager) resizeIt(w *worker, sb Sandbox, member fleet.Member) error {
	to := sb.Resize.To
	err := fault.New(fault.Unprocessable, "it took longer than %s", sb.resizeLimit())
	if m.now().Sub(sb.Resize.Since) < sb.resizeLimit() {
		ctx, done := m.interruptible(w)
		_, err := member.Runner.Resize(ctx, sb.ID, runnerapi.Size{
			CPU: float64(to.CPU), MemoryMiB: int64(to.MemoryGiB) * 1024, DiskMiB: int64(to.DiskGiB) * 1024,
		})
		canceled := errors.Is(ctx.Err(), context.Canceled)
		done()
		switch {
		case err == nil:
			m.log.Info("sandbox resized", "sandbox_id", sb.ID, "org_id", sb.OrgID, "cpu", to.CPU, "memory_gib", to.MemoryGiB, "disk_gib", to.DiskGiB)
			return m.resized(sb, to, nil)
		case canceled:
			return nil
		case !lasting(err):
			return err
		case fault.Is(err, fault.Conflict): // the runner's, not the row's: wait, don't read again
			return fault.Wrap(err, fault.Unavailable, "the runner is busy with the sandbox: %s", err)
		}
		return m.notResized(sb, err)
	}
	return m.notResized(sb, err)
}

func (m *Manager) notResized(sb Sandbox, err error) error {
	m.log.Error("sandbox could not be resized", "sandbox_id", sb.ID, "org_id", sb.OrgID, "runner_id", sb.RunnerID, "error", err)
	why := reason("The sandbox could not be resized", err)
	return m.resized(sb, sb.Resize.From, &why)
}

// resized ends a change; why is nil or says why it failed.
func (m *Manager) resized(sb Sandbox, size org.Resources, why *string) error {
	w := sb.work()
	w.Size, w.Resize, w.ErrorReason = size, nil, why
	_, err := m.c.Store.SetSandboxWork(m.life, sb, w, nil, m.now())
	m.targets.drop(sb.ID)
	return err
}

// Work is what is under way with a sandbox at rest, which stays started or
// stopped meanwhile.
type Work struct {
	Size         org.Resources
	Resize       *Resize
	Snapshotting string
	ErrorReason  *string
}

func (s Sandbox) work() Work {
	return Work{Size: s.Resources(), Resize: s.Resize, Snapshotting: s.Snapshotting, ErrorReason: s.ErrorReason}
}

// atRest reports whether a sandbox is started or stopped, whatever is done with
// it there.
func (s Sandbox) atRest() bool { return s.State == Started || s.State == Stopped }

// busy is the error for a call that has to wait for what is under way with a
// sandbox at rest.
func (s Sandbox) busy(what string) error {
	if shown := s.Shown(); shown == Resizing || shown == Snapshotting {
		return fault.New(fault.Conflict, "Sandbox is %s. Wait until that is done, then %s it", shown, what)
	}
	return nil
}

// begin begins work on a sandbox that rests. A row that moves on meanwhile is
// decided on again.
func (m *Manager) begin(ctx context.Context, orgID, idOrName, done string, decide func(Sandbox) (Work, Admit, error)) (Sandbox, error) {
	for range 100 {
		sb, err := m.Get(ctx, orgID, idOrName)
		if err != nil {
			return Sandbox{}, err
		}
		switch shown := sb.Shown(); shown {
		case Started, Stopped:
		case Archived, Destroying, Destroyed, Error, BuildFailed:
			return Sandbox{}, fault.New(fault.Invalid, "Sandbox is %s, so it cannot be %s. It must be started or stopped", shown, done)
		default:
			return Sandbox{}, fault.New(fault.Conflict, "Sandbox is %s. Wait until it is started or stopped, then it can be %s", strings.ReplaceAll(string(shown), "_", " "), done)
		}
		w, admit, err := decide(sb)
		if err != nil {
			return Sandbox{}, err
		}
		out, err := m.c.Store.SetSandboxWork(ctx, sb, w, admit, m.now())
		if err == nil {
			m.targets.drop(sb.ID)
			return m.withActivity(out), nil
		}
		if !fault.Is(err, fault.Conflict) {
			return Sandbox{}, unknown(err, idOrName)
		}
	}
	return Sandbox{}, fault.New(fault.Conflict, "Sandbox %s changes all the time. Try again", shorten(idOrName))
}
