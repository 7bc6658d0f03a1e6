package sandbox_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/image"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

func dockerfile(text string) sandbox.CreateRequest {
	return sandbox.CreateRequest{BuildInfo: &sandbox.BuildRequest{DockerfileContent: text}}
}

// runImages keeps images going as the server does.
func (w *world) runImages() {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- w.images.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.t.Error("images: ", err)
		}
	})
}

// told waits until the runner was told to make an image.
func (w *world) told(name string) runnerapi.ImageSpec {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if spec, ok := w.runner.ImageSpec(name); ok {
			return spec
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the runner was not told to make %s", name)
		}
	}
}

// TestASandboxOfADockerfile goes through the states that clients wait for.
func TestASandboxOfADockerfile(t *testing.T) {
	w := newWorld(t)
	w.runImages()
	w.run(w.m)
	r := dockerfile("FROM debian:12\nRUN true\n")
	r.CPU = ptr(2)
	sb := w.create(r)
	if sb.State != sandbox.PendingBuild || sb.Snapshot != "" || sb.CPU != 2 || sb.BuildInfo.SnapshotRef != sb.Image || !image.Ours(sb.Image) {
		t.Errorf("created %+v", sb)
	}
	if spec := w.told(sb.Image); spec.Build == nil || spec.Build.Dockerfile != r.BuildInfo.DockerfileContent || spec.OrgID != w.org {
		t.Errorf("the runner was told %+v", spec)
	}
	w.runner.SetImage(runnerapi.Snapshot{Name: sb.Image, State: runnerapi.SnapshotBuilding})
	w.wait(sb.ID, sandbox.BuildingSnapshot)
	w.runner.SetImage(runnerapi.Snapshot{Name: sb.Image, State: runnerapi.SnapshotReady})
	w.wait(sb.ID, sandbox.Started)
	if spec, _ := w.runner.Spec(sb.ID); spec.Snapshot != sb.Image {
		t.Errorf("made of %s", spec.Snapshot)
	}
	w.syncImages()
	again := w.create(r)
	if again.State != sandbox.Started || w.runner.Calls("EnsureImage") != 1 {
		t.Errorf("the same definition: %s after %d builds", again.State, w.runner.Calls("EnsureImage"))
	}
}

func TestABuildThatFails(t *testing.T) {
	w := newWorld(t)
	w.runImages()
	w.run(w.m)
	r := dockerfile("FROM debian:12\nRUN false\n")
	sb := w.create(r)
	w.told(sb.Image)
	w.runner.SetImage(runnerapi.Snapshot{Name: sb.Image, State: runnerapi.SnapshotFailed, Reason: "exit code 1"})
	got := w.wait(sb.ID, sandbox.BuildFailed)
	if *got.ErrorReason != "exit code 1" || got.Recoverable || got.EndCause != "start_failed" {
		t.Errorf("failed with %+v", got)
	}
	_, err := w.m.Start(w.ctx, w.org, sb.ID)
	w.wantKind(err, fault.Invalid)
	_, err = w.m.Delete(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Destroyed)

	second := w.create(r) // a new request is a new try
	if second.State != sandbox.PendingBuild {
		t.Errorf("second try is %s: %v", second.State, second.ErrorReason)
	}
	w.runner.SetImage(runnerapi.Snapshot{Name: sb.Image, State: runnerapi.SnapshotReady})
	w.wait(second.ID, sandbox.Started)
}

// lateStore returns from a creation only after a function was called.
type lateStore struct {
	sandbox.Store
	before func()
}

func (s lateStore) CreateSandbox(ctx context.Context, sb sandbox.Sandbox, key *sandbox.Idempotency, admit sandbox.Admit) (sandbox.Sandbox, bool, error) {
	sb, created, err := s.Store.CreateSandbox(ctx, sb, key, admit)
	s.before()
	return sb, created, err
}

// TestAFailureFromBefore is not that of a sandbox that a worker finds before its
// creation has asked for the image.
func TestAFailureFromBefore(t *testing.T) {
	w := newWorld(t)
	w.runImages()
	w.run(w.m)
	r := dockerfile("FROM debian:12\nRUN false\n")
	first := w.create(r)
	w.told(first.Image)
	w.runner.SetImage(runnerapi.Snapshot{Name: first.Image, State: runnerapi.SnapshotFailed, Reason: "exit code 1"})
	w.wait(first.ID, sandbox.BuildFailed)

	late := w.manager(lateStore{w.db, func() {
		for deadline := time.Now().Add(20 * time.Second); w.runner.Calls("EnsureImage") < 2; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no worker has it made again")
			}
		}
	}})
	second, err := late.Create(w.ctx, w.org, "u", r, "")
	w.must(err)
	w.runner.SetImage(runnerapi.Snapshot{Name: second.Image, State: runnerapi.SnapshotReady})
	w.wait(second.ID, sandbox.Started)
}

