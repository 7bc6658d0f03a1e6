package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"daytona/api/runnerapi"
	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

func TestCreate(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{
		Env: map[string]string{"A": "b"}, Labels: map[string]string{"l": "m"},
		NetworkAllowList: ptr("10.1.2.3/8"), Name: ptr("box"),
	})
	if sb.State != sandbox.Started || sb.Shown() != sandbox.Started || sb.Isolation != "fake" || *sb.DaemonVersion != "fake-1" {
		t.Errorf("created %+v", sb)
	}
	if len(sb.PreviewToken) != 32 || sb.Snapshot != slim || sb.User != "daytona" || sb.Target != "us" || sb.RunnerID != "r1" {
		t.Errorf("created %+v", sb)
	}
	spec, _ := w.runner.Spec(sb.ID)
	want := runnerapi.Spec{
		ID: sb.ID, OrgID: w.org, Snapshot: slim, Env: map[string]string{"A": "b"}, Region: "us",
		CPU: 1, MemoryMiB: 1024, DiskMiB: 3072, Network: runnerapi.NetworkPolicy{AllowList: []string{"10.0.0.0/8"}},
	}
	if d := cmp.Diff(want, spec); d != "" {
		t.Errorf("spec differs (-want +got):\n%s", d)
	}
	for _, by := range []string{sb.ID, "box"} {
		got, err := w.m.Get(w.ctx, w.org, by)
		w.must(err)
		if d := cmp.Diff(sb, got); d != "" {
			t.Errorf("get %s differs:\n%s", by, d)
		}
	}
	_, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{Name: ptr("box")}, "")
	w.wantKind(err, fault.Conflict)
	if sb := w.create(sandbox.CreateRequest{}); sb.Name != sb.ID {
		t.Errorf("name %s, want the id", sb.Name)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		r    sandbox.CreateRequest
		kind fault.Kind
		text string
	}{
		{"unknown snapshot", sandbox.CreateRequest{Snapshot: ptr("nope")}, fault.NotFound, "nope"},
		{"unknown target", sandbox.CreateRequest{Target: ptr("mars")}, fault.Invalid, "target"},
		{"more than one sandbox may have", sandbox.CreateRequest{CPU: ptr(5), BuildInfo: &sandbox.BuildRequest{DockerfileContent: "FROM " + slim}}, fault.Invalid, "CPU request 5 exceeds maximum allowed per sandbox (4)"},
		{"context that nobody uploaded", sandbox.CreateRequest{BuildInfo: &sandbox.BuildRequest{DockerfileContent: "FROM debian:12", ContextHashes: []string{"h"}}}, fault.Invalid, "contextHashes"},
	} {
		_, err := w.m.Create(w.ctx, w.org, "u", c.r, "")
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %s with %q", c.name, err, c.kind, c.text)
		}
	}
	w.must(w.db.SetSuspension(w.ctx, w.org, &org.Suspension{At: time.Now(), Reason: "unpaid"}, nil, time.Now()))
	_, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{}, "")
	if !fault.Is(err, fault.Forbidden) || err.Error() != "Organization is suspended: unpaid" {
		t.Errorf("suspended: %v", err)
	}
	if n := w.runner.Calls("Create"); n != 0 {
		t.Errorf("the runner was told to create %d", n)
	}
}

func TestCreateFromTheImageOfASnapshot(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{CPU: ptr(2), Memory: ptr(4), Disk: ptr(5), BuildInfo: &sandbox.BuildRequest{DockerfileContent: "FROM " + slim + "\n"}})
	spec, _ := w.runner.Spec(sb.ID)
	if sb.State != sandbox.Started || sb.Snapshot != "" || spec.Snapshot != slim || spec.CPU != 2 || spec.MemoryMiB != 4096 || spec.DiskMiB != 5120 {
		t.Errorf("sandbox %+v, spec %+v", sb, spec)
	}
	if b := sb.BuildInfo; b == nil || b.DockerfileContent != "FROM "+slim+"\n" || !strings.HasPrefix(b.SnapshotRef, "daytona-") {
		t.Errorf("build info %+v", sb.BuildInfo)
	}
}

func TestWarmSandboxIsClaimed(t *testing.T) {
	w := newWorld(t)
	id := w.runner.Warm()
	if sb := w.create(sandbox.CreateRequest{}); sb.ID != id || sb.State != sandbox.Started {
		t.Errorf("got %s in state %s, want the warm %s", sb.ID, sb.State, id)
	}
}

