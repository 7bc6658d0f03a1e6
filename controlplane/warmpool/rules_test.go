package warmpool

import (
	"testing"

	"daytona/controlplane/org"
)

func TestAdmit(t *testing.T) {
	q := org.Quota{TotalCPU: 10, TotalMemoryGiB: 20, TotalDiskGiB: 30, MaxCPU: 4, MaxMemoryGiB: 8, MaxDiskGiB: 10}
	pool := func(size, cpu, mem, disk int) Pool { return Pool{Size: size, CPU: cpu, MemoryGiB: mem, DiskGiB: disk} }
	for _, c := range []struct {
		name  string
		pools []Pool
		ok    bool
	}{
		{"none", nil, true},
		{"all of it", []Pool{pool(4, 2, 5, 5), pool(2, 1, 0, 5)}, true},
		{"too many CPUs", []Pool{pool(4, 2, 1, 1), pool(3, 1, 1, 1)}, false},
		{"too much memory", []Pool{pool(3, 1, 7, 1)}, false},
		{"too much disk", []Pool{pool(4, 1, 1, 8)}, false},
		{"one that is too large", []Pool{pool(1, 5, 1, 1)}, false},
		{"none of those that are too large", []Pool{pool(0, 5, 1, 1)}, true},
		{"as many pools as there may be", make([]Pool, maxPools), true},
		{"too many pools", make([]Pool, maxPools+1), false},
	} {
		if err := admit(q, c.pools); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct{ size, n int }{{0, 1}, {7, 1}, {7, 3}, {2, 5}, {6, 3}} {
		sum := 0
		for i := range c.n {
			part := share(c.size, i, c.n)
			if part < c.size/c.n || part > c.size/c.n+1 {
				t.Errorf("%d of %d in %d: %d", i, c.size, c.n, part)
			}
			sum += part
		}
		if sum != c.size {
			t.Errorf("%d in %d: %d", c.size, c.n, sum)
		}
	}
}
