package sandbox_test

import (
	"testing"

	"daytona/controlplane/sandbox"
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
