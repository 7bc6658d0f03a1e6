//go:build root

package local_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/namespaces"

	"daytona/api/runnerapi"
	"daytona/runner/local"
	"daytona/runner/rootfs"
)

// TestCacheThatNamesLayersThatAreGone: after a power cut the build cache may know
// what was removed before it; builds do not fail of that.
func TestCacheThatNamesLayersThatAreGone(t *testing.T) {
	w := newImageWorld(t, local.Runc, nil)
	const dockerfile = "FROM busybox:1\nRUN echo one > /one\nRUN echo two > /two\n"
	if s := w.build("built", dockerfile); s.State != runnerapi.SnapshotReady {
		t.Fatalf("%+v\n%s", s, w.log("built"))
	}
	if err := w.RemoveImage(t.Context(), "built"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	loseSteps(t, filepath.Join(w.dir, "images"))
	w.open(local.Runc, nil)
	if s := w.build("again", dockerfile+"RUN cat /one /two > /three\n"); s.State != runnerapi.SnapshotReady {
		t.Fatalf("%+v\n%s", s, w.log("again"))
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// loseSteps removes what the steps of builds have made, and leaves what was pulled.
func loseSteps(t *testing.T, dir string) {
	t.Helper()
	store, err := rootfs.Open(t.Context(), rootfs.Config{Dir: dir, Disk: "loop", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	shared := store.Share()
	ctx := namespaces.WithNamespace(t.Context(), shared.Namespace)
	all, err := shared.Leases.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, l := range all {
		resources, err := shared.Leases.ListResources(ctx, l)
		if err != nil {
			t.Fatal(err)
		}
		if len(resources) != 1 || !strings.HasPrefix(resources[0].Type, "snapshots/") {
			continue
		}
		if err := shared.Leases.Delete(ctx, l); err != nil {
			t.Fatal(err)
		}
		lost++
	}
	if _, err := shared.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if lost < 2 {
		t.Fatalf("%d of %d leases were of steps", lost, len(all))
	}
}
