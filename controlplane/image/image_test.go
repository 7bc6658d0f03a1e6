package image_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/fleet/fleettest"
	"daytona/controlplane/image"
	"daytona/controlplane/storage"
	"daytona/internal/fault"
)

type world struct {
	t      *testing.T
	db     *storage.DB
	fleet  *fleet.Fleet
	a, b   *fleettest.Runner
	s      *image.Service
	offset atomic.Int64
}

// uploads are the contexts that were uploaded, by organization and hash.
type uploads map[string]bool

func (u uploads) ContextURL(_ context.Context, orgID, hash string) (string, error) {
	if !u[orgID+"/"+hash] {
		return "", fault.New(fault.NotFound, "no such object")
	}
	return "https://storage.example/" + orgID + "/" + hash + "?signed", nil
}

type logins []runnerapi.RegistryAuth

func (l logins) Auths(context.Context, string) ([]runnerapi.RegistryAuth, error) { return l, nil }

func newWorld(t *testing.T) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "d.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, db: db, fleet: fleet.New(), a: fleettest.New("a"), b: fleettest.New("b")}
	for _, r := range []*fleettest.Runner{w.a, w.b} {
		if err := w.fleet.Add(t.Context(), "us", r); err != nil {
			t.Fatal(err)
		}
	}
	w.s = w.service()
	return w
}

// service is another server, or the same after a restart.
func (w *world) service() *image.Service {
	return image.New(image.Config{
		Store: w.db, Fleet: w.fleet, Log: slog.New(slog.DiscardHandler),
		Contexts: uploads{"o1/h1": true}, Registries: logins{{Prefix: "ghcr.io", Username: "u", Password: "p"}},
		Now: func() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) },
	})
}

func (w *world) sync() bool {
	w.t.Helper()
	_, settled, err := w.s.Sync(w.t.Context())
	if err != nil {
		w.t.Log("sync: ", err)
	}
	return settled
}

