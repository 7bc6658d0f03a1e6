// Package ratelimit bounds how often something may be done, for many at a time
// in bounded memory.
//
// Each key has a bucket that holds Limit tokens and fills evenly within Per: a
// burst of Limit is let through, and over any longer time the rate holds. A
// bucket is one point in time (the generic cell rate algorithm), so one that is
// full again is the same as none and can be forgotten.
package ratelimit

import (
	"hash/maphash"
	"sync"
	"time"
)

// Rate is Limit times in Per. One whose Limit or Per is not positive lets
// everything through.
type Rate struct {
	Limit int
	Per   time.Duration
}

// Result is what became of one try.
type Result struct {
	OK bool
	// Remaining is how many more would be let through at once.
	Remaining int
	// Reset is when the bucket is full again, from now.
	Reset time.Duration
	// RetryAfter is when the next try can succeed; 0 if this one did.
	RetryAfter time.Duration
}

// Key names a bucket: what is done, and by whom.
type Key struct{ What, Who string }

// Limiter holds the buckets. Its methods may be called at the same time.
type Limiter struct {
	seed   maphash.Seed
	most   int // buckets in a shard
	shards [32]shard
}

type shard struct {
	mu sync.Mutex
	// full is when a key's bucket will be full again.
	full map[Key]time.Time
}

// New returns a Limiter that keeps about so many buckets at most. Where there
// are more, some that are not full are forgotten: that errs to the side of
// those who call.
func New(buckets int) *Limiter {
	l := &Limiter{seed: maphash.MakeSeed()}
	l.most = max(buckets/len(l.shards), 1)
	for i := range l.shards {
		l.shards[i].full = map[Key]time.Time{}
	}
	return l
}

// Take takes a token for key if there is one.
func (l *Limiter) Take(key Key, r Rate, now time.Time) Result {
	if r.Limit <= 0 || r.Per <= 0 {
		return Result{OK: true}
	}
	s := &l.shards[maphash.Comparable(l.seed, key)%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.full[key]
	if was.Before(now) {
		was = now
	}
	// A rate that has become smaller leaves nobody waiting for longer than it
	// takes to fill a bucket.
	if most := now.Add(r.Per); was.After(most) {
		was = most
		s.full[key] = was
	}
	token := max(r.Per/time.Duration(r.Limit), 1)
	next := was.Add(token)
	if wait := next.Sub(now) - r.Per; wait > 0 && next.Sub(now) > token {
		return Result{Reset: was.Sub(now), RetryAfter: wait}
	}
	if !known && len(s.full) >= l.most {
		s.evict(now)
	}
	s.full[key] = next
	return Result{OK: true, Remaining: int((r.Per - next.Sub(now)) / token), Reset: next.Sub(now)}
}

// Exhausted reports whether Take would refuse, and for how long.
func (l *Limiter) Exhausted(key Key, r Rate, now time.Time) (time.Duration, bool) {
	if r.Limit <= 0 || r.Per <= 0 {
		return 0, false
	}
	s := &l.shards[maphash.Comparable(l.seed, key)%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	token := max(r.Per/time.Duration(r.Limit), 1)
	wait := min(s.full[key].Sub(now), r.Per) + token - r.Per
	return wait, wait > 0 && s.full[key].After(now)
}

// Forget makes a bucket full: its rate has changed, say.
func (l *Limiter) Forget(key Key) {
	s := &l.shards[maphash.Comparable(l.seed, key)%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.full, key)
}

// Len is how many buckets are kept.
func (l *Limiter) Len() int {
	n := 0
	for i := range l.shards {
		l.shards[i].mu.Lock()
		n += len(l.shards[i].full)
		l.shards[i].mu.Unlock()
	}
	return n
}

// evict makes room for one: it forgets what is full again among the first few
// that come up, or else one of them. What it costs does not grow.
func (s *shard) evict(now time.Time) {
	seen, freed := 0, false
	var some Key
	for k, at := range s.full { // in random order
		if !at.After(now) {
			delete(s.full, k)
			freed = true
		} else {
			some = k
		}
		if seen++; seen == 16 {
			break
		}
	}
	if !freed {
		delete(s.full, some)
	}
}
