package warmpool

import (
	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// Limits of pools, whatever the quota.
const (
	maxSize  = 1000 // sandboxes of one pool
	maxPools = 100  // of an organization in a region
)

func checkSize(size int) error {
	if size < 0 || size > maxSize {
		return fault.New(fault.Invalid, "pool: must be between 0 and %d sandboxes", maxSize)
	}
	return nil
}

// admit holds what waits within what the organization may use in the region.
// Nothing of it is charged, as it is nobody's use; so it must not be more than
// could be used.
func admit(q org.Quota, pools []Pool) error {
	if len(pools) > maxPools {
		return fault.New(fault.Forbidden, "An organization can have at most %d warm pools in a region. Delete one first", maxPools)
	}
	var sum org.Resources
	for _, p := range pools {
		one := org.Resources{CPU: p.CPU, MemoryGiB: p.MemoryGiB, DiskGiB: p.DiskGiB}
		if err := q.CheckSandbox(one); err != nil && p.Size > 0 {
			return err
		}
		sum.CPU += p.Size * p.CPU
		sum.MemoryGiB += p.Size * p.MemoryGiB
		sum.DiskGiB += p.Size * p.DiskGiB
	}
	for _, c := range []struct {
		name, unit string
		sum, most  int
	}{
		{"CPU", "", sum.CPU, q.TotalCPU},
		{"memory", " GiB", sum.MemoryGiB, q.TotalMemoryGiB},
		{"disk", " GiB", sum.DiskGiB, q.TotalDiskGiB},
	} {
		if c.sum > c.most {
			return fault.New(fault.Invalid, "The warm pools of the organization would hold %d%s of %s, and at most %d%s may be used. Make one smaller",
				c.sum, c.unit, c.name, c.most, c.unit).WithCode(org.CodeQuota)
		}
	}
	return nil
}

// share is how many of size the runner number i of n holds.
func share(size, i, n int) int {
	part := size / n
	if i < size%n {
		part++
	}
	return part
}
