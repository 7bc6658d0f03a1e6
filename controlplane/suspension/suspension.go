// Package suspension stops what suspended organizations still run.
//
// From the moment of its suspension an organization can take nothing more: the
// check for that is part of the transaction that takes it. What runs goes on for
// the grace period that the suspension names, so that its owner can save what is
// in memory, and is then stopped. Files stay, and everything can be read.
package suspension

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"daytona/controlplane/org"
)

// Config is what an Enforcer needs.
type Config struct {
	Organizations interface {
		Organizations(ctx context.Context) ([]org.Organization, error)
	}
	Sandboxes interface {
		StopAll(ctx context.Context, orgID, evidence string) (int, error)
	}
	Snapshots interface {
		DeactivateAll(ctx context.Context, orgID string) (int, error)
	}
	Log *slog.Logger
	// Every is the time between two looks. Defaults to a minute.
	Every time.Duration
	Now   func() time.Time
}

// Enforcer looks after suspended organizations.
type Enforcer struct{ c Config }

// New returns an Enforcer. Run must run.
func New(c Config) *Enforcer {
	if c.Every == 0 {
		c.Every = time.Minute
	}
	return &Enforcer{c}
}

// Run looks now and then until ctx ends.
func (e *Enforcer) Run(ctx context.Context) error {
	tick := time.NewTicker(e.c.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := e.Once(ctx); err != nil && ctx.Err() == nil {
			e.c.Log.Warn("suspended organizations not looked after; it will be tried again", "error", err)
		}
	}
}

// Once stops what suspended organizations run, if their grace is over.
func (e *Enforcer) Once(ctx context.Context) error {
	all, err := e.c.Organizations.Organizations(ctx)
	if err != nil {
		return err
	}
	now := e.c.Now()
	var errs []error
	for _, o := range all {
		if !o.GraceOver(now) {
			continue
		}
		n, err := e.c.Sandboxes.StopAll(ctx, o.ID, Evidence(o))
		m, err2 := e.c.Snapshots.DeactivateAll(ctx, o.ID)
		if n > 0 || m > 0 {
			e.c.Log.Info("organization is suspended", "org_id", o.ID, "stopped", n, "snapshots_deactivated", m)
		}
		errs = append(errs, err, err2)
	}
	return errors.Join(errs...)
}

// Evidence says to the owner of a sandbox why it was stopped.
func Evidence(o org.Organization) string {
	text := fmt.Sprintf("organization suspended since %s", o.Suspension.At.UTC().Format(time.RFC3339))
	if o.Suspension.Reason != "" {
		text += ": " + o.Suspension.Reason
	}
	return text
}
