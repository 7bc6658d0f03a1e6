package runner_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/images"
	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/rootfs"
)

// definition makes two steps that write to a file outside of the root.
func definition(file string) *runner.SnapshotConfig {
	return &runner.SnapshotConfig{
		Definition: images.Definition{
			Name: "made", Hash: "h1",
			Steps: []images.Step{
				{Name: "first", Script: "#!/bin/sh\nset -eu\necho one $MIRROR >> " + file + "\n"},
				{Name: "second", Script: "#!/bin/sh\nset -eu\nread line || true\ntest -s $SSL_CERT_FILE\necho two >> " + file + "\n"},
			},
			Config: images.Config{User: "daytona", WorkDir: "/home/daytona", Entrypoint: []string{"sleep", "infinity"}, Env: []string{"MADE=yes"}},
		},
		Base:     snapshot,
		MakeBase: func(context.Context, string, func(string)) error { return errors.New("there is one") },
		CA:       "/proc/self/cmdline", // any file that is not empty
		Env:      map[string]string{"MIRROR": "mirror"},
	}
}

func TestDefaultSnapshotIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	cfg := definition(file)
	w := newWorld(t, func(c *runner.Config) { c.Snapshots = []*runner.SnapshotConfig{cfg} })
	for range 2 {
		if err := w.EnsureSnapshots(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if text, _ := os.ReadFile(file); string(text) != "one mirror\ntwo\n" {
		t.Errorf("the steps wrote %q", text)
	}
	w.nothingLeft()
	snaps, err := w.Snapshots(t.Context())
	if err != nil || len(snaps) != 2 || snaps[1].Name != "made" || snaps[1].State != runnerapi.SnapshotReady || !slices.Equal(snaps[1].Entrypoint, []string{"sleep", "infinity"}) {
		t.Errorf("snapshots: %+v %v (the base must not be among them)", snaps, err)
	}
	s := spec(func(s *runnerapi.Spec) { s.Snapshot = "made" })
	w.create(s)
	if _, out := w.run(s.ID, "echo $MADE"); out != "yes" {
		t.Errorf("environment of the image: %q", out)
	}
	// Another definition under the same name is made anew.
	cfg.Definition.Hash = "h2"
	if err := w.EnsureSnapshots(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); strings.Count(string(text), "two") != 2 {
		t.Errorf("after the definition changed: %q", text)
	}
}

func TestDefaultSnapshotThatFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	cfg := definition(file)
	cfg.Definition.Steps[1].Script = "#!/bin/sh\necho something is wrong\nexit 7\n"
	w := newWorld(t, func(c *runner.Config) { c.Snapshots = []*runner.SnapshotConfig{cfg} })
	if err := w.EnsureSnapshots(t.Context()); !fault.Is(err, fault.Unprocessable) {
		t.Fatalf("got %v", err)
	}
	w.nothingLeft()
	snaps, _ := w.Snapshots(t.Context())
	i := slices.IndexFunc(snaps, func(s runnerapi.Snapshot) bool { return s.Name == "made" })
	if i < 0 || snaps[i].State != runnerapi.SnapshotFailed || !strings.Contains(snaps[i].Reason, "exit code 7") || !strings.Contains(snaps[i].Reason, "something is wrong") {
		t.Errorf("snapshots: %+v", snaps)
	}
	if _, err := w.Create(t.Context(), spec(func(s *runnerapi.Spec) { s.Snapshot = "made" })); !fault.Is(err, fault.Unavailable) {
		t.Errorf("create from it: %v", err)
	}
}

