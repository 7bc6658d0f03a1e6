package sandbox

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// Get returns a sandbox of the organization by id or name. Destroyed ones can
// be read by id for a day.
func (m *Manager) Get(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	sb, err := m.c.Store.FindSandbox(ctx, orgID, idOrName)
	if err != nil {
		return Sandbox{}, unknown(err, idOrName)
	}
	return m.withActivity(sb), nil
}

// List returns a page of the organization's sandboxes. A cursor that this
// server did not make is Invalid.
func (m *Manager) List(ctx context.Context, orgID string, f Filter) (Page, error) {
	if f.Sort != "" && !f.Sort.Valid() {
		return Page{}, fault.New(fault.Invalid, "sort: must be one of name, cpu, memoryGib, diskGib, lastActivityAt, createdAt")
	}
	for _, s := range f.States {
		if !s.Valid() {
			return Page{}, fault.New(fault.Invalid, "states: %q is not a sandbox state", s)
		}
	}
	p, err := m.c.Store.ListSandboxes(ctx, orgID, f)
	for i := range p.Items {
		p.Items[i] = m.withActivity(p.Items[i])
	}
	return p, err
}

// Start makes a stopped or archived sandbox run, and tries again with one in state error
// that is recoverable. For one that runs, or is on its way, it changes nothing.
// It answers when the sandbox has started, or with the state under way after
// Config.AnswerWithin.
func (m *Manager) Start(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	sb, err := m.ask(ctx, orgID, idOrName, func(sb Sandbox) (State, Change, error) {
		if err := sb.busy("start"); err != nil && sb.Desired != Started {
			return "", Change{}, err
		}
		switch {
		case sb.Desired == Destroyed || sb.State == Destroyed:
			return "", Change{}, fault.New(fault.Invalid, "Sandbox is destroyed and cannot be started")
		case sb.State == Archived, sb.State == Error && sb.Recoverable && sb.RunnerID == "":
			return Restoring, Change{Desired: ptr(Started), End: &End{}, Active: ptr(m.now()), Admit: m.admitAgain(sb.Resources())}, nil
		case sb.State == Stopped && sb.Desired == Stopped || sb.State == Archiving || sb.State == Error && sb.Recoverable:
			return Starting, Change{Desired: ptr(Started), End: &End{}, Admit: m.admitAgain(sb.Resources())}, nil
		case sb.State == Error || sb.State == BuildFailed:
			return "", Change{}, fault.New(fault.Invalid,
				"Sandbox is in state %s and cannot be started (%s). Delete it and create another", sb.State, deref(sb.ErrorReason))
		case sb.Desired == Started:
			return "", Change{}, nil
		default:
			return "", Change{}, fault.New(fault.Conflict, "Sandbox is %s. Wait until it is stopped, then start it", sb.Shown())
		}
	})
	return m.settle(ctx, sb, err, "start", nudge{files: true})
}

// Stop ends every process of a running sandbox and keeps its files; with force
// processes get no time to finish. A sandbox whose AutoDelete is 0 is destroyed
// instead. It waits like Start.
func (m *Manager) Stop(ctx context.Context, orgID, idOrName string, force bool) (Sandbox, error) {
	sb, err := m.ask(ctx, orgID, idOrName, func(sb Sandbox) (State, Change, error) {
		if err := sb.busy("stop"); err != nil {
			return "", Change{}, err
		}
		switch {
		case sb.State == Started && sb.Desired == Started:
			c := Change{Desired: ptr(Stopped), End: &End{Cause: string(runnerapi.CauseUser), Evidence: "stop was called", At: m.now()}}
			if sb.AutoDelete == 0 {
				c.Desired = ptr(Destroyed)
				return Destroying, c, nil
			}
			return Stopping, c, nil
		case sb.Shown() == Stopping:
			return "", Change{}, nil
		case sb.State == Creating || sb.State.AwaitsImage() || sb.Shown() == Starting:
			return "", Change{}, fault.New(fault.Conflict, "Sandbox is %s. Wait until it has started, then stop it", sb.Shown())
		default:
			return "", Change{}, fault.New(fault.Invalid, "Sandbox is not started: it is %s", sb.Shown())
		}
	})
	return m.settle(ctx, sb, err, "stop", nudge{force: force, files: true})
}

