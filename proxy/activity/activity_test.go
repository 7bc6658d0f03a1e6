package activity

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"
)

func frame(opcode byte, masked bool, n int) []byte {
	out := []byte{0x80 | opcode}
	mask := byte(0)
	if masked {
		mask = 0x80
	}
	switch {
	case n < 126:
		out = append(out, mask|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, mask|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, mask|127), uint64(n))
	}
	if masked {
		out = append(out, 1, 2, 3, 4)
	}
	return append(out, bytes.Repeat([]byte{'x'}, n)...)
}

func TestFrames(t *testing.T) {
	for _, masked := range []bool{false, true} {
		for _, step := range []int{1, 3, 7, 1 << 20} {
			f := &frames{}
			for i, part := range []struct {
				bytes []byte
				data  bool
			}{
				{frame(9, masked, 0), false}, {frame(1, masked, 5), true}, {frame(9, masked, 125), false}, {frame(10, masked, 3), false},
				{frame(2, masked, 0), true}, {frame(2, masked, 300), true}, {frame(9, masked, 2), false}, {frame(0, masked, 70_000), true}, {frame(8, masked, 2), false},
			} {
				found := false
				for rest := part.bytes; len(rest) > 0; {
					n := min(step, len(rest))
					found = f.data(rest[:n]) || found
					rest = rest[n:]
				}
				if found != part.data {
					t.Errorf("frame %d, masked %v, %d bytes at a time: data %v", i, masked, step, found)
				}
			}
		}
	}
}

func TestWatch(t *testing.T) {
	var touched atomic.Int64
	wait := func(n int64) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); touched.Load() < n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("touched %d times, want %d", touched.Load(), n)
			}
		}
	}
	_, stop := watch(func() { touched.Add(1) }, time.Hour, time.Millisecond)
	wait(5)
	stop()
	touched.Store(0)
	m, stop := watch(func() { touched.Add(1) }, time.Nanosecond, time.Millisecond) // silent from the beginning
	defer stop()
	time.Sleep(20 * time.Millisecond)
	if n := touched.Load(); n != 1 {
		t.Errorf("a silent connection was counted %d times", n)
	}
	m.Note()
}
