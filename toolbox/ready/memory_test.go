package ready

import (
	"math"
	"testing"
)

func TestParseMeminfo(t *testing.T) {
	for name, tt := range map[string]struct {
		text             string
		total, available int64
	}{
		"linux":     {"MemTotal:       1048576 kB\nMemFree: 5 kB\nMemAvailable:    524288 kB\n", 1 << 30, 512 << 20},
		"unknown":   {"MemTotal: 4 kB\n", 4096, math.MaxInt64},
		"nothing":   {"", 0, math.MaxInt64},
		"malformed": {"MemTotal: many kB\nMemAvailable:\n: 3 kB\n", 0, math.MaxInt64},
	} {
		if total, available := parseMeminfo([]byte(tt.text)); total != tt.total || available != tt.available {
			t.Errorf("%s: %d, %d, want %d, %d", name, total, available, tt.total, tt.available)
		}
	}
}

func TestEnough(t *testing.T) {
	for _, tt := range []struct {
		total, available int64
		want             bool
	}{
		{1 << 30, 1 << 29, true},
		{1<<30 - 20<<20, 1 << 29, true}, // as a limit of 1 GiB is shown
		{512 << 20, 400 << 20, false},
		{4 << 30, 255 << 20, false},
		{4 << 30, 256 << 20, true},
	} {
		if got := enough(tt.total, tt.available); got != tt.want {
			t.Errorf("enough(%d, %d) = %v", tt.total, tt.available, got)
		}
	}
}
