package upload

import "context"

// Admit is what object storage asks before it writes.
func Admit(s *Service, ctx context.Context, key string, size int64) error { //nolint:revive // the service comes first
	return s.admit(ctx, key, size)
}

// Pinned are the manifests that rows name.
var Pinned = (*Service).pinned
