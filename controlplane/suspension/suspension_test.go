package suspension_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"daytona/controlplane/org"
	"daytona/controlplane/suspension"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ledger notes what an Enforcer asks for.
type ledger struct {
	orgs                 []org.Organization
	stopped, deactivated []string
	fails                string
}

func (l *ledger) Organizations(context.Context) ([]org.Organization, error) { return l.orgs, nil }

func (l *ledger) StopAll(_ context.Context, orgID, _ string) (int, error) {
	if orgID == l.fails {
		return 0, errors.New("a runner hangs")
	}
	l.stopped = append(l.stopped, orgID)
	return 1, nil
}

func (l *ledger) DeactivateAll(_ context.Context, orgID string) (int, error) {
	l.deactivated = append(l.deactivated, orgID)
	return 1, nil
}

func TestOnce(t *testing.T) {
	since := func(hours int) *org.Suspension {
		return &org.Suspension{At: now.Add(-time.Duration(hours) * time.Hour), Reason: "unpaid"}
	}
	ended := since(50)
	ended.Until = new(now.Add(-time.Minute))
	l := &ledger{fails: "hangs", orgs: []org.Organization{
		{ID: "in order"},
		{ID: "in its grace", Suspension: since(23), SuspensionGraceHours: 24},
		{ID: "hangs", Suspension: since(25), SuspensionGraceHours: 24},
		{ID: "grace over", Suspension: since(24), SuspensionGraceHours: 24},
		{ID: "no grace", Suspension: since(0)},
		{ID: "suspension over", Suspension: ended, SuspensionGraceHours: 24},
	}}
	e := suspension.New(suspension.Config{Organizations: l, Sandboxes: l, Snapshots: l, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	if err := e.Once(t.Context()); err == nil {
		t.Error("the failure of one was kept quiet")
	}
	if want := []string{"grace over", "no grace"}; !slices.Equal(l.stopped, want) {
		t.Errorf("stopped those of %v, want %v", l.stopped, want)
	}
	if want := []string{"hangs", "grace over", "no grace"}; !slices.Equal(l.deactivated, want) {
		t.Errorf("deactivated those of %v, want %v", l.deactivated, want)
	}
	if got, want := suspension.Evidence(l.orgs[3]), "organization suspended since 2026-02-28T12:00:00Z: unpaid"; got != want {
		t.Errorf("evidence %q, want %q", got, want)
	}
}
