package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
)

// run executes a command in a sandbox through the runner's toolbox door.
func (w *world) run(id, command string) (int, string) {
	w.t.Helper()
	body, _ := json.Marshal(map[string]string{"command": command})
	res := w.request(http.MethodPost, id, "/process/execute", string(body))
	var out struct {
		ExitCode int
		Result   string
	}
	if res.Code != http.StatusOK || json.Unmarshal(res.Body.Bytes(), &out) != nil {
		w.t.Fatalf("execute: %d %s", res.Code, res.Body)
	}
	return out.ExitCode, strings.TrimSpace(out.Result)
}

func (w *world) request(method, id, path, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.ServeToolbox(rec, req, id)
	return rec
}

func TestLifecycle(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	s := spec(func(s *runnerapi.Spec) { s.Env = map[string]string{"GREETING": "hello world"} })
	sb := w.create(s)
	if sb.ID != s.ID || sb.Isolation != "fake" || sb.StartedAt.IsZero() || sb.Warm || sb.End != nil {
		t.Errorf("created: %+v", sb)
	}
	if code, out := w.run(s.ID, `echo "$GREETING $DAYTONA_SANDBOX_ID $DAYTONA_ORGANIZATION_ID $DAYTONA_REGION_ID $DAYTONA_SANDBOX_SNAPSHOT $DAYTONA_SANDBOX_USER"`); code != 0 || out != "hello world "+s.ID+" org here base daytona" {
		t.Errorf("execute: %d %q", code, out)
	}
	if _, out := w.run(s.ID, `env`); strings.Contains(out, "DAYTONA_TOOLBOX_TOKEN") {
		t.Error("the toolbox's token is in the environment of its children")
	}
	w.run(s.ID, `echo kept > ~/file`)

	stopped, err := w.Stop(ctx, s.ID, false)
	if err != nil || stopped.State != runnerapi.StateStopped || stopped.End == nil || stopped.End.Cause != runnerapi.CauseUser {
		t.Fatalf("stop: %+v %+v %v", stopped, stopped.End, err)
	}
	if again, err := w.Stop(ctx, s.ID, true); err != nil || again.State != runnerapi.StateStopped {
		t.Errorf("second stop: %+v %v", again, err)
	}
	if slots, _ := w.net.Slots(); len(slots) != 0 {
		t.Errorf("a stopped sandbox holds a network: %v", slots)
	}
	if cs, _ := w.driver.List(ctx); len(cs) != 0 {
		t.Errorf("a stopped sandbox has a container: %v", cs)
	}

	started, err := w.Start(ctx, s.ID)
	if err != nil || started.State != runnerapi.StateRunning || started.End != nil {
		t.Fatalf("start: %+v %v", started, err)
	}
	if again, err := w.Start(ctx, s.ID); err != nil || again.StartedAt != started.StartedAt {
		t.Errorf("starting what runs: %+v %v", again, err)
	}
	if _, out := w.run(s.ID, `cat ~/file; echo $GREETING`); out != "kept\nhello world" {
		t.Errorf("after stop and start: %q", out)
	}

	for range 2 {
		if err := w.Delete(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Inspect(ctx, s.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("inspect of a deleted sandbox: %v", err)
	}
	if _, err := w.Create(ctx, s); !fault.Is(err, fault.Gone) {
		t.Errorf("create of a deleted id: %v", err)
	}
	w.nothingLeft()
}

// nothingLeft compares the world with a runner that has no sandbox.
func (w *world) nothingLeft() {
	w.t.Helper()
	ctx := context.Background()
	if cs, err := w.driver.List(ctx); err != nil || len(cs) != 0 {
		w.t.Errorf("containers left: %v %v", cs, err)
	}
	if roots, err := w.roots.Roots(ctx); err != nil || len(roots) != 0 {
		w.t.Errorf("roots left: %v %v", roots, err)
	}
	if slots, err := w.net.Slots(); err != nil || len(slots) != 0 {
		w.t.Errorf("networks left: %v %v", slots, err)
	}
	if dirs, err := os.ReadDir(filepath.Join(w.dir, "runner", "sandboxes")); err != nil || len(dirs) != 0 {
		w.t.Errorf("directories left: %v %v", dirs, err)
	}
}

func TestUnknown(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	if _, err := w.Start(ctx, "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("start: %v", err)
	}
	if _, err := w.Stop(ctx, "nobody", true); !fault.Is(err, fault.NotFound) {
		t.Errorf("stop: %v", err)
	}
	if err := w.Delete(ctx, "nobody"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if list, err := w.List(ctx); err != nil || len(list) != 0 {
		t.Errorf("list: %v %v", list, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		change func(*runnerapi.Spec)
		want   fault.Kind
	}{
		"id with a slash":    {func(s *runnerapi.Spec) { s.ID = "../x" }, fault.Invalid},
		"no id":              {func(s *runnerapi.Spec) { s.ID = "" }, fault.Invalid},
		"no snapshot":        {func(s *runnerapi.Spec) { s.Snapshot = "" }, fault.Invalid},
		"unknown snapshot":   {func(s *runnerapi.Spec) { s.Snapshot = "other" }, fault.NotFound},
		"unknown isolation":  {func(s *runnerapi.Spec) { s.Isolation = "none" }, fault.Invalid},
		"unknown user":       {func(s *runnerapi.Spec) { s.User = "mallory" }, fault.Invalid},
		"negative cpu":       {func(s *runnerapi.Spec) { s.CPU = -1 }, fault.Invalid},
		"tiny memory":        {func(s *runnerapi.Spec) { s.MemoryMiB = 1 }, fault.Invalid},
		"env with equals":    {func(s *runnerapi.Spec) { s.Env = map[string]string{"A=B": "x"} }, fault.Invalid},
		"not a range":        {func(s *runnerapi.Spec) { s.Network.AllowList = []string{"everything"} }, fault.Invalid},
		"IPv6 in allow list": {func(s *runnerapi.Spec) { s.Network.AllowList = []string{"::/0"} }, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := w.Create(t.Context(), spec(c.change)); !fault.Is(err, c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestCreateTwiceAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if sb, err := w.Create(t.Context(), s); err != nil || sb.State != runnerapi.StateRunning {
				t.Errorf("create: %+v %v", sb, err)
			}
		})
	}
	wg.Wait()
	if cs, _ := w.driver.List(t.Context()); len(cs) != 1 {
		t.Errorf("%d containers, want 1", len(cs))
	}
	other := s
	other.OrgID = "somebody else"
	if _, err := w.Create(t.Context(), other); !fault.Is(err, fault.Conflict) {
		t.Errorf("another organization's id: %v", err)
	}
}

func TestCreateGoesOnWithoutCaller(t *testing.T) {
	w := newWorld(t, nil)
	entered, release := w.driver.Block("Create")
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	s := spec()
	failed := make(chan error, 1)
	go func() { _, err := w.Create(ctx, s); failed <- err }()
	<-entered
	cancel()
	if err := <-failed; !fault.Is(err, fault.Timeout) {
		t.Errorf("caller that went away: %v", err)
	}
	if sb, err := w.Inspect(t.Context(), s.ID); err != nil || sb.State != runnerapi.StateCreating {
		t.Errorf("meanwhile: %+v %v", sb, err)
	}
	release()
	w.create(s) // joins
}

func TestDeleteWhileCreating(t *testing.T) {
	for _, at := range []string{"Create", "Start", "Dial"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t, nil)
			entered, release := w.driver.Block(at)
			defer release()
			s := spec()
			failed := make(chan error, 1)
			go func() { _, err := w.Create(t.Context(), s); failed <- err }()
			<-entered
			if err := w.Delete(t.Context(), s.ID); err != nil {
				t.Fatal(err)
			}
			if err := <-failed; !fault.Is(err, fault.Conflict) {
				t.Errorf("the create said %v", err)
			}
			w.nothingLeft()
		})
	}
}

func TestFailedCreateIsUndone(t *testing.T) {
	broken := errors.New("broken")
	for name, fail := range map[string]func(*world, error){
		"root":    func(w *world, err error) { w.roots.Fail("Create", err) },
		"mount":   func(w *world, err error) { w.roots.Fail("Mount", err) },
		"network": func(w *world, err error) { w.net.Fail("Acquire", err) },
		"create":  func(w *world, err error) { w.driver.Fail("Create", err) },
		"start":   func(w *world, err error) { w.driver.Fail("Start", err) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			fail(w, broken)
			s := spec()
			if _, err := w.Create(t.Context(), s); !errors.Is(err, broken) || !fault.Is(err, fault.Unprocessable) {
				t.Fatalf("create: %v", err)
			}
			sb, err := w.Inspect(t.Context(), s.ID)
			if err != nil || sb.State != runnerapi.StateFailed || sb.End == nil || sb.End.Cause != runnerapi.CauseStartFailed || !strings.Contains(sb.End.Evidence, "broken") {
				t.Fatalf("after: %+v %v", sb, err)
			}
			if cs, _ := w.driver.List(t.Context()); len(cs) != 0 {
				t.Errorf("containers left: %v", cs)
			}
			if roots, _ := w.roots.Roots(t.Context()); len(roots) != 0 {
				t.Errorf("roots left: %v", roots)
			}
			if slots, _ := w.net.Slots(); len(slots) != 0 {
				t.Errorf("networks left: %v", slots)
			}
			if _, err := w.Start(t.Context(), s.ID); !fault.Is(err, fault.Conflict) {
				t.Errorf("start of what was never made: %v", err)
			}
			fail(w, nil)
			w.create(s) // the same call may try again
		})
	}
}

func TestToolboxThatEndsAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	// The real toolbox refuses to run without a token; a program that just
	// fails takes its place.
	w.close()
	program := filepath.Join(t.TempDir(), "toolbox")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no way >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w = reopen(t, t.TempDir(), func(c *runner.Config) { c.Toolbox = program })
	s := spec()
	if _, err := w.Create(t.Context(), s); !fault.Is(err, fault.Unprocessable) {
		t.Fatalf("create: %v", err)
	}
	sb, _ := w.Inspect(t.Context(), s.ID)
	if sb.End == nil || !strings.Contains(sb.End.Evidence, "exit code 3") || !strings.Contains(sb.End.Evidence, "no way") {
		t.Errorf("evidence: %+v", sb.End)
	}
}

func TestEndsByItself(t *testing.T) {
	w := newWorld(t, nil)
	events := w.Watch(t.Context())
	s := spec()
	w.create(s)
	w.run(s.ID, "echo kept > ~/file")
	if err := w.driver.End(s.ID, runnerapi.End{Cause: runnerapi.CauseOutOfMemory, ExitCode: 137, Evidence: "one kill"}); err != nil {
		t.Fatal(err)
	}
	ev := <-events
	if ev.Sandbox.ID != s.ID || ev.Sandbox.State != runnerapi.StateStopped || ev.Sandbox.End == nil ||
		ev.Sandbox.End.Cause != runnerapi.CauseOutOfMemory || ev.Sandbox.End.ExitCode != 137 {
		t.Errorf("event: %+v %+v", ev.Sandbox, ev.Sandbox.End)
	}
	if slots, _ := w.net.Slots(); len(slots) != 0 {
		t.Errorf("networks left: %v", slots)
	}
	if _, err := w.Start(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if _, out := w.run(s.ID, "cat ~/file"); out != "kept" {
		t.Errorf("file: %q", out)
	}
}

func TestFailedStartKeepsRoot(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	w.run(s.ID, "echo kept > ~/file")
	if _, err := w.Stop(t.Context(), s.ID, true); err != nil {
		t.Fatal(err)
	}
	w.driver.Fail("Start", errors.New("broken"))
	if _, err := w.Start(t.Context(), s.ID); !fault.Is(err, fault.Unprocessable) {
		t.Fatalf("start: %v", err)
	}
	if sb, _ := w.Inspect(t.Context(), s.ID); sb.State != runnerapi.StateStopped || sb.End == nil || sb.End.Cause != runnerapi.CauseStartFailed {
		t.Errorf("after: %+v %+v", sb, sb.End)
	}
	w.driver.Fail("Start", nil)
	if _, err := w.Start(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if _, out := w.run(s.ID, "cat ~/file"); out != "kept" {
		t.Errorf("file: %q", out)
	}
}

func TestFailedDeleteIsRepeated(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	w.roots.Fail("Delete", errors.New("busy"))
	if err := w.Delete(t.Context(), s.ID); err == nil {
		t.Fatal("no error")
	}
	if _, err := w.Start(t.Context(), s.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("start while deleting: %v", err)
	}
	w.roots.Fail("Delete", nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	eventually(t, "the janitor deletes it", func() bool {
		_, err := w.Inspect(t.Context(), s.ID)
		return fault.Is(err, fault.NotFound)
	})
	cancel()
	<-done
	w.nothingLeft()
}

func TestForcedStopOvertakesGracefulOne(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	entered, release := w.driver.Block("Stop")
	defer release()
	gentle := make(chan error, 1)
	go func() { _, err := w.Stop(t.Context(), s.ID, false); gentle <- err }()
	<-entered
	forced := make(chan error, 1)
	go func() { _, err := w.Stop(t.Context(), s.ID, true); forced <- err }()
	if err := <-gentle; err != nil { // cancelled although Stop still blocks
		t.Errorf("gentle stop: %v", err)
	}
	release()
	if err := <-forced; err != nil {
		t.Errorf("forced stop: %v", err)
	}
	if sb, _ := w.Inspect(t.Context(), s.ID); sb.State != runnerapi.StateStopped {
		t.Errorf("after: %+v", sb)
	}
}

func TestDirIsLocked(t *testing.T) {
	w := newWorld(t, nil)
	if second, err := openWorld(w.dir, toolbox, nil); err == nil {
		t.Fatal("two runners on one directory; closing: ", second.Close(t.Context()))
	}
}

func TestInfoAndSnapshots(t *testing.T) {
	w := newWorld(t, nil)
	w.create(spec())
	info, err := w.Info(t.Context())
	if err != nil || info.ID != "test" || info.CPU < 1 || info.MemoryMiB < 1 || info.DiskMiB < 1 || info.Sandboxes != 1 || len(info.Isolations) != 1 {
		t.Errorf("info: %+v %v", info, err)
	}
	snaps, err := w.Snapshots(t.Context())
	if err != nil || len(snaps) != 2 || snaps[0].Name != snapshot || snaps[0].State != runnerapi.SnapshotReady {
		t.Errorf("snapshots: %+v %v", snaps, err)
	}
}