// Delete destroys a sandbox from any state, at any time, and may be repeated.
// It waits like Start.
func (m *Manager) Delete(ctx context.Context, orgID, idOrName string) (Sandbox, error) {
	sb, err := m.ask(ctx, orgID, idOrName, func(sb Sandbox) (State, Change, error) {
		if sb.State == Destroying || sb.State == Destroyed {
			return "", Change{}, nil
		}
		c := Change{Desired: ptr(Destroyed)}
		if sb.EndCause == "" {
			c.End = &End{Cause: string(runnerapi.CauseUser), Evidence: "delete was called", At: m.now()}
		}
		return Destroying, c, nil
	})
	return m.settle(ctx, sb, err, "delete", nudge{interrupt: true, files: true})
}

// SetLabels replaces all labels.
func (m *Manager) SetLabels(ctx context.Context, orgID, idOrName string, labels map[string]string) (Sandbox, error) {
	if err := CheckLabels(labels); err != nil {
		return Sandbox{}, fault.New(fault.Invalid, "labels: %s", err)
	}
	if labels == nil {
		labels = map[string]string{}
	}
	return m.change(ctx, orgID, idOrName, Settings{Labels: labels})
}

// SetPublic says whether previews need no token.
func (m *Manager) SetPublic(ctx context.Context, orgID, idOrName string, public bool) (Sandbox, error) {
	return m.change(ctx, orgID, idOrName, Settings{Public: &public})
}

// SetAutoStop sets the minutes without activity after which the sandbox stops;
// 0 is never.
func (m *Manager) SetAutoStop(ctx context.Context, orgID, idOrName string, minutes int) (Sandbox, error) {
	if err := interval(&minutes, false, &minutes); err != nil {
		return Sandbox{}, fault.New(fault.Invalid, "autoStopInterval: %s", err)
	}
	return m.change(ctx, orgID, idOrName, Settings{AutoStop: &minutes})
}

// SetAutoArchive sets the minutes for which the sandbox stays stopped before it
// is archived; 0 and anything longer mean MaxAutoArchive.
func (m *Manager) SetAutoArchive(ctx context.Context, orgID, idOrName string, minutes int) (Sandbox, error) {
	if err := interval(&minutes, false, &minutes); err != nil {
		return Sandbox{}, fault.New(fault.Invalid, "autoArchiveInterval: %s", err)
	}
	minutes = archiveInterval(minutes)
	return m.change(ctx, orgID, idOrName, Settings{AutoArchive: &minutes})
}

// SetAutoDelete sets the minutes for which the sandbox stays stopped before it
// is destroyed; 0 is at once, negative is never.
func (m *Manager) SetAutoDelete(ctx context.Context, orgID, idOrName string, minutes int) (Sandbox, error) {
	if err := interval(&minutes, true, &minutes); err != nil {
		return Sandbox{}, fault.New(fault.Invalid, "autoDeleteInterval: %s", err)
	}
	return m.change(ctx, orgID, idOrName, Settings{AutoDelete: &minutes})
}

// PreviewURL returns what a preview URL for a port is made of.
func (m *Manager) PreviewURL(ctx context.Context, orgID, idOrName string, port int) (Preview, error) {
	if port < 1 || port > 65535 {
		return Preview{}, fault.New(fault.Invalid, "port: must be between 1 and 65535")
	}
	sb, err := m.Get(ctx, orgID, idOrName)
	if err != nil {
		return Preview{}, err
	}
	return Preview{SandboxID: sb.ID, Port: port, Token: sb.PreviewToken}, nil
}

// ToolboxTarget returns a sandbox and the runner that serves its toolbox. It is
// cheap enough for every request: what this process changes is seen at once,
// what another one changes within two seconds. Count the request with Touch.
func (m *Manager) ToolboxTarget(ctx context.Context, orgID, idOrName string) (Sandbox, runnerapi.Runner, error) {
	return m.target(orgID, idOrName, func() (Sandbox, error) { return m.c.Store.FindSandbox(ctx, orgID, idOrName) })
}

