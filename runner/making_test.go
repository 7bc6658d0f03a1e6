package runner_test

import (
	"context"
	"io"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/fakedriver"
	"daytona/runner/rootfs"
)

func pullSpec(name string) runnerapi.ImageSpec {
	return runnerapi.ImageSpec{Name: name, OrgID: "org", Pull: &runnerapi.Pull{Ref: "example.com/some/thing:1"}}
}

// state returns what the runner says of an image; "" when it does not know it.
func (w *world) image(name string) runnerapi.Snapshot {
	w.t.Helper()
	list, err := w.Snapshots(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range list {
		if s.Name == name {
			return s
		}
	}
	return runnerapi.Snapshot{}
}

func (w *world) awaitImage(name string, want runnerapi.SnapshotState) runnerapi.Snapshot {
	w.t.Helper()
	eventually(w.t, name+" becomes "+string(want), func() bool { return w.image(name).State == want })
	return w.image(name)
}

func TestPulledImageIsReady(t *testing.T) {
	w := newWorld(t, nil)
	events := w.Watch(t.Context())
	if err := w.EnsureImage(t.Context(), pullSpec("acme/thing:1")); err != nil {
		t.Fatal(err)
	}
	s := w.awaitImage("acme/thing:1", runnerapi.SnapshotReady)
	if strings.Join(s.Entrypoint, " ") != "sleep infinity" || !strings.HasPrefix(s.Digest, "sha256:") {
		t.Errorf("entrypoint %q, digest %q", s.Entrypoint, s.Digest)
	}
	if e := <-events; e.Snapshot != "acme/thing:1" || e.Sandbox.ID != "" {
		t.Errorf("event %+v", e)
	}
	w.create(spec(func(s *runnerapi.Spec) { s.Snapshot = "acme/thing:1" }))
	log, err := w.ImageLog(t.Context(), "acme/thing:1", true)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(log); err != nil || !strings.Contains(string(b), "resolving example.com/some/thing:1") {
		t.Errorf("log %q, %v", b, err)
	}
	// Again: nothing happens. Removed: nothing is left, and twice is no error.
	if err := w.EnsureImage(t.Context(), pullSpec("acme/thing:1")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.RemoveImage(t.Context(), "acme/thing:1"); err != nil {
			t.Fatal(err)
		}
	}
	if s := w.image("acme/thing:1"); s.Name != "" {
		t.Errorf("after the removal: %+v", s)
	}
	if _, err := w.ImageLog(t.Context(), "acme/thing:1", false); !fault.Is(err, fault.NotFound) {
		t.Errorf("log after the removal: %v", err)
	}
}

func TestImageSpecsAreChecked(t *testing.T) {
	w := newWorld(t, nil)
	for name, spec := range map[string]runnerapi.ImageSpec{
		"neither": {Name: "x"},
		"both":    {Name: "x", Pull: &runnerapi.Pull{Ref: "a:1"}, Build: &runnerapi.Build{Dockerfile: "FROM a"}},
		"name":    {Name: "../x", Pull: &runnerapi.Pull{Ref: "a:1"}},
		"ours":    {Name: "making/x", Pull: &runnerapi.Pull{Ref: "a:1"}},
		"ref":     {Name: "x", Pull: &runnerapi.Pull{Ref: "UPPER CASE"}},
		"builder": {Name: "x", Build: &runnerapi.Build{Dockerfile: "FROM a"}},
		"unknown": {Name: "x", Sandbox: "nobody"},
		"two":     {Name: "x", Sandbox: "nobody", Pull: &runnerapi.Pull{Ref: "a:1"}},
	} {
		if err := w.EnsureImage(t.Context(), spec); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFailedImageSaysWhyAndIsTriedAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.roots.Fail("Pull", fault.New(fault.Forbidden, "the registry refuses access"))
	if err := w.EnsureImage(t.Context(), pullSpec("x")); err != nil {
		t.Fatal(err)
	}
	s := w.awaitImage("x", runnerapi.SnapshotFailed)
	if s.Reason != "the registry refuses access" || s.Interrupted {
		t.Errorf("%+v", s)
	}
	if _, err := w.Create(t.Context(), spec(func(s *runnerapi.Spec) { s.Snapshot = "x" })); !fault.Is(err, fault.Unavailable) {
		t.Errorf("create from it: %v", err)
	}
	w.roots.Fail("Pull", nil)
	if err := w.EnsureImage(t.Context(), pullSpec("x")); err != nil {
		t.Fatal(err)
	}
	w.awaitImage("x", runnerapi.SnapshotReady)
}

func TestImageOfWhichNoSandboxStartsFails(t *testing.T) {
	w := newWorld(t, nil)
	w.driver.Fail("Start", fault.New(fault.Unprocessable, "no such program"))
	if err := w.EnsureImage(t.Context(), pullSpec("x")); err != nil {
		t.Fatal(err)
	}
	if s := w.awaitImage("x", runnerapi.SnapshotFailed); !strings.Contains(s.Reason, "could not be started") {
		t.Errorf("%+v", s)
	}
	imgs, err := w.roots.Images(t.Context())
	if err != nil || len(imgs) != 2 { // those of the world
		t.Errorf("images left: %v, %v", imgs, err)
	}
}

// slowBuilder builds when it is let.
type slowBuilder struct {
	begun, finish chan struct{}
	roots         *fakedriver.Roots
}

func (b slowBuilder) Prune() {}

func (b slowBuilder) Recover(context.Context) error { return nil }

func (b slowBuilder) Build(ctx context.Context, name string, spec runnerapi.ImageSpec, log io.Writer, _ func(string)) (rootfs.Image, error) {
	_, _ = io.WriteString(log, "step 1\n")
	b.begun <- struct{}{}
	select {
	case <-ctx.Done():
		return rootfs.Image{}, ctx.Err()
	case <-b.finish:
	}
	_, _ = io.WriteString(log, "step 2\n")
	return b.roots.Pull(ctx, name, spec.Build.Dockerfile, nil, func(string) {})
}

// builds makes a runner build with b, one image at a time.
func (b slowBuilder) builds(c *runner.Config) {
	b.roots = c.Roots.(*fakedriver.Roots)
	c.Builder, c.ImageJobs = b, 1
}

func TestBuildsWaitTheirTurnAndCanBeEnded(t *testing.T) {
	b := slowBuilder{begun: make(chan struct{}, 8), finish: make(chan struct{})}
	w := newWorld(t, b.builds)
	build := func(name, org string) {
		t.Helper()
		err := w.EnsureImage(t.Context(), runnerapi.ImageSpec{Name: name, OrgID: org, Build: &runnerapi.Build{Dockerfile: "FROM " + name}})
		if err != nil {
			t.Fatal(err)
		}
	}
	build("a1", "a")
	<-b.begun
	build("a2", "a")
	build("a3", "a")
	build("b1", "b")
	if s := w.image("a1"); s.State != runnerapi.SnapshotBuilding {
		t.Errorf("%+v", s)
	}
	for name, before := range map[string]int{"a2": 1, "b1": 2, "a3": 3} {
		if s := w.image(name); s.State != runnerapi.SnapshotPending || s.Waiting != before {
			t.Errorf("%+v; want %d before it", s, before)
		}
	}
	log, err := w.ImageLog(t.Context(), "a1", true)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	buf := make([]byte, 64)
	if n, err := log.Read(buf); err != nil || string(buf[:n]) != "step 1\n" {
		t.Errorf("log %q, %v", buf[:n], err)
	}
	if err := w.RemoveImage(t.Context(), "a1"); err != nil { // under way
		t.Fatal(err)
	}
	if err := w.RemoveImage(t.Context(), "a2"); err != nil { // waits
		t.Fatal(err)
	}
	if _, err := io.ReadAll(log); err != nil {
		t.Errorf("the reader of an ended build: %v", err)
	}
	close(b.finish)
	w.awaitImage("b1", runnerapi.SnapshotReady)
	w.awaitImage("a3", runnerapi.SnapshotReady)
	if w.image("a1").Name != "" || w.image("a2").Name != "" {
		t.Error("removed images are listed")
	}
}

func TestImagesGoOnAfterARestart(t *testing.T) {
	b := slowBuilder{begun: make(chan struct{}, 8), finish: make(chan struct{})}
	w := newWorld(t, b.builds)
	plain := runnerapi.ImageSpec{Name: "plain", OrgID: "a", Build: &runnerapi.Build{Dockerfile: "FROM x"}}
	secret := plain
	secret.Name, secret.Auths = "secret", []runnerapi.RegistryAuth{{Prefix: "x", Username: "u", Password: "hush"}}
	for _, s := range []runnerapi.ImageSpec{plain, secret} {
		if err := w.EnsureImage(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	<-b.begun
	w.close()
	close(b.finish)
	w = reopen(t, w.dir, b.builds)
	w.awaitImage("plain", runnerapi.SnapshotReady)
	if s := w.image("secret"); s.State != runnerapi.SnapshotFailed || !s.Interrupted {
		t.Errorf("%+v", s)
	}
	if err := w.EnsureImage(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.awaitImage("secret", runnerapi.SnapshotReady)
	log, err := w.ImageLog(t.Context(), "plain", false)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if out, err := io.ReadAll(log); err != nil || string(out) != "step 1\nstep 2\n" {
		t.Errorf("log %q, %v", out, err)
	}
}

// TestStartWithoutTheImage: what a sandbox was made of may be removed while it
// is stopped; it starts as before.
func TestStartWithoutTheImage(t *testing.T) {
	w := newWorld(t, nil)
	w.roots.SetImage(rootfs.Image{Name: "gone:1", Digest: "sha256:gone", Config: ocispec.ImageConfig{
		User: "daytona", WorkingDir: "/home/daytona", Env: []string{"OF_THE_IMAGE=kept"},
	}})
	sb := w.create(spec(func(s *runnerapi.Spec) { s.Snapshot = "gone:1" }))
	if _, err := w.Stop(t.Context(), sb.ID, false); err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveImage(t.Context(), "gone:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Start(t.Context(), sb.ID); err != nil {
		t.Fatal(err)
	}
	if code, out := w.run(sb.ID, "echo $OF_THE_IMAGE"); code != 0 || out != "kept" {
		t.Errorf("after the start: %d %q", code, out)
	}
}