// What a runner does for a request belongs to the request's trace.
func TestRunnerCallsCarryTheTrace(t *testing.T) {
	w := newWorld(t)
	seen := map[string]trace.TraceID{}
	for _, method := range []string{"Create", "Stop", "Start", "Delete"} {
		w.runner.On(method, func(ctx context.Context, _ string) error {
			seen[method] = trace.SpanContextFromContext(ctx).TraceID()
			return nil
		})
	}
	want := map[string]trace.TraceID{}
	within := func(n byte, method string) context.Context {
		want[method] = trace.TraceID{15: n}
		return trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: n}, SpanID: trace.SpanID{7: n}}))
	}
	sb, err := w.m.Create(within(1, "Create"), w.org, "u", sandbox.CreateRequest{}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.m.Stop(within(2, "Stop"), w.org, sb.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.m.Start(within(3, "Start"), w.org, sb.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.m.Delete(within(4, "Delete"), w.org, sb.ID); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(seen, want) {
		t.Errorf("traces of the runner's calls: %v, want %v", seen, want)
	}
}

func TestCreateGoesOnWithoutItsCaller(t *testing.T) {
	w := newWorld(t)
	began, release := make(chan struct{}), make(chan struct{})
	w.runner.On("Create", func(ctx context.Context, _ string) error {
		close(began)
		<-release
		return ctx.Err()
	})
	ctx, leave := context.WithCancel(w.ctx)
	answered := make(chan sandbox.Sandbox)
	go func() {
		sb, err := w.m.Create(ctx, w.org, "u", sandbox.CreateRequest{}, "")
		if err != nil {
			t.Error(err)
		}
		answered <- sb
	}()
	<-began
	leave()
	sb := <-answered
	if sb.State != sandbox.Creating {
		t.Errorf("state %s, want creating", sb.State)
	}
	close(release)
	w.wait(sb.ID, sandbox.Started)
}

func TestCreateWaitsForItsSnapshot(t *testing.T) {
	w := newWorld(t)
	w.runner.SetSnapshot(runnerapi.Snapshot{Name: slim, State: runnerapi.SnapshotBuilding, Progress: "step 1"})
	w.syncImages()
	sb := w.create(sandbox.CreateRequest{})
	if sb.State != sandbox.PullingSnapshot || w.runner.Calls("Create") != 0 {
		t.Errorf("state %s, want pulling_snapshot", sb.State)
	}
	w.run(w.m)
	w.runner.SetSnapshot(runnerapi.Snapshot{Name: slim, State: runnerapi.SnapshotReady})
	w.wait(sb.ID, sandbox.Started)
}

func TestSnapshotThatFailsFailsItsSandboxes(t *testing.T) {
	w := newWorld(t)
	w.runner.SetSnapshot(runnerapi.Snapshot{Name: slim, State: runnerapi.SnapshotBuilding})
	w.syncImages()
	sb := w.create(sandbox.CreateRequest{})
	w.runner.SetSnapshot(runnerapi.Snapshot{Name: slim, State: runnerapi.SnapshotFailed, Reason: "no mirror answers"})
	w.resync(w.m)
	if sb = w.get(sb.ID); sb.State != sandbox.Error || !strings.Contains(*sb.ErrorReason, "no mirror answers") {
		t.Errorf("state %s, reason %v", sb.State, sb.ErrorReason)
	}
	w.syncImages()
	_, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{}, "")
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "no mirror answers") {
		t.Errorf("create of a failed snapshot: %v", err)
	}
}

func TestFailedCreateFreesItsQuota(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		err  error
		want string
	}{
		{fault.Wrap(errors.New("secret /path"), fault.Invalid, "user mallory is not in the image"), "The sandbox could not be created: user mallory is not in the image"},
		{errors.New("secret /path"), "The sandbox could not be created because of an internal error on its runner; the server's log says more"},
	} {
		w.runner.On("Create", func(context.Context, string) error { return c.err })
		sb := w.create(sandbox.CreateRequest{})
		if sb.State != sandbox.Error || *sb.ErrorReason != c.want || sb.EndCause != "start_failed" {
			t.Errorf("state %s, reason %v, cause %s", sb.State, sb.ErrorReason, sb.EndCause)
		}
		_, err := w.m.Start(w.ctx, w.org, sb.ID)
		w.wantKind(err, fault.Invalid)
	}
	u, err := w.db.OrganizationUsage(w.ctx, w.org)
	w.must(err)
	if u := u["us"]; u.CPU != 0 || u.MemoryGiB != 0 || u.DiskGiB != 0 {
		t.Errorf("usage %+v after failures, want none", u)
	}
}

func TestUnavailableRunnerIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	fails := 2
	w.runner.On("Create", func(context.Context, string) error {
		if fails--; fails >= 0 {
			return fault.New(fault.Unavailable, "disk full")
		}
		return nil
	})
	sb := w.create(sandbox.CreateRequest{})
	if sb.State != sandbox.Creating {
		t.Errorf("state %s, want creating", sb.State)
	}
	w.run(w.m)
	w.wait(sb.ID, sandbox.Started)
}

func TestEveryPhaseHasAnEnd(t *testing.T) {
	w := newWorld(t)
	w.runner.On("Create", func(context.Context, string) error { return fault.New(fault.Unavailable, "no") })
	sb := w.create(sandbox.CreateRequest{})
	w.pass(sandbox.CreateLimit)
	w.resync(w.m)
	if sb = w.get(sb.ID); sb.State != sandbox.Error || !strings.Contains(*sb.ErrorReason, "Timed out") {
		t.Errorf("state %s, reason %v", sb.State, sb.ErrorReason)
	}
	// The runner had only been slow.
	w.runner.Plant(sb.ID)
	w.resync(w.m)
	if sb = w.get(sb.ID); sb.State != sandbox.Started || sb.ErrorReason != nil {
		t.Errorf("state %s, reason %v; want it started", sb.State, sb.ErrorReason)
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	first, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{Labels: map[string]string{"a": "1", "b": "2"}}, "key")
	w.must(err)
	w.runner.SetSnapshot(runnerapi.Snapshot{Name: slim, State: runnerapi.SnapshotFailed}) // what changed meanwhile does not matter
	w.syncImages()
	again, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{Labels: map[string]string{"b": "2", "a": "1"}}, "key")
	w.must(err)
	if again.ID != first.ID {
		t.Errorf("the repeat made %s, want %s", again.ID, first.ID)
	}
	_, err = w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{}, "key")
	w.wantKind(err, fault.Conflict)
	_, err = w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{}, "bad\nkey")
	w.wantKind(err, fault.Invalid)
	if n := w.runner.Calls("Create"); n != 1 {
		t.Errorf("%d sandboxes were made, want 1", n)
	}
}

func TestDeleteWinsOverCreate(t *testing.T) {
	for name, stubborn := range map[string]bool{"runner lets go": false, "runner finishes first": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			began, release := make(chan string, 9), make(chan struct{})
			w.runner.On("Create", func(ctx context.Context, id string) error {
				began <- id
				if stubborn {
					<-release
					return nil
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-release:
					return nil
				}
			})
			created := make(chan sandbox.Sandbox)
			go func() {
				sb, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{}, "")
				if err != nil {
					t.Error(err)
				}
				created <- sb
			}()
			id := <-began
			if stubborn {
				go func() {
					w.wait(id, sandbox.Destroying) // the deletion is recorded
					close(release)
				}()
			}
			sb, err := w.m.Delete(w.ctx, w.org, id)
			w.must(err)
			if sb.State != sandbox.Destroyed {
				t.Errorf("delete answers %s, want destroyed", sb.State)
			}
			if sb := <-created; sb.State != sandbox.Destroyed {
				t.Errorf("create answers %s, want destroyed", sb.State)
			}
			if s := w.runner.States(); len(s) != 0 {
				t.Errorf("the runner still has %v", s)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{Name: ptr("box")})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if out, err := w.m.Delete(w.ctx, w.org, sb.ID); err != nil || out.State != sandbox.Destroyed {
				t.Errorf("delete: %s, %v", out.State, err)
			}
		})
	}
	wg.Wait()
	if n := w.runner.Calls("Delete"); n != 1 {
		t.Errorf("the runner was told %d times, want once", n)
	}
	gone := w.get(sb.ID)
	if gone.State != sandbox.Destroyed || gone.Desired != sandbox.Destroyed || !strings.HasPrefix(gone.Name, "DESTROYED_box_") || gone.EndCause != "user" {
		t.Errorf("destroyed row %+v", gone)
	}
	_, err := w.m.Get(w.ctx, w.org, "box")
	w.wantKind(err, fault.NotFound)
	w.create(sandbox.CreateRequest{Name: ptr("box")}) // the name is free
	_, _, err = w.m.ToolboxTarget(w.ctx, w.org, sb.ID)
	w.wantKind(err, fault.NotFound)
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.wantKind(err, fault.Invalid)
	_, err = w.m.SetPublic(w.ctx, w.org, sb.ID, true)
	w.wantKind(err, fault.Conflict)

	w.pass(sandbox.KeepDestroyed + time.Minute)
	w.resync(w.m)
	_, err = w.m.Get(w.ctx, w.org, sb.ID)
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "Sandbox with ID or name "+sb.ID+" not found") {
		t.Errorf("after a day: %v", err)
	}
}

