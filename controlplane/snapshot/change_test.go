package snapshot_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/fleet"
	"daytona/controlplane/fleet/fleettest"
	"daytona/controlplane/image"
	"daytona/controlplane/org"
	"daytona/controlplane/snapshot"
	"daytona/controlplane/storage"
	"daytona/internal/fault"
)

type world struct {
	*testing.T
	ctx    context.Context
	db     *storage.DB
	s      *snapshot.Service
	runner *fleettest.Runner
	by     snapshot.By
}

func newWorld(t *testing.T) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "d.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := &world{T: t, ctx: t.Context(), db: db, runner: fleettest.New("r1", "daytona-slim")}
	f := fleet.New()
	w.must(f.Add(w.ctx, "us", w.runner))
	_, err = auth.New(auth.Config{Store: db, Log: log}).Bootstrap(w.ctx, func() (string, error) { return auth.NewValue(), nil })
	w.must(err)
	o, err := db.PersonalOrganization(w.ctx, auth.AdminID)
	w.must(err)
	w.by = snapshot.By{OrgID: o.ID}
	images := image.New(image.Config{Store: db, Fleet: f, Log: log})
	w.s = snapshot.New(snapshot.Config{Store: db, Fleet: f, Images: images, Regions: fleet.NewRegions(db, "us", "us"), Log: log})
	w.must(w.s.Bootstrap(w.ctx))
	w.sync()
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) wants(err error, kind fault.Kind, text string) {
	w.Helper()
	if !fault.Is(err, kind) || !strings.Contains(err.Error(), text) {
		w.Errorf("got error %v, want %s: %s", err, kind, text)
	}
}

func (w *world) sync() {
	w.Helper()
	_, err := w.s.Sync(w.ctx, time.Now())
	w.must(err)
}

func (w *world) pull(name string) snapshot.Snapshot {
	w.Helper()
	sn, err := w.s.Create(w.ctx, w.by, snapshot.CreateRequest{Name: name, ImageName: ptr("debian:12.11")})
	w.must(err)
	return sn
}

func (w *world) build(name, dockerfile string) snapshot.Snapshot {
	w.Helper()
	sn, err := w.s.Create(w.ctx, w.by, snapshot.CreateRequest{Name: name, Build: &snapshot.BuildRequest{Dockerfile: dockerfile}})
	w.must(err)
	return sn
}

// becomes has the runner report something about a snapshot's image.
func (w *world) becomes(sn snapshot.Snapshot, seen runnerapi.Snapshot) snapshot.Snapshot {
	w.Helper()
	w.sync()
	seen.Name = sn.Image
	w.runner.SetImage(seen)
	w.sync()
	return w.get(sn.ID)
}

func (w *world) get(idOrName string) snapshot.Snapshot {
	w.Helper()
	sn, err := w.s.Get(w.ctx, w.by.OrgID, idOrName)
	w.must(err)
	return sn
}

func (w *world) holds(name string) bool {
	w.Helper()
	list, err := w.runner.Snapshots(w.ctx)
	w.must(err)
	for _, sn := range list {
		if sn.Name == name {
			return true
		}
	}
	return false
}

func ptr[T any](v T) *T { return &v }

var ready = runnerapi.Snapshot{State: runnerapi.SnapshotReady, SizeBytes: 2e9, Entrypoint: []string{"sleep", "infinity"}}

