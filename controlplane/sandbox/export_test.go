package sandbox

import (
	"context"
	"time"
)

// RunOnce is one comparison of everything, for tests without Run. It returns when
// every sandbox has taken its steps.
func (m *Manager) RunOnce(ctx context.Context, now time.Time) (Resynced, error) {
	return m.runOnce(ctx, now, func(id string, n nudge) { <-m.kick(id, n) })
}

// Flush stores activity, for tests without Run.
func (m *Manager) Flush(ctx context.Context) { m.flush(ctx) }