func TestDeleteFromEveryState(t *testing.T) {
	w := newWorld(t)
	for _, state := range []sandbox.State{
		sandbox.Creating, sandbox.PullingSnapshot, sandbox.Starting, sandbox.Started, sandbox.Stopping, sandbox.Stopped, sandbox.Error, sandbox.Destroying,
	} {
		sb := w.create(sandbox.CreateRequest{})
		row := sb
		row.ID, row.Name, row.State, row.StateSince = sb.ID[:35]+"x", string(state), state, w.now()
		_, _, err := w.db.CreateSandbox(w.ctx, row, nil, nil)
		w.must(err)
		w.runner.Plant(row.ID)
		out, err := w.m.Delete(w.ctx, w.org, row.ID)
		w.must(err)
		if _, there := w.runner.Spec(row.ID); out.State != sandbox.Destroyed || there {
			t.Errorf("delete of a sandbox that is %s: %s, on the runner: %v", state, out.State, there)
		}
	}
}

func TestDeleteOutlastsItsRunner(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{})
	w.runner.On("Delete", func(context.Context, string) error { return fault.New(fault.Unavailable, "busy") })
	out, err := w.m.Delete(w.ctx, w.org, sb.ID)
	w.must(err)
	if out.State != sandbox.Destroying {
		t.Errorf("state %s, want destroying", out.State)
	}
	w.runner.On("Delete", nil)
	w.run(w.m)
	w.wait(sb.ID, sandbox.Destroyed)
}

func TestStopAndStart(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{})
	token := sb.PreviewToken
	_, err := w.m.SetLabels(w.ctx, w.org, sb.ID, map[string]string{"a": "b"})
	w.must(err)
	again, err := w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	if again.State != sandbox.Started || again.PreviewToken != token {
		t.Errorf("start of a started one: %s, token changed: %v", again.State, again.PreviewToken != token)
	}
	stopped, err := w.m.Stop(w.ctx, w.org, sb.ID, true)
	w.must(err)
	if stopped.State != sandbox.Stopped || stopped.EndCause != "user" || stopped.EndedAt == nil || w.runner.Calls("StopForce") != 1 {
		t.Errorf("stopped %+v", stopped)
	}
	_, err = w.m.Stop(w.ctx, w.org, sb.ID, false)
	w.wantKind(err, fault.Invalid)

	q := org.DefaultQuota()
	q.TotalCPU = 0
	w.must(w.setQuota(w.org, q))
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "Total CPU limit exceeded") {
		t.Errorf("start beyond the quota: %v", err)
	}
	w.must(w.setQuota(w.org, org.DefaultQuota()))

	started, err := w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	if started.State != sandbox.Started || started.EndCause != "" || started.EndedAt != nil || started.PreviewToken == token {
		t.Errorf("started %+v", started)
	}
	if _, err := w.m.SetAutoDelete(w.ctx, w.org, sb.ID, 0); err != nil {
		t.Fatal(err)
	}
	gone, err := w.m.Stop(w.ctx, w.org, sb.ID, false)
	w.must(err)
	if gone.State != sandbox.Destroyed {
		t.Errorf("stop of an ephemeral one: %s, want destroyed", gone.State)
	}
}

func TestFailedStartCanBeTriedAgain(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{})
	_, err := w.m.Stop(w.ctx, w.org, sb.ID, false)
	w.must(err)
	w.runner.On("Start", func(context.Context, string) error {
		return fault.New(fault.Unprocessable, "the toolbox does not answer")
	})
	sb, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	if sb.State != sandbox.Error || !sb.Recoverable || !strings.Contains(*sb.ErrorReason, "does not answer") {
		t.Errorf("state %s, recoverable %v, reason %v", sb.State, sb.Recoverable, sb.ErrorReason)
	}
	w.runner.On("Start", nil)
	sb, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	if sb.State != sandbox.Started || sb.ErrorReason != nil || sb.Recoverable {
		t.Errorf("state %s, reason %v", sb.State, sb.ErrorReason)
	}
}