func (w *world) use(i image.Image, runner string) image.Image {
	w.t.Helper()
	got, err := w.s.Use(w.t.Context(), i, runner, time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) is(name string, state image.State, reason string) image.Image {
	w.t.Helper()
	i, err := w.s.Get(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	if i.State != state || !strings.Contains(i.Reason, reason) || reason == "" && i.Reason != "" {
		w.t.Fatalf("image is %s (%s), want %s (%s)", i.State, i.Reason, state, reason)
	}
	return i
}

var build = image.BuildOf("o1", "FROM x\nCOPY a /a", []string{"h1"})

func TestNames(t *testing.T) {
	same := image.BuildOf("o1", "FROM x", []string{"b", "a", "a"}).Name
	if got := image.BuildOf("o1", "FROM x", []string{"a", "b"}).Name; got != same {
		t.Error("the order of contexts does not matter")
	}
	if !image.Ours(same) || image.Ours("daytona-slim") {
		t.Error("names of ours are told apart from an operator's")
	}
	seen := map[string]bool{same: true}
	for _, i := range []image.Image{
		image.BuildOf("o2", "FROM x", []string{"a", "b"}), image.BuildOf("o1", "FROM y", []string{"a", "b"}),
		image.BuildOf("o1", "FROM x", []string{"ab"}), image.BuildOf("o1", "FROM xa", []string{"b"}), image.PullOf("o1", "s1", "x", nil), image.PullOf("o1", "s2", "x", nil),
	} {
		if seen[i.Name] {
			t.Errorf("%+v shares a name", i)
		}
		seen[i.Name] = true
	}
}

// TestABuild follows one from its definition to the runner and back.
func TestPinned(t *testing.T) {
	for _, c := range []struct{ ref, digest, want string }{
		{"debian:12.11", "", "debian:12.11"},
		{"debian:12.11", "sha256:a", "debian:12.11@sha256:a"},
		{"debian@sha256:b", "sha256:a", "debian@sha256:b"},
	} {
		i := image.PullOf("o1", "s1", c.ref, nil)
		i.Digest = c.digest
		if got := i.Pinned(); got != c.want {
			t.Errorf("%s with %s: %s, want %s", c.ref, c.digest, got, c.want)
		}
	}
}

// What a runner pulled once is what another one, or the same later, is told to pull.
func TestALostPullComesBackTheSame(t *testing.T) {
	w := newWorld(t)
	pull := image.PullOf("o1", "s1", "debian:12.11", nil)
	w.use(pull, "a")
	w.sync()
	w.a.SetImage(runnerapi.Snapshot{Name: pull.Name, State: runnerapi.SnapshotReady, Digest: "sha256:a"})
	w.sync()
	w.is(pull.Name, image.Ready, "")
	w.a.DropImage(pull.Name)
	b, err := w.fleet.Member("b")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.s.Ensure(t.Context(), b, pull.Name); err != nil {
		t.Fatal(err)
	}
	if spec, _ := w.b.ImageSpec(pull.Name); spec.Pull == nil || spec.Pull.Ref != "debian:12.11@sha256:a" {
		t.Errorf("told %+v", spec.Pull)
	}
}

func TestABuild(t *testing.T) {
	w := newWorld(t)
	w.use(build, "b")
	if w.sync() {
		t.Error("settled although a build is on its way")
	}
	if i := w.is(build.Name, image.Pending, ""); i.RunnerID != "b" {
		t.Errorf("made by %s, wished b", i.RunnerID)
	}
	spec, ok := w.b.ImageSpec(build.Name)
	if !ok || spec.Build.Dockerfile != build.Dockerfile || spec.OrgID != "o1" || len(spec.Auths) != 1 ||
		len(spec.Build.Contexts) != 1 || spec.Build.Contexts[0].URL != "https://storage.example/o1/h1?signed" {
		t.Errorf("the runner was told %+v", spec)
	}
	w.b.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotPending, Waiting: 2})
	w.sync()
	if i := w.is(build.Name, image.Pending, ""); i.Waiting != 2 {
		t.Errorf("%d before it, want 2", i.Waiting)
	}
	w.b.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotBuilding, Progress: "3/5"})
	w.sync()
	w.is(build.Name, image.Building, "")
	w.s = w.service() // another process goes on
	w.b.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotReady, SizeBytes: 9, Entrypoint: []string{"x"}, Isolation: "gvisor"})
	if !w.sync() {
		t.Error("not settled although everything is ready")
	}
	if i := w.is(build.Name, image.Ready, ""); i.SizeBytes != 9 || i.FoundEntrypoint[0] != "x" || i.Isolation != "gvisor" {
		t.Errorf("found %+v", i)
	}
	if n := w.b.Calls("EnsureImage"); n != 1 {
		t.Errorf("the runner was told %d times", n)
	}
	w.use(build, "a")
	w.sync()
	if i := w.is(build.Name, image.Ready, ""); i.RunnerID != "b" || w.a.Calls("EnsureImage") != 0 {
		t.Error("the same definition is not built twice")
	}
}

func TestAFailureIsTriedAgainWhenAskedFor(t *testing.T) {
	w := newWorld(t)
	w.use(build, "a")
	w.sync()
	w.a.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotFailed, Reason: "exit code 2"})
	w.sync()
	w.is(build.Name, image.Failed, "exit code 2")
	w.sync()
	if n := w.a.Calls("EnsureImage"); n != 1 {
		t.Errorf("told %d times without being asked", n)
	}
	w.use(build, "a")
	w.is(build.Name, image.Wanted, "")
	w.sync() // the old failure must not count
	w.is(build.Name, image.Pending, "")
}

