package runner

import (
	"sync"

	"daytona/internal/fault"
)

// Each sandbox in a user namespace gets 65536 host ids of its own, so that two
// sandboxes never share one, and none is an account of the host's.
const (
	firstHostID = 1 << 20
	idsPerRange = 1 << 16
	lastRange   = (1<<32-firstHostID)/idsPerRange - 2 // the last is not usable in full
)

// idRanges hands out ranges of host ids. A sandbox keeps its range as long as
// its root exists: files on disk carry the ids.
type idRanges struct {
	mu   sync.Mutex
	used map[uint32]bool
	next uint32
}

func newIDRanges() *idRanges { return &idRanges{used: map[uint32]bool{}} }

// take returns the first host id of a free range.
func (r *idRanges) take() (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range lastRange {
		base := uint32(firstHostID + r.next*idsPerRange)
		r.next = (r.next + 1) % lastRange
		if !r.used[base] {
			r.used[base] = true
			return base, nil
		}
	}
	return 0, fault.New(fault.Unavailable, "no range of host ids is free")
}

// hold marks a range as taken, as a record says it is.
func (r *idRanges) hold(base uint32) {
	if base != 0 {
		r.mu.Lock()
		r.used[base] = true
		r.mu.Unlock()
	}
}

// give gives a range back.
func (r *idRanges) give(base uint32) {
	r.mu.Lock()
	delete(r.used, base)
	r.mu.Unlock()
}