func TestAutoStop(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{})
	w.pass(14 * time.Minute)
	w.m.Touch(w.ctx, sb.ID)
	w.pass(14 * time.Minute)
	w.resync(w.m)
	if sb := w.get(sb.ID); sb.State != sandbox.Started {
		t.Fatalf("stopped in spite of activity: %s", sb.State)
	}
	w.m.Flush(w.ctx)
	w.pass(2 * time.Minute)
	w.resync(w.m)
	if sb := w.get(sb.ID); sb.State != sandbox.Stopped || sb.EndCause != sandbox.EndIdle || !strings.Contains(sb.EndEvidence, "auto-stop after 15 min") {
		t.Errorf("state %s, cause %s, evidence %s", sb.State, sb.EndCause, sb.EndEvidence)
	}
	_, err := w.m.SetAutoDelete(w.ctx, w.org, sb.ID, 30)
	w.must(err)
	w.pass(29 * time.Minute)
	w.resync(w.m)
	if sb := w.get(sb.ID); sb.State != sandbox.Stopped {
		t.Fatalf("deleted too early: %s", sb.State)
	}
	w.pass(2 * time.Minute)
	w.resync(w.m)
	if sb := w.get(sb.ID); sb.State != sandbox.Destroyed || sb.EndCause != sandbox.EndIdle {
		t.Errorf("state %s, cause %s; want destroyed, idle", sb.State, sb.EndCause)
	}
}

func TestAutoStopNeedsNoResync(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{AutoStopInterval: ptr(1), AutoDeleteInterval: ptr(0)})
	w.pass(2 * time.Minute)
	w.run(w.m)
	w.wait(sb.ID, sandbox.Destroyed)
}

func TestEndsByItself(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.create(sandbox.CreateRequest{})
	w.runner.End(sb.ID, runnerapi.StateStopped, runnerapi.End{Cause: runnerapi.CauseOutOfMemory, Evidence: "limit 1 GiB", At: time.Now()})
	sb = w.wait(sb.ID, sandbox.Stopped)
	if sb.EndCause != "out_of_memory" || sb.EndEvidence != "limit 1 GiB" || sb.Desired != sandbox.Stopped {
		t.Errorf("cause %s, evidence %s, desired %s", sb.EndCause, sb.EndEvidence, sb.Desired)
	}
	sb, err := w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	w.runner.Lose(sb.ID)
	sb = w.wait(sb.ID, sandbox.Error)
	if sb.EndCause != "host_lost" || !strings.Contains(*sb.ErrorReason, "missing") {
		t.Errorf("cause %s, reason %s", sb.EndCause, *sb.ErrorReason)
	}
}

func TestStrangeSandboxesAreRemoved(t *testing.T) {
	w := newWorld(t)
	w.runner.Plant("strange")
	if r := w.resync(w.m); r.Strange != 0 || len(w.runner.States()) != 1 {
		t.Fatal("a database that knows none of a runner's sandboxes had them removed")
	}
	sb := w.create(sandbox.CreateRequest{})
	gone := w.create(sandbox.CreateRequest{})
	_, err := w.m.Delete(w.ctx, w.org, gone.ID)
	w.must(err)
	w.runner.Plant(gone.ID) // back from an old copy of the disk
	w.resync(w.m)
	if s := w.runner.States(); len(s) != 1 || s[sb.ID] != runnerapi.StateRunning {
		t.Errorf("the runner has %v, want only %s", s, sb.ID)
	}
}