// TestSnapshotGoesOn: what was kept of a failed attempt is not done again, unless
// the definition has changed; and nothing of it is left.
func TestSnapshotGoesOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	cfg := definition(file)
	cfg.Definition.Steps[0].Keep = true
	good := cfg.Definition.Steps[1].Script
	cfg.Definition.Steps[1].Script = "#!/bin/sh\nexit 7\n"
	w := newWorld(t, func(c *runner.Config) { c.Snapshots = []*runner.SnapshotConfig{cfg} })
	if err := w.EnsureSnapshots(t.Context()); err == nil {
		t.Fatal("the second step failed")
	}
	names := func(w *world) string {
		t.Helper()
		snaps, err := w.Snapshots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range snaps {
			out = append(out, s.Name)
		}
		return strings.Join(out, " ")
	}
	if got := names(w); strings.Contains(got, "checkpoint") {
		t.Errorf("snapshots: %s", got)
	}
	cfg.Definition.Steps[1].Script = good
	if err := w.EnsureSnapshots(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); string(text) != "one mirror\ntwo\n" {
		t.Errorf("the steps wrote %q", text)
	}
	w.nothingLeft()
	imgs, err := w.roots.Images(t.Context())
	if err != nil || slices.ContainsFunc(imgs, func(i rootfs.Image) bool { return strings.HasPrefix(i.Name, "checkpoint/") }) {
		t.Errorf("images: %+v, %v", imgs, err)
	}
	cfg.Definition.Hash = "h2"
	if err := w.EnsureSnapshots(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); strings.Count(string(text), "one") != 2 {
		t.Errorf("after the definition changed: %q", text)
	}
}

// TestRemake: a snapshot is made anew, on a new base and from its first step,
// also where an earlier attempt had got further; the old one serves until then.
func TestRemake(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	cfg := definition(file)
	cfg.Definition.Steps[0].Keep = true
	bases := 0
	var w *world
	cfg.Base, cfg.MakeBase = "below", func(ctx context.Context, name string, _ func(string)) error {
		bases++
		_, err := w.roots.Derive(ctx, snapshot, name, func(*ocispec.ImageConfig) {})
		return err
	}
	w = newWorld(t, func(c *runner.Config) { c.Snapshots = []*runner.SnapshotConfig{cfg} })
	if err := runner.Remake(t.Context(), w.roots, "made", "below"); err != nil {
		t.Errorf("before it was ever made: %v", err)
	}
	if err := w.EnsureSnapshots(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := runner.Remake(t.Context(), w.roots, "made", "below"); err != nil {
			t.Fatal(err)
		}
	}
	w.create(spec(func(s *runnerapi.Spec) { s.Snapshot = "made" }))
	good := cfg.Definition.Steps[1].Script
	cfg.Definition.Steps[1].Script = "#!/bin/sh\nexit 7\n"
	if err := w.EnsureSnapshots(t.Context()); err == nil {
		t.Fatal("the second step failed")
	}
	w.create(spec(func(s *runnerapi.Spec) { s.Snapshot = "made" }))
	if err := runner.Remake(t.Context(), w.roots, "made", "below"); err != nil {
		t.Fatal(err)
	}
	cfg.Definition.Steps[1].Script = good
	for range 2 {
		if err := w.EnsureSnapshots(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if text, _ := os.ReadFile(file); string(text) != "one mirror\ntwo\none mirror\none mirror\ntwo\n" || bases != 3 {
		t.Errorf("the steps wrote %q, on %d bases", text, bases)
	}
}

func TestSnapshotWhileItIsMade(t *testing.T) {
	cfg := definition(filepath.Join(t.TempDir(), "out"))
	w := newWorld(t, func(c *runner.Config) { c.Snapshots = []*runner.SnapshotConfig{cfg} })
	entered, release := w.driver.Block("Start")
	defer release()
	done := make(chan error, 1)
	go func() { done <- w.EnsureSnapshots(t.Context()) }()
	<-entered
	snaps, _ := w.Snapshots(t.Context())
	i := slices.IndexFunc(snaps, func(s runnerapi.Snapshot) bool { return s.Name == "made" })
	if i < 0 || snaps[i].State != runnerapi.SnapshotBuilding || snaps[i].Progress == "" {
		t.Errorf("snapshots: %+v", snaps)
	}
	if list, _ := w.List(t.Context()); len(list) != 0 {
		t.Errorf("the build's sandbox is listed: %+v", list)
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestBuildThatWasInterrupted(t *testing.T) {
	cfg := definition(filepath.Join(t.TempDir(), "out"))
	w := newWorld(t, func(c *runner.Config) { c.Snapshots = []*runner.SnapshotConfig{cfg} })
	entered, release := w.driver.Block("Start")
	go func() { _ = w.EnsureSnapshots(t.Context()) }() // it is broken off
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()         // do not wait for what is under way, as when the process is killed
	_ = w.Close(ctx) // not in time, as it should be
	again := reopen(t, w.dir, nil)
	again.nothingLeft()
	release()
	// What was under way ends now, before its directory is removed.
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
