//go:build root

package local_test

import (
	"strings"
	"testing"

	"daytona/api/runnerapi"
	"daytona/runner/local"
)

// TestImagesStayOverRestarts: what was built is there after each restart, and so
// is the cache that further builds begin from.
func TestImagesStayOverRestarts(t *testing.T) {
	w := newImageWorld(t, local.Runc, nil)
	const dockerfile = "FROM busybox:1\nRUN echo one > /one\nRUN echo two > /two\n"
	if s := w.build("built", dockerfile); s.State != runnerapi.SnapshotReady {
		t.Fatalf("%+v\n%s", s, w.log("built"))
	}
	for range 3 {
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.open(local.Runc, nil)
		if out := w.run("built", "cat /one /two"); strings.TrimSpace(out) != "one\ntwo" {
			t.Errorf("after a restart it holds %q", out)
		}
		if s := w.build("again", dockerfile+"RUN echo three > /three\n"); s.State != runnerapi.SnapshotReady || !strings.Contains(w.log("again"), "#6 CACHED") {
			t.Fatalf("%+v\n%s", s, w.log("again"))
		}
		if err := w.RemoveImage(t.Context(), "again"); err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