func TestToolboxTarget(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{Name: ptr("box")})
	for range 2 {
		got, r, err := w.m.ToolboxTarget(w.ctx, w.org, "box")
		w.must(err)
		if got.ID != sb.ID || r != runnerapi.Runner(w.runner) {
			t.Errorf("target %s", got.ID)
		}
	}
	_, _, err := w.m.ToolboxTarget(w.ctx, "another organization", sb.ID)
	w.wantKind(err, fault.NotFound)
	_, err = w.m.SetPublic(w.ctx, w.org, sb.ID, true)
	w.must(err)
	if got, _, _ := w.m.ToolboxTarget(w.ctx, w.org, "box"); !got.Public {
		t.Error("a change is not seen at once")
	}
	p, err := w.m.PreviewURL(w.ctx, w.org, "box", 3000)
	w.must(err)
	if p != (sandbox.Preview{SandboxID: sb.ID, Port: 3000, Token: sb.PreviewToken}) {
		t.Errorf("preview %+v", p)
	}
	for _, port := range []int{0, -1, 65536} {
		_, err := w.m.PreviewURL(w.ctx, w.org, "box", port)
		w.wantKind(err, fault.Invalid)
	}
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	q := org.DefaultQuota()
	q.TotalCPU = 20
	w.must(w.setQuota(w.org, q))
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 40 {
		wg.Go(func() {
			sb, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{Name: ptr(fmt.Sprint("box ", i))}, "")
			if err != nil {
				w.wantKind(err, fault.Invalid)
				return
			}
			mu.Lock()
			made++
			mu.Unlock()
			if _, err := w.m.Delete(w.ctx, w.org, sb.ID); err != nil && i%2 == 0 {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made < 20 {
		t.Errorf("%d made, want at least 20", made)
	}
	if s := w.runner.States(); len(s) != 0 {
		t.Errorf("the runner still has %v", s)
	}
}

// TestAHungCallHoldsUpNobodyElse: one sandbox whose runner never answers must
// not keep others from being noticed, stopped or deleted.
func TestAHungCallHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	other := w.create(sandbox.CreateRequest{})
	hung, release := make(chan string, 1), make(chan struct{})
	defer close(release)
	w.runner.On("Create", func(_ context.Context, id string) error {
		hung <- id
		<-release
		return nil
	})
	ctx, leave := context.WithCancel(w.ctx)
	go func() {
		<-hung
		leave()
	}()
	if sb, err := w.m.Create(ctx, w.org, "u", sandbox.CreateRequest{}, ""); err != nil || sb.State != sandbox.Creating {
		t.Errorf("state %s, %v", sb.State, err)
	}
	w.runner.End(other.ID, runnerapi.StateStopped, runnerapi.End{Cause: runnerapi.CauseExit, Evidence: "code 1", At: time.Now()})
	w.wait(other.ID, sandbox.Stopped)
	if _, err := w.m.Start(w.ctx, w.org, other.ID); err != nil {
		t.Error(err)
	}
	w.pass(20 * time.Minute) // auto-stop
	w.wait(other.ID, sandbox.Stopped)
	if sb, err := w.m.Delete(w.ctx, w.org, other.ID); err != nil || sb.State != sandbox.Destroyed {
		t.Errorf("delete: %s, %v", sb.State, err)
	}
}

func TestIsolationIsOneOfThoseOffered(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{Isolation: ptr("fake")})
	if spec, _ := w.runner.Spec(sb.ID); spec.Isolation != "fake" {
		t.Errorf("the runner was asked for isolation %q", spec.Isolation)
	}
	_, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{Isolation: ptr("runc")}, "")
	w.wantKind(err, fault.Invalid)
	if !strings.Contains(err.Error(), "isolation") || !strings.Contains(err.Error(), "runc") {
		t.Errorf("the error does not name what was wrong: %v", err)
	}
}

func TestAnImageMayAskForAnIsolation(t *testing.T) {
	w := newWorld(t)
	w.runner.SetSnapshot(runnerapi.Snapshot{Name: "guarded", State: runnerapi.SnapshotReady, Isolation: "gvisor"})
	w.runner.SetSnapshot(runnerapi.Snapshot{Name: "modest", State: runnerapi.SnapshotReady, Isolation: "fake"})
	w.syncImages()
	for _, request := range []*string{nil, ptr("fake")} { // the runner offers nothing but fake
		_, err := w.m.Create(w.ctx, w.org, "u", sandbox.CreateRequest{Snapshot: ptr("guarded"), Isolation: request}, "")
		w.wantKind(err, fault.Invalid)
		if err == nil || !strings.Contains(err.Error(), "isolation") || !strings.Contains(err.Error(), "gvisor") {
			t.Errorf("error %v", err)
		}
	}
	if sb := w.create(sandbox.CreateRequest{Snapshot: ptr("modest")}); sb.State != sandbox.Started {
		t.Errorf("sandbox is %s", sb.State)
	}
}