func TestAnImageIsPulled(t *testing.T) {
	w := newWorld(t)
	sn := w.pull("tools")
	if sn.State != snapshot.Pending || sn.ImageName != "debian:12.11" || sn.General {
		t.Errorf("created %+v", sn)
	}
	if got := w.becomes(sn, runnerapi.Snapshot{State: runnerapi.SnapshotPulling, Progress: "layer 1 of 2"}); got.State != snapshot.Pulling || got.Progress == "" {
		t.Errorf("while it is pulled: %+v", got)
	}
	got := w.becomes(sn, ready)
	if got.State != snapshot.Active || *got.SizeGB() != 2 || got.Entrypoint[1] != "infinity" {
		t.Errorf("ready: %+v", got)
	}
	if spec, _ := w.runner.ImageSpec(sn.Image); spec.Pull.Ref != "debian:12.11" {
		t.Errorf("the runner was told %+v", spec)
	}
	failed := w.becomes(w.pull("other"), runnerapi.Snapshot{State: runnerapi.SnapshotFailed, Reason: "denied: wrong password"})
	if failed.State != snapshot.Failed || *failed.ErrorReason != "denied: wrong password" {
		t.Errorf("failed: %+v", failed)
	}
	_, err := w.s.Resolve(w.ctx, w.by.OrgID, "other")
	w.wants(err, fault.Invalid, "denied: wrong password")
	_, err = w.s.Get(w.ctx, "another organization", sn.ID)
	w.wants(err, fault.NotFound, sn.ID)
}

func TestADockerfileIsBuiltOnce(t *testing.T) {
	w := newWorld(t)
	first := w.build("first", "FROM x")
	if first.State != snapshot.Building { // clients follow the log in this state alone
		t.Errorf("created in state %s", first.State)
	}
	if got := w.becomes(first, runnerapi.Snapshot{State: runnerapi.SnapshotPulling}); got.State != snapshot.Building {
		t.Errorf("while its base is pulled: %s", got.State)
	}
	w.becomes(first, ready)
	second := w.build("second", "FROM x")
	if second.State != snapshot.Active || second.Image != first.Image || second.SizeBytes == nil {
		t.Errorf("the same definition: %+v", second)
	}
	bad := w.becomes(w.build("bad", "FROM y"), runnerapi.Snapshot{State: runnerapi.SnapshotFailed, Reason: "exit code 1"})
	if bad.State != snapshot.BuildFailed || *bad.ErrorReason != "exit code 1" {
		t.Errorf("failed build: %+v", bad)
	}
	again := w.build("again", "FROM y") // is tried anew
	if again.State != snapshot.Building || w.becomes(again, ready).State != snapshot.Active || w.get(bad.ID).State != snapshot.BuildFailed {
		t.Errorf("tried again: %+v", again)
	}
}