// Somebody asks for the same image while its runner is told: that is known all
// the same, or the runner would be told again, and begin again if it has failed.
func TestARunnerIsToldOnce(t *testing.T) {
	w := newWorld(t)
	w.use(build, "a")
	w.a.On("EnsureImage", func(context.Context, string) error {
		w.use(build, "b")
		return nil
	})
	w.sync()
	if i := w.is(build.Name, image.Pending, ""); i.RunnerID != "a" {
		t.Errorf("made by %s", i.RunnerID)
	}
	w.a.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotFailed, Reason: "exit code 2"})
	w.sync()
	w.is(build.Name, image.Failed, "exit code 2")
	if n := w.a.Calls("EnsureImage") + w.b.Calls("EnsureImage"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestAnInterruptedRunnerIsToldAgain(t *testing.T) {
	w := newWorld(t)
	w.use(build, "a")
	w.sync()
	w.a.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotFailed, Reason: "restarted", Interrupted: true})
	w.sync()
	w.is(build.Name, image.Pending, "")
	if n := w.a.Calls("EnsureImage"); n != 2 {
		t.Errorf("told %d times, want 2", n)
	}
}

// TestARunnerThatIsLost: what it was to make, another one makes; but not at the
// first silence.
func TestARunnerThatIsLost(t *testing.T) {
	w := newWorld(t)
	w.use(build, "b")
	w.sync()
	w.b.On("Snapshots", func(context.Context, string) error { return errors.New("no route to host") })
	w.sync()
	if i := w.is(build.Name, image.Pending, ""); i.RunnerID != "b" {
		t.Errorf("given to %s at once", i.RunnerID)
	}
	w.offset.Add(int64(2 * time.Minute))
	w.sync()
	if i := w.is(build.Name, image.Pending, ""); i.RunnerID != "a" || w.a.Calls("EnsureImage") != 1 {
		t.Errorf("still with %s", i.RunnerID)
	}
}

// TestARunnerThatForgot: its record was lost before the image was made.
func TestARunnerThatForgot(t *testing.T) {
	w := newWorld(t)
	w.use(build, "a")
	w.sync()
	w.a.DropImage(build.Name)
	w.sync()
	if n := w.a.Calls("EnsureImage"); n != 2 {
		t.Errorf("told %d times, want 2", n)
	}
}

func TestARefusalIsFinal(t *testing.T) {
	w := newWorld(t)
	w.a.On("EnsureImage", func(context.Context, string) error { return fault.New(fault.Unavailable, "full") })
	w.use(build, "a")
	w.sync()
	w.is(build.Name, image.Wanted, "")
	w.a.On("EnsureImage", func(context.Context, string) error { return fault.New(fault.Invalid, "the Dockerfile is empty") })
	w.sync()
	w.is(build.Name, image.Failed, "the Dockerfile is empty")
	lost := image.BuildOf("o1", "FROM x", []string{"gone"})
	w.use(lost, "b")
	w.sync()
	w.is(lost.Name, image.Failed, "nothing was uploaded under gone")
}

func TestPhasesEnd(t *testing.T) {
	w := newWorld(t)
	w.use(build, "a")
	w.sync()
	w.a.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotBuilding})
	w.sync()
	w.offset.Add(int64(3 * time.Hour))
	w.sync()
	w.is(build.Name, image.Failed, "Timed out")
	if w.a.Calls("RemoveImage") == 0 {
		t.Error("the runner goes on")
	}
}

func TestWhatNobodyNeedsGoes(t *testing.T) {
	w := newWorld(t)
	w.a.SetSnapshot(runnerapi.Snapshot{Name: "daytona-slim", State: runnerapi.SnapshotReady})
	w.use(build, "a")
	w.sync()
	w.a.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotReady})
	w.sync()
	w.offset.Add(int64(23 * time.Hour))
	w.use(build, "a") // used again
	w.offset.Add(int64(23 * time.Hour))
	w.sync()
	w.is(build.Name, image.Ready, "")
	w.offset.Add(int64(2 * time.Hour))
	w.sync()
	if _, err := w.s.Get(t.Context(), build.Name); !fault.Is(err, fault.NotFound) {
		t.Errorf("row: %v", err)
	}
	list, err := w.a.Snapshots(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "daytona-slim" {
		t.Errorf("the runner holds %+v, %v", list, err)
	}
}