// Target is ToolboxTarget for a sandbox by id, whoever owns it.
func (m *Manager) Target(ctx context.Context, id string) (Sandbox, runnerapi.Runner, error) {
	return m.target("", id, func() (Sandbox, error) { return m.c.Store.Sandbox(ctx, id) })
}

func (m *Manager) target(orgID, idOrName string, find func() (Sandbox, error)) (Sandbox, runnerapi.Runner, error) {
	sb, ok := m.targets.get(orgID, idOrName, m.now())
	if !ok {
		epoch := m.targets.begin()
		var err error
		if sb, err = find(); err != nil {
			return Sandbox{}, nil, unknown(err, idOrName)
		}
		m.targets.put(orgID, idOrName, sb, m.now(), epoch)
	}
	if sb.State == Destroyed || sb.Desired == Destroyed {
		return Sandbox{}, nil, fault.New(fault.NotFound, "Sandbox with ID or name %s not found: it was destroyed", idOrName)
	}
	if sb.RunnerID == "" {
		return Sandbox{}, nil, fault.New(fault.Invalid, "Sandbox is not started: it is %s", sb.Shown())
	}
	r, err := m.c.Runners.Member(sb.RunnerID)
	return sb, r.Runner, err
}

// Touch counts as activity of a sandbox, which puts off auto-stop. It only
// notes the time; Run stores it.
func (m *Manager) Touch(_ context.Context, id string) { m.activity.touch(id, m.now()) }

// change stores settings and lets timers be set anew.
func (m *Manager) change(ctx context.Context, orgID, idOrName string, s Settings) (Sandbox, error) {
	sb, err := m.Get(ctx, orgID, idOrName)
	if err != nil {
		return Sandbox{}, err
	}
	out, err := m.c.Store.SetSandbox(ctx, sb.ID, s, m.now())
	if err != nil {
		return Sandbox{}, unknown(err, idOrName)
	}
	m.targets.drop(sb.ID)
	m.kick(sb.ID, nudge{})
	return m.withActivity(out), nil
}

// ask makes the move that decide says for the row as it is; the state "" is
// none. A row that moves on meanwhile is decided on again.
func (m *Manager) ask(ctx context.Context, orgID, idOrName string, decide func(Sandbox) (State, Change, error)) (Sandbox, error) {
	for range 100 {
		sb, err := m.Get(ctx, orgID, idOrName)
		if err != nil {
			return Sandbox{}, err
		}
		to, c, err := decide(sb)
		if err != nil || to == "" {
			return sb, err
		}
		sb, err = m.move(ctx, sb, to, c)
		if err == nil || !fault.Is(err, fault.Conflict) {
			return sb, err
		}
	}
	return Sandbox{}, fault.New(fault.Conflict, "Sandbox %s changes all the time. Try again", shorten(idOrName))
}

// settle has the sandbox driven and waits a while for the outcome.
func (m *Manager) settle(ctx context.Context, sb Sandbox, err error, what string, n nudge) (Sandbox, error) {
	if err != nil {
		m.met.call(what, err, 0)
		return Sandbox{}, err
	}
	if sb.State == Destroyed {
		return sb, nil
	}
	began := time.Now()
	n.trace = trace.SpanContextFromContext(ctx)
	m.await(ctx, m.kick(sb.ID, n))
	now, err := m.c.Store.Sandbox(context.WithoutCancel(ctx), sb.ID)
	m.met.call(what, err, time.Since(began))
	if err != nil {
		return Sandbox{}, err
	}
	return m.withActivity(now), nil
}

func (m *Manager) await(ctx context.Context, done <-chan struct{}) {
	t := time.NewTimer(m.c.AnswerWithin)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
	}
}

// now is the clock, in the precision that is stored.
func (m *Manager) now() time.Time { return m.c.Now().UTC().Truncate(time.Millisecond) }

func (m *Manager) withActivity(sb Sandbox) Sandbox {
	if at, ok := m.activity.last(sb.ID); ok && at.After(sb.LastActivityAt) {
		sb.LastActivityAt = at
	}
	return sb
}

func unknown(err error, idOrName string) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "Sandbox with ID or name %s not found", shorten(idOrName))
	}
	return err
}

func ptr[T any](v T) *T { return &v }

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