func TestASnapshotMayBeTooLarge(t *testing.T) {
	w := newWorld(t)
	got := w.becomes(w.pull("huge"), runnerapi.Snapshot{State: runnerapi.SnapshotReady, SizeBytes: 21e9})
	if got.State != snapshot.Failed || !strings.Contains(*got.ErrorReason, "21.00 GB") || !strings.Contains(*got.ErrorReason, "20 GB") {
		t.Errorf("%s: %v", got.State, *got.ErrorReason)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	one, two := w.build("one", "FROM x"), w.build("two", "FROM x")
	w.becomes(one, ready)
	w.must(w.s.Delete(w.ctx, w.by, "one"))
	w.sync()
	if !w.holds(two.Image) {
		t.Error("the image is gone although another snapshot needs it")
	}
	w.must(w.s.Delete(w.ctx, w.by, two.ID))
	w.sync()
	if w.holds(two.Image) {
		t.Error("the image stays although nobody needs it")
	}
	w.wants(w.s.Delete(w.ctx, w.by, "one"), fault.NotFound, "one")
	w.build("one", "FROM x") // the name is free
	pulling := w.pull("pulling")
	w.sync()
	w.must(w.s.Delete(w.ctx, w.by, pulling.ID)) // in the middle of it
	w.sync()
	if w.holds(pulling.Image) {
		t.Error("the work goes on")
	}
}

func TestDeactivateAndActivate(t *testing.T) {
	w := newWorld(t)
	sn := w.pull("tools")
	w.wants(w.s.Deactivate(w.ctx, w.by, sn.ID), fault.Invalid, "only an active one")
	w.becomes(sn, ready)
	_, err := w.s.Activate(w.ctx, w.by, sn.ID)
	w.wants(err, fault.Invalid, "already active")
	for range 2 {
		w.must(w.s.Deactivate(w.ctx, w.by, sn.ID))
	}
	w.sync()
	if w.get(sn.ID).State != snapshot.Inactive || w.holds(sn.Image) {
		t.Errorf("deactivated: %+v", w.get(sn.ID))
	}
	_, err = w.s.Resolve(w.ctx, w.by.OrgID, "tools")
	w.wants(err, fault.Invalid, "Activate it first")
	on, err := w.s.Activate(w.ctx, w.by, sn.ID)
	w.must(err)
	if on.State != snapshot.Pending {
		t.Errorf("activated: %s", on.State)
	}
	if got := w.becomes(sn, ready); got.State != snapshot.Active {
		t.Errorf("activated and pulled: %s", got.State)
	}
	_, err = w.s.Activate(w.ctx, w.by, "nope")
	w.wants(err, fault.NotFound, "nope")
}

// A tag that moves does not change a snapshot: what it stood for at first is what
// is pulled again.
func TestASnapshotKeepsItsContent(t *testing.T) {
	w := newWorld(t)
	sn := w.pull("tools")
	seen := ready
	seen.Digest = "sha256:" + strings.Repeat("a", 64)
	if got := w.becomes(sn, seen); got.State != snapshot.Active || got.Digest != seen.Digest {
		t.Fatalf("%+v", got)
	}
	for range 2 {
		w.must(w.s.Deactivate(w.ctx, w.by, sn.ID))
		w.sync()
		if w.holds(sn.Image) {
			t.Fatal("its image is still there")
		}
		_, err := w.s.Activate(w.ctx, w.by, sn.ID)
		w.must(err)
		w.sync()
		spec, _ := w.runner.ImageSpec(sn.Image)
		if want := "debian:12.11@" + seen.Digest; spec.Pull.Ref != want {
			t.Errorf("the runner is told to pull %s, want %s", spec.Pull.Ref, want)
		}
		if got := w.becomes(sn, seen); got.State != snapshot.Active || got.ImageName != "debian:12.11" {
			t.Errorf("%+v", got)
		}
	}
	// A new one is of what the tag stands for now.
	other := w.pull("other")
	w.sync()
	if spec, _ := w.runner.ImageSpec(other.Image); spec.Pull.Ref != "debian:12.11" {
		t.Errorf("another snapshot: %s", spec.Pull.Ref)
	}
}

func TestGeneral(t *testing.T) {
	w := newWorld(t)
	admin := snapshot.By{OrgID: w.by.OrgID, Admin: true}
	_, err := w.s.Create(w.ctx, w.by, snapshot.CreateRequest{Name: "mine", ImageName: ptr("a:1"), General: ptr(true)})
	w.wants(err, fault.Forbidden, "administrators")
	sn := w.pull("tools")
	_, err = w.s.SetGeneral(w.ctx, w.by, sn.ID, true)
	w.wants(err, fault.Forbidden, "administrators")
	elsewhere := snapshot.By{OrgID: "elsewhere", Admin: true} // an administrator needs not be a member
	got, err := w.s.SetGeneral(w.ctx, elsewhere, sn.ID, true)
	w.must(err)
	if !got.General {
		t.Error("not general")
	}
	w.wants(w.s.Delete(w.ctx, w.by, sn.ID), fault.Forbidden, "general")
	w.wants(w.s.Delete(w.ctx, snapshot.By{OrgID: "elsewhere"}, sn.ID), fault.Forbidden, "general")
	w.wants(w.s.Deactivate(w.ctx, w.by, sn.ID), fault.Forbidden, "general")
	w.wants(w.s.Delete(w.ctx, admin, "daytona-slim"), fault.Forbidden, "--snapshots")
	w.must(w.s.Delete(w.ctx, admin, sn.ID))
}

func TestQuotaOfSnapshots(t *testing.T) {
	w := newWorld(t)
	q := org.DefaultQuota()
	q.Snapshots, q.MaxCPU = 1, 2
	w.must(w.setQuota(w.by.OrgID, q))
	_, err := w.s.Create(w.ctx, w.by, snapshot.CreateRequest{Name: "big", ImageName: ptr("a:1"), CPU: ptr(3)})
	w.wants(err, fault.Invalid, "CPU request 3 exceeds maximum")
	w.pull("one")
	_, err = w.s.Create(w.ctx, w.by, snapshot.CreateRequest{Name: "two", ImageName: ptr("a:1")})
	w.wants(err, fault.Invalid, "Total snapshot limit exceeded. Maximum allowed: 1")
	w.must(w.db.SetSuspension(w.ctx, w.by.OrgID, &org.Suspension{At: time.Now(), Reason: "unpaid"}, nil, time.Now()))
	_, err = w.s.Create(w.ctx, w.by, snapshot.CreateRequest{Name: "three", ImageName: ptr("a:1")})
	w.wants(err, fault.Forbidden, "Organization is suspended: unpaid")
	_, err = w.s.Create(w.ctx, w.by, snapshot.CreateRequest{Name: "one", ImageName: ptr("a:1"), Region: ptr("moon")})
	w.wants(err, fault.Invalid, "moon")
}

func TestNamesAreTakenOnce(t *testing.T) {
	w := newWorld(t)
	w.pull("tools")
	_, err := w.s.Create(w.ctx, w.by, snapshot.CreateRequest{Name: "tools", ImageName: ptr("a:1")})
	w.wants(err, fault.Conflict, "tools already exists")
}

func TestValidate(t *testing.T) {
	ok := func(change func(*snapshot.CreateRequest)) snapshot.CreateRequest {
		r := snapshot.CreateRequest{Name: "n", ImageName: ptr("debian:12.11")}
		change(&r)
		return r
	}
	built := func(b snapshot.BuildRequest) snapshot.CreateRequest {
		return ok(func(r *snapshot.CreateRequest) { r.ImageName, r.Build = nil, &b })
	}
	for _, c := range []struct {
		name string
		r    snapshot.CreateRequest
		want string // "" is valid
	}{
		{"plain", ok(func(*snapshot.CreateRequest) {}), ""},
		{"name with everything", ok(func(r *snapshot.CreateRequest) { r.Name = "a/B-1_2.3:x" }), ""},
		{"no name", ok(func(r *snapshot.CreateRequest) { r.Name = "" }), "name: must not be empty"},
		{"name with a space", ok(func(r *snapshot.CreateRequest) { r.Name = "a b" }), "name: must consist of"},
		{"name with HTML", ok(func(r *snapshot.CreateRequest) { r.Name = "<b>" }), "name: must consist of"},
		{"name that climbs", ok(func(r *snapshot.CreateRequest) { r.Name = "../x" }), "name: must have something other than dots"},
		{"long name", ok(func(r *snapshot.CreateRequest) { r.Name = strings.Repeat("a", 256) }), "name: must have at most 255"},
		{"neither image nor build", ok(func(r *snapshot.CreateRequest) { r.ImageName = nil }), "give an image"},
		{"both", ok(func(r *snapshot.CreateRequest) { r.Build = &snapshot.BuildRequest{Dockerfile: "FROM x"} }), "cannot be given together with buildInfo"},
		{"no tag", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("debian") }), "has no tag, and what it stands for would change. Write the version, as in debian:1.2.3"},
		{"a port is no tag", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("localhost:5000/x") }), "has no tag"},
		{"latest", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("ghcr.io/acme/tools:latest") }), `tag "latest" is not allowed, because what it stands for changes. Write the version, as in ghcr.io/acme/tools:1.2.3`},
		{"LTS", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("node:LTS") }), `tag "LTS" is not allowed`},
		{"stable", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("debian:stable") }), `tag "stable" is not allowed`},
		{"stable-slim is a tag of its own", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("debian:stable-slim") }), ""},
		{"a digest", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("debian@sha256:" + strings.Repeat("0", 64)) }), ""},
		{"a digest after a moving tag", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("debian:latest@sha256:" + strings.Repeat("0", 64)) }), ""},
		{"a private registry", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("reg.example:5000/team/x:1") }), ""},
		{"no reference", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("Debian:12") }), "is not the name of an image"},
		{"a URL", ok(func(r *snapshot.CreateRequest) { r.ImageName = ptr("https://x/y:1") }), "is not the name of an image"},
		{"entrypoint", ok(func(r *snapshot.CreateRequest) { r.Entrypoint = []string{"sleep", "1"} }), ""},
		{"entrypoint without a program", ok(func(r *snapshot.CreateRequest) { r.Entrypoint = []string{" "} }), "entrypoint: must begin with a program"},
		{"entrypoint with NUL", ok(func(r *snapshot.CreateRequest) { r.Entrypoint = []string{"a\x00"} }), "entrypoint: must be text"},
		{"resources", ok(func(r *snapshot.CreateRequest) { r.CPU, r.Memory, r.Disk, r.GPU = ptr(2), ptr(4), ptr(0), ptr(0) }), ""},
		{"negative memory", ok(func(r *snapshot.CreateRequest) { r.Memory = ptr(-1) }), "memory: must be a positive integer"},
		{"gpu", ok(func(r *snapshot.CreateRequest) { r.GPU = ptr(1) }), "gpu: must be 0"},
		{"virtual machine", ok(func(r *snapshot.CreateRequest) { r.SandboxClass = ptr("linux-vm") }), "sandboxClass: must be container"},
		{"build", built(snapshot.BuildRequest{Dockerfile: "FROM x", Contexts: []string{"d41d8cd98f00b204e9800998ecf8427e"}}), ""},
		{"empty Dockerfile", built(snapshot.BuildRequest{Dockerfile: " \n"}), "buildInfo.dockerfileContent: must not be empty"},
		{"hash that climbs", built(snapshot.BuildRequest{Dockerfile: "FROM x", Contexts: []string{"../../o2/h"}}), "is not the hash of a context"},
		{"hash that is dots", built(snapshot.BuildRequest{Dockerfile: "FROM x", Contexts: []string{".."}}), "is not the hash of a context"},
		{"two problems", ok(func(r *snapshot.CreateRequest) { r.Name, r.GPU = "", ptr(1) }), "name: must not be empty, gpu: must be 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.r.Validate()
			if c.want == "" && err != nil || c.want != "" && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	with := built(snapshot.BuildRequest{Dockerfile: "FROM x"})
	with.Entrypoint = []string{"x"}
	if _, err := with.Validate(); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "ENTRYPOINT line") {
		t.Errorf("entrypoint with a build: %v", err)
	}
}

// FuzzCheckImageName: whatever passes names one content, as far as a tag can.
func FuzzCheckImageName(f *testing.F) {
	for _, s := range []string{"debian:12", "a/b:latest", "x@sha256:" + strings.Repeat("a", 64), "localhost:5000/a:1", "a:b:c", "//", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := snapshot.CheckImageName(s); err == nil {
			if strings.ContainsAny(s, " \n\x00<>\"'") || !strings.ContainsAny(s, ":@") || strings.HasSuffix(s, ":latest") {
				t.Errorf("%q passes", s)
			}
		}
	})
}

func (w *world) setQuota(orgID string, q org.Quota) error {
	_, err := w.db.ChangeOrganization(w.ctx, orgID, time.Now(), func(o *org.Organization) { o.Quota = q })
	return err
}