func TestExcess(t *testing.T) {
	layer := func(id string, bytes int64) runnerapi.Layer { return runnerapi.Layer{ID: id, SizeBytes: bytes} }
	held := []runnerapi.Snapshot{
		{Name: "operator's", Layers: []runnerapi.Layer{layer("base", 100)}},
		{Name: "old", Layers: []runnerapi.Layer{layer("base", 100), layer("x", 10)}},
		{Name: "same-as-old", Layers: []runnerapi.Layer{layer("base", 100), layer("x", 10)}},
		{Name: "renamed", Layers: []runnerapi.Layer{layer("base", 100)}},
		{Name: "new", Layers: []runnerapi.Layer{layer("y", 30)}},
	}
	spare := []string{"renamed", "elsewhere", "old", "same-as-old", "new"}
	for _, tt := range []struct {
		budget int64
		want   string
	}{
		{140, ""},                    // everything fits: a layer counts once
		{139, "old same-as-old"},     // both have what is freed
		{130, "old same-as-old"},     // which is enough
		{129, "old same-as-old new"}, // and now it is not
		{1, "old same-as-old new"},   // what stays has all of renamed
	} {
		if got := strings.Join(image.Excess(held, spare, tt.budget), " "); got != tt.want {
			t.Errorf("budget %d: %q goes, want %q", tt.budget, got, tt.want)
		}
	}
}

// TestBudget: what nobody needs goes before its time, the least recently used
// first, and only as much as has to.
func TestBudget(t *testing.T) {
	w := newWorld(t)
	w.s = image.New(image.Config{Store: w.db, Fleet: w.fleet, Log: slog.New(slog.DiscardHandler), Budget: 100,
		Now: func() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }})
	w.a.SetSnapshot(runnerapi.Snapshot{Name: "daytona-slim", State: runnerapi.SnapshotReady, Layers: []runnerapi.Layer{{ID: "slim", SizeBytes: 60}}})
	made := func(n string) image.Image {
		i := image.BuildOf("o1", "FROM "+n, nil)
		w.use(i, "a")
		w.sync()
		w.a.SetImage(runnerapi.Snapshot{Name: i.Name, State: runnerapi.SnapshotReady, Layers: []runnerapi.Layer{{ID: n, SizeBytes: 20}}})
		w.offset.Add(int64(time.Minute))
		w.sync()
		return w.is(i.Name, image.Ready, "")
	}
	first, second := made("first"), made("second")
	w.is(first.Name, image.Ready, "") // just within
	w.use(image.BuildOf("o1", "FROM first", nil), "a")
	w.offset.Add(int64(time.Minute))
	third := made("third").Name
	if _, err := w.s.Get(t.Context(), second.Name); !fault.Is(err, fault.NotFound) {
		t.Errorf("the least recently used one: %v", err)
	}
	w.is(first.Name, image.Ready, "")
	w.is(third, image.Ready, "")
	list, err := w.a.Snapshots(t.Context())
	if err != nil || len(list) != 3 {
		t.Errorf("the runner holds %+v, %v", list, err)
	}
}

// TestLog has two readers from before the image has a runner, and one after the
// end.
func TestLog(t *testing.T) {
	w := newWorld(t)
	w.use(build, "a")
	texts := make(chan string, 2)
	for range 2 {
		go func() {
			var out strings.Builder
			if err := w.s.Log(t.Context(), build.Name, "", true, &out); err != nil {
				t.Error(err)
			}
			texts <- out.String()
		}()
	}
	w.sync()
	w.a.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotBuilding})
	w.a.Print(build.Name, "first\n", false)
	w.sync()
	w.a.Print(build.Name, "second\n", true)
	for range 2 {
		if got := <-texts; got != "first\nsecond\n" {
			t.Errorf("log %q", got)
		}
	}
	w.a.SetImage(runnerapi.Snapshot{Name: build.Name, State: runnerapi.SnapshotReady})
	w.sync()
	var out strings.Builder
	if err := w.s.Log(t.Context(), build.Name, "b", true, &out); err != nil || out.String() != "first\nsecond\n" {
		t.Errorf("afterwards %q, %v", out.String(), err)
	}
	out.Reset()
	if err := w.s.Log(t.Context(), "unknown", "", true, &out); err != nil || out.Len() != 0 {
		t.Errorf("unknown %q, %v", out.String(), err)
	}
}
