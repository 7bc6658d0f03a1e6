package sandbox_test

import (
	"fmt"
	"testing"

	"daytona/api/runnerapi"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/storage/storagetest"
)

// BenchmarkCreate is what the control plane adds to a warm create: two durable
// writes and its own work.
func BenchmarkCreate(b *testing.B) {
	w := newWorld(b)
	for b.Loop() {
		if _, err := w.m.Create(b.Context(), w.org, "u", sandbox.CreateRequest{}, ""); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkResync10000 is one comparison of 10,000 rows with what their runner
// reports, where nothing differs: what the reconciler costs every 30 seconds.
func BenchmarkResync10000(b *testing.B) {
	w := newWorld(b)
	sb, err := w.m.Create(b.Context(), w.org, "u", sandbox.CreateRequest{AutoStopInterval: ptr(0)}, "")
	if err != nil {
		b.Fatal(err)
	}
	const more = 9_999
	storagetest.Copies(b.Context(), b, w.path, sb.ID, more)
	for i := 1; i <= more; i++ {
		if _, err := w.runner.Create(b.Context(), runnerapi.Spec{ID: fmt.Sprintf("%s-%d", sb.ID, i), Snapshot: slim}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		r, err := w.m.RunOnce(b.Context(), w.now())
		if err != nil || r.Rows != more+1 || r.Driven != 0 {
			b.Fatalf("%+v, %v", r, err)
		}
	}
}
