package ratelimit

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func TestTake(t *testing.T) {
	l, r, now := New(100), Rate{Limit: 3, Per: time.Minute}, start
	key := Key{"read", "a"}
	for i := range 3 {
		if got := l.Take(key, r, now); !got.OK || got.Remaining != 2-i || got.Reset != time.Duration(i+1)*20*time.Second || got.RetryAfter != 0 {
			t.Errorf("take %d: %+v", i, got)
		}
	}
	for range 5 { // what is refused costs nothing
		if got := l.Take(key, r, now); got.OK || got.RetryAfter != 20*time.Second || got.Reset != time.Minute {
			t.Errorf("a fourth at once: %+v", got)
		}
	}
	if wait, yes := l.Exhausted(key, r, now); !yes || wait != 20*time.Second {
		t.Errorf("exhausted %v for %v", yes, wait)
	}
	if got := l.Take(Key{"read", "b"}, r, now); !got.OK {
		t.Errorf("somebody else: %+v", got)
	}
	if got := l.Take(Key{"write", "a"}, r, now); !got.OK {
		t.Errorf("something else: %+v", got)
	}
	l.Forget(Key{"read", "b"})
	if got := l.Take(Key{"read", "b"}, r, now); !got.OK || got.Remaining != 2 {
		t.Errorf("a forgotten one: %+v", got)
	}
	now = now.Add(20 * time.Second)
	if wait, yes := l.Exhausted(key, r, now); yes {
		t.Errorf("still exhausted for %v", wait)
	}
	if got := l.Take(key, r, now); !got.OK || got.Remaining != 0 {
		t.Errorf("after the wait: %+v", got)
	}
	if got := l.Take(key, r, now); got.OK {
		t.Errorf("two after the wait for one: %+v", got)
	}
	now = now.Add(time.Hour)
	if got := l.Take(key, r, now); !got.OK || got.Remaining != 2 {
		t.Errorf("after an hour: %+v", got)
	}
}

func TestNoLimit(t *testing.T) {
	l := New(10)
	for _, r := range []Rate{{}, {Limit: 0, Per: time.Minute}, {Limit: 5}, {Limit: -1, Per: time.Minute}} {
		for range 100 {
			if got := l.Take(Key{"x", "y"}, r, start); !got.OK {
				t.Fatalf("%+v: %+v", r, got)
			}
		}
		if _, yes := l.Exhausted(Key{"x", "y"}, r, start); yes {
			t.Errorf("%+v is exhausted", r)
		}
	}
	if l.Len() != 0 {
		t.Errorf("%d buckets for what has no limit", l.Len())
	}
}

func TestSmallerRateIsNoTrap(t *testing.T) {
	l, key := New(10), Key{"x", "y"}
	for range 50 {
		l.Take(key, Rate{Limit: 60, Per: time.Hour}, start)
	}
	now := Rate{Limit: 1, Per: time.Second}
	if got := l.Take(key, now, start); got.OK || got.RetryAfter > time.Second {
		t.Errorf("%+v", got)
	}
	if got := l.Take(key, now, start.Add(time.Second)); !got.OK {
		t.Errorf("a second later: %+v", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	l, r := New(320), Rate{Limit: 2, Per: time.Minute}
	for i := range 100_000 {
		l.Take(Key{"x", strconv.Itoa(i)}, r, start.Add(time.Duration(i)*time.Microsecond))
	}
	if n := l.Len(); n > 320 {
		t.Errorf("%d buckets, want at most 320", n)
	}
}

// TestAtOnce: however many ask at once, exactly as many are let through as may.
func TestAtOnce(t *testing.T) {
	l, r := New(100), Rate{Limit: 50, Per: time.Hour}
	var wg sync.WaitGroup
	var let atomic.Int32
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if l.Take(Key{"x", "y"}, r, start).OK {
					let.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if let.Load() != 50 {
		t.Errorf("%d were let through, want 50", let.Load())
	}
}

func BenchmarkTake(b *testing.B) {
	l, r := New(65536), Rate{Limit: 1 << 30, Per: time.Minute}
	now := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Take(Key{"authenticated", "0123456789abcdef"}, r, now)
		}
	})
}
