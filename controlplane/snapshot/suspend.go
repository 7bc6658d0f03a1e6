package snapshot

import "context"

// DeactivateAll bars every active snapshot of an organization from use, and
// returns how many.
func (s *Service) DeactivateAll(ctx context.Context, orgID string) (int, error) {
	n, err := s.c.Store.DeactivateSnapshots(ctx, orgID, s.now())
	if n > 0 {
		s.Wake()
	}
	return n, err
}
