package org

import (
	"strings"
	"testing"
	"time"

	"daytona/internal/fault"
)

func TestQuota(t *testing.T) {
	q := Quota{TotalCPU: 10, TotalMemoryGiB: 10, TotalDiskGiB: 30, MaxCPU: 4, MaxMemoryGiB: 8, MaxDiskGiB: 10}
	used := Usage{CPU: 9, MemoryGiB: 9, DiskGiB: 27}
	for _, c := range []struct {
		name string
		err  error
		want string // "" is admitted
	}{
		{"one as large as may be", q.CheckSandbox(Resources{CPU: 4, MemoryGiB: 8, DiskGiB: 10}), ""},
		{"too much CPU", q.CheckSandbox(Resources{CPU: 5}), "CPU request 5 exceeds maximum allowed per sandbox (4)"},
		{"too much memory", q.CheckSandbox(Resources{MemoryGiB: 9}), "memory request 9 GiB exceeds maximum allowed per sandbox (8 GiB)"},
		{"too much disk", q.CheckSandbox(Resources{DiskGiB: 11}), "disk request 11 GiB exceeds maximum allowed per sandbox (10 GiB)"},
		{"the last that fits", q.Admit(used, Resources{CPU: 1, MemoryGiB: 1, DiskGiB: 3}), ""},
		{"CPU is used up", q.Admit(used, Resources{CPU: 2}), "Total CPU limit exceeded. Maximum allowed: 10, in use: 9"},
		{"memory is used up", q.Admit(used, Resources{MemoryGiB: 2}), "Total memory limit exceeded"},
		{"disk is used up", q.Admit(used, Resources{DiskGiB: 4}), "Total disk limit exceeded"},
		{"over the limit, but nothing more wanted", q.Admit(Usage{CPU: 99}, Resources{DiskGiB: 1}), ""},
	} {
		if c.want == "" && c.err != nil || c.want != "" && (!fault.Is(c.err, fault.Invalid) || !strings.Contains(c.err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, c.err, c.want)
		}
	}
}

func TestSuspended(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	later, before := now.Add(1), now.Add(-1)
	for _, c := range []struct {
		name string
		s    *Suspension
		want bool
	}{
		{"never", nil, false}, {"open ended", &Suspension{}, true},
		{"not over yet", &Suspension{Until: &later}, true}, {"over", &Suspension{Until: &before}, false}, {"over just now", &Suspension{Until: &now}, false},
	} {
		o := Organization{Suspension: c.s}
		if got := o.Suspended(now); got != c.want {
			t.Errorf("%s: suspended %v", c.name, got)
		}
		if err := o.CheckActive(now); fault.Is(err, fault.Forbidden) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
