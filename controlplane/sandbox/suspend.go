package sandbox

import (
	"context"
	"errors"

	"daytona/internal/fault"
)

// EndQuota is the cause of an end because the organization may no longer use
// what it used.
const EndQuota = "quota"

// StopAll begins to stop every running sandbox of an organization, and returns
// how many. evidence says why, for its owner. A sandbox whose AutoDelete is 0 is
// destroyed, as by Stop. It may be repeated.
func (m *Manager) StopAll(ctx context.Context, orgID, evidence string) (int, error) {
	page, err := m.c.Store.ListSandboxes(ctx, orgID, Filter{States: []State{Started}})
	if err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for _, sb := range page.Items {
		to, c := Stopping, Change{Desired: ptr(Stopped), End: &End{Cause: EndQuota, Evidence: evidence, At: m.now()}}
		if sb.AutoDelete == 0 {
			to, c.Desired = Destroying, ptr(Destroyed)
		}
		switch _, err := m.move(ctx, sb, to, c); {
		case err == nil:
			n++
			m.soon(sb.ID, nudge{})
		case !fault.Is(err, fault.Conflict): // it has moved on: the next look sees where
			errs = append(errs, err)
		}
	}
	return n, errors.Join(errs...)
}