// TestDeletionDuringABuild: nothing is made of it afterwards.
func TestDeletionDuringABuild(t *testing.T) {
	w := newWorld(t)
	w.runImages()
	w.run(w.m)
	sb := w.create(dockerfile("FROM debian:12\nRUN sleep 1\n"))
	w.told(sb.Image)
	w.runner.SetImage(runnerapi.Snapshot{Name: sb.Image, State: runnerapi.SnapshotBuilding})
	w.wait(sb.ID, sandbox.BuildingSnapshot)
	_, err := w.m.Delete(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Destroyed)
	w.runner.SetImage(runnerapi.Snapshot{Name: sb.Image, State: runnerapi.SnapshotReady})
	if n := w.runner.Calls("Create"); n != 0 {
		t.Errorf("%d sandboxes were made", n)
	}
}

// TestAnImageThatTheRunnerLost is made again when somebody needs it.
func TestAnImageThatTheRunnerLost(t *testing.T) {
	w := newWorld(t)
	w.runImages()
	w.run(w.m)
	sn, err := w.images.Create(w.ctx, snapshot.By{OrgID: w.org}, snapshot.CreateRequest{Name: "tools", ImageName: ptr("debian:12.11")})
	w.must(err)
	w.told(sn.Image)
	w.runner.SetImage(runnerapi.Snapshot{Name: sn.Image, State: runnerapi.SnapshotReady})
	first := w.create(sandbox.CreateRequest{Snapshot: ptr("tools")})
	w.wait(first.ID, sandbox.Started)

	w.runner.DropImage(sn.Image) // and what it was told
	second := w.create(sandbox.CreateRequest{Snapshot: ptr("tools")})
	w.wait(second.ID, sandbox.PullingSnapshot)
	w.told(sn.Image)
	w.runner.SetImage(runnerapi.Snapshot{Name: sn.Image, State: runnerapi.SnapshotReady})
	w.wait(second.ID, sandbox.Started)

	w.runner.DropImage(sn.Image)
	third := w.create(sandbox.CreateRequest{Snapshot: ptr("tools")})
	w.wait(third.ID, sandbox.PullingSnapshot)
	w.told(sn.Image)
	w.runner.SetImage(runnerapi.Snapshot{Name: sn.Image, State: runnerapi.SnapshotFailed, Reason: "denied"})
	if got := w.wait(third.ID, sandbox.Error); !strings.Contains(*got.ErrorReason, "denied") {
		t.Errorf("reason %s", *got.ErrorReason)
	}
	if w.get(first.ID).State != sandbox.Started {
		t.Error("a running sandbox was harmed")
	}
}

// TestDeathBeforeAnImageIsDeclared: the row alone is enough to go on.
func TestDeathBeforeAnImageIsDeclared(t *testing.T) {
	w := newWorld(t)
	sb := w.create(dockerfile("FROM debian:12\nRUN true\n"))
	i, err := w.made.Get(w.ctx, sb.Image)
	w.must(err)
	_, err = w.m.Delete(w.ctx, w.org, sb.ID)
	w.must(err)
	w.pass(25 * time.Hour)
	w.must(w.db.DeleteImage(w.ctx, i, w.now()))
	row := sb
	row.ID, row.Name, row.State, row.StateSince = "11111111-2222-4333-8444-555555555555", "left", sandbox.PendingBuild, w.now()
	_, _, err = w.db.CreateSandbox(w.ctx, row, nil, nil)
	w.must(err)
	w.runImages()
	w.run(w.manager(w.db))
	w.told(sb.Image)
	w.runner.SetImage(runnerapi.Snapshot{Name: sb.Image, State: runnerapi.SnapshotReady})
	w.wait(row.ID, sandbox.Started)
}

// TestABuiltImageMayAskForAnIsolation: it is known only when it is built.
func TestABuiltImageMayAskForAnIsolation(t *testing.T) {
	w := newWorld(t)
	w.runImages()
	w.run(w.m)
	sb := w.create(dockerfile("FROM debian:12\nLABEL dev.daytona.isolation=gvisor\n"))
	w.told(sb.Image)
	w.runner.SetImage(runnerapi.Snapshot{Name: sb.Image, State: runnerapi.SnapshotReady, Isolation: "gvisor"})
	if got := w.wait(sb.ID, sandbox.Error); !strings.Contains(*got.ErrorReason, "isolation") {
		t.Errorf("reason %s", *got.ErrorReason)
	}
}
