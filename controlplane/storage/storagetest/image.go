package storagetest

import (
	"slices"
	"strings"
	"testing"

	"daytona/controlplane/image"
	"daytona/controlplane/org"
	"daytona/controlplane/registry"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/snapshot"
	"daytona/controlplane/upload"
	"daytona/internal/fault"
)

func pull(name string) image.Image {
	return image.Image{Name: name, OrgID: "o1", Ref: "debian:12", Entrypoint: []string{"sleep"}, State: image.Wanted, RunnerID: "r1", CreatedAt: epoch, StateSince: epoch}
}

func images(t *testing.T, w *world) {
	i := pull("a")
	i.Digest = "sha256:0"
	got, err := w.DeclareImage(w.ctx, i)
	w.must(err)
	i.Version = 1
	w.same("declared", got, i)

	ready := got
	ready.State, ready.SizeBytes, ready.FoundEntrypoint, ready.Isolation = image.Ready, 7e8, []string{"a"}, "gvisor"
	ready.RunnerID, ready.StateSince, ready.Progress, ready.Waiting, ready.Digest = "r2", at(1), "almost", 3, "sha256:1"
	moved, err := w.MoveImage(w.ctx, ready)
	w.must(err)
	ready.Version = 2
	w.same("moved", moved, ready)
	_, err = w.MoveImage(w.ctx, got)
	w.wantKind(err, fault.Conflict)

	used := pull("a")
	used.RunnerID, used.UsedAt, used.Digest = "r9", ptr(at(5)), "sha256:2" // which it keeps its own of
	again, err := w.DeclareImage(w.ctx, used)
	w.must(err)
	ready.UsedAt, ready.Version = ptr(at(5)), 3
	w.same("one that is there stays, and its use is noted", again, ready)
	used.UsedAt = ptr(at(4))
	again, err = w.DeclareImage(w.ctx, used)
	w.must(err)
	w.same("uses only move forward", again.UsedAt, ptr(at(5)))

	failed := again
	failed.State, failed.Reason = image.Failed, "no disk"
	_, err = w.MoveImage(w.ctx, failed)
	w.must(err)
	used.StateSince = at(9)
	again, err = w.DeclareImage(w.ctx, used)
	w.must(err)
	if again.State != image.Wanted || again.Reason != "" || again.RunnerID != "r9" || !again.StateSince.Equal(at(9)) {
		t.Errorf("one that failed is wanted again: %+v", again)
	}
	_, err = w.Image(w.ctx, "nope")
	w.wantKind(err, fault.NotFound)
	list, err := w.Images(w.ctx)
	w.must(err)
	w.same("list", list, []image.Image{again})
}

func unusedImages(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	for _, name := range []string{"idle", "recent", "long-ago", "snapshot", "inactive", "failed", "making", "made", "captured", "nobody's"} {
		i := pull(name)
		switch name {
		case "captured", "nobody's":
			i.Ref, i.Sandbox = "", "some sandbox"
		case "recent":
			i.UsedAt = ptr(at(10))
		case "long-ago":
			i.UsedAt = ptr(at(2))
		}
		_, err := w.DeclareImage(w.ctx, i)
		w.must(err)
	}
	for name, state := range map[string]snapshot.State{"snapshot": snapshot.Active, "inactive": snapshot.Inactive, "captured": snapshot.Inactive, "failed": snapshot.Failed} {
		s := snap(o, name)
		s.Image, s.State = name, state
		_, err := w.EnsureSnapshot(w.ctx, s)
		w.must(err)
	}
	for name, state := range map[string]sandbox.State{"making": sandbox.PendingBuild, "made": sandbox.Stopped} {
		sb := row(o, name)
		sb.Image, sb.State = name, state
		_, _, err := w.CreateSandbox(w.ctx, sb, nil, nil)
		w.must(err)
	}
	list, err := w.UnusedImages(w.ctx, at(5))
	w.must(err)
	got := map[string]bool{}
	for _, i := range list {
		got[i.Name] = true
	}
	w.same("unused", got, map[string]bool{"idle": true, "long-ago": true, "inactive": true, "made": true, "nobody's": true})

	list2, err := w.SpareImages(w.ctx, at(11))
	w.must(err)
	var names []string
	for _, i := range list2 {
		names = append(names, i.Name)
	}
	slices.Sort(names[:3]) // never used: in any order before those that were
	w.same("spare", names, []string{"idle", "inactive", "nobody's", "long-ago", "recent"})

	// Between the look and the removal somebody may need it.
	stale := list[0]
	_, err = w.DeclareImage(w.ctx, pull(stale.Name))
	w.must(err)
	w.wantKind(w.DeleteImage(w.ctx, stale, at(5)), fault.Conflict)
	s, err := w.Image(w.ctx, "snapshot")
	w.must(err)
	w.wantKind(w.DeleteImage(w.ctx, s, at(5)), fault.Conflict)
	w.must(w.DeleteImage(w.ctx, list[1], at(5)))
	_, err = w.Image(w.ctx, list[1].Name)
	w.wantKind(err, fault.NotFound)
}

// settleReady is what a service does: the snapshot follows its image.
func settleReady(s snapshot.Snapshot, i image.Image) snapshot.Snapshot {
	s.State = snapshot.Pending
	if i.State == image.Ready {
		s.State = snapshot.Active
	}
	return s
}

func createdSnapshots(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	admit := func(_ org.Organization, used org.Usage) error {
		if used.Snapshots >= 2 {
			return fault.New(fault.Invalid, "enough")
		}
		return nil
	}
	s := snap(o, "first")
	got, err := w.CreateSnapshot(w.ctx, s, pull("one"), admit, settleReady)
	w.must(err)
	s.State = snapshot.Pending
	w.same("created", got, s)
	_, err = w.Image(w.ctx, "one")
	w.must(err)

	_, err = w.CreateSnapshot(w.ctx, snap(o, "first"), pull("other"), admit, settleReady)
	w.wantKind(err, fault.Conflict)
	_, err = w.Image(w.ctx, "other")
	w.wantKind(err, fault.NotFound) // nothing of a refused request stays

	i, err := w.Image(w.ctx, "one")
	w.must(err)
	i.State = image.Ready
	_, err = w.MoveImage(w.ctx, i)
	w.must(err)
	got, err = w.CreateSnapshot(w.ctx, snap(o, "second"), pull("one"), admit, settleReady)
	w.must(err)
	w.same("one whose image is there", got.State, snapshot.Active)
	_, err = w.CreateSnapshot(w.ctx, snap(o, "third"), pull("one"), admit, settleReady)
	w.wantKind(err, fault.Invalid)

	off := got
	off.State = snapshot.Inactive
	w.must(w.MoveSnapshot(w.ctx, off, snapshot.Active))
	on, err := w.ActivateSnapshot(w.ctx, off, pull("one"), admit, settleReady)
	w.must(err)
	w.same("activated", on.State, snapshot.Active)
	_, err = w.ActivateSnapshot(w.ctx, off, pull("one"), func(org.Organization, org.Usage) error { return nil }, settleReady)
	w.wantKind(err, fault.Conflict) // it is no longer inactive

	seen, err := w.SetGeneral(w.ctx, got.ID, true, at(3))
	w.must(err)
	if !seen.General || !seen.UpdatedAt.Equal(at(3)) {
		t.Errorf("general: %+v", seen)
	}
	_, err = w.FindSnapshot(w.ctx, "another", "second")
	w.must(err)
	pending, err := w.SnapshotsIn(w.ctx, snapshot.Pending, snapshot.Building)
	w.must(err)
	w.same("on their way", pending, []snapshot.Snapshot{s})
	w.must(w.DeleteSnapshot(w.ctx, s.ID))
	w.wantKind(w.DeleteSnapshot(w.ctx, s.ID), fault.NotFound)
	_, err = w.Snapshot(w.ctx, s.ID)
	w.wantKind(err, fault.NotFound)
}

func racingSnapshots(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	const many, places = 12, 3
	errs := make(chan error, many)
	for n := range many {
		go func() {
			s := snap(o, string(rune('a'+n)))
			_, err := w.CreateSnapshot(w.ctx, s, pull("shared"), func(_ org.Organization, used org.Usage) error {
				if used.Snapshots >= places {
					return fault.New(fault.Invalid, "enough")
				}
				return nil
			}, settleReady)
			errs <- err
		}()
	}
	made := 0
	for range many {
		if err := <-errs; err == nil {
			made++
		} else {
			w.wantKind(err, fault.Invalid)
		}
	}
	if made != places {
		t.Errorf("%d snapshots in %d places", made, places)
	}
}

func deactivated(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota()) // 20160 minutes
	for name, change := range map[string]func(*snapshot.Snapshot){
		"unused":          func(*snapshot.Snapshot) {},
		"used":            func(s *snapshot.Snapshot) { s.LastUsedAt = ptr(at(15000)) },
		"activated later": func(s *snapshot.Snapshot) { s.UpdatedAt = at(15000) },
		"general":         func(s *snapshot.Snapshot) { s.General = true },
		"building":        func(s *snapshot.Snapshot) { s.State = snapshot.Building },
	} {
		s := snap(o, name)
		s.State = snapshot.Active
		change(&s)
		_, err := w.EnsureSnapshot(w.ctx, s)
		w.must(err)
	}
	n, err := w.DeactivateUnused(w.ctx, at(20160))
	w.must(err)
	w.same("at the limit", n, 0)
	n, err = w.DeactivateUnused(w.ctx, at(20161))
	w.must(err)
	off, err := w.SnapshotsIn(w.ctx, snapshot.Inactive)
	w.must(err)
	if n != 1 || len(off) != 1 || off[0].Name != "unused" {
		t.Errorf("%d deactivated: %+v", n, off)
	}
}

func registries(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	make := func(id, orgID string, minutes int) registry.Registry {
		return registry.Registry{
			ID: id, OrgID: orgID, Name: "n", URL: "docker.io", Username: "me", Secret: "sealed", Project: "p",
			Type: registry.Organization, CreatedAt: at(minutes), UpdatedAt: at(minutes),
		}
	}
	a, b, server := make("a", o, 1), make("b", o, 2), make("s", "", 3)
	a.Default = true
	for _, g := range []registry.Registry{a, b, server} {
		w.must(w.CreateRegistry(w.ctx, g, 2))
	}
	w.wantKind(w.CreateRegistry(w.ctx, make("c", o, 4), 2), fault.Forbidden)
	list, err := w.Registries(w.ctx, o)
	w.must(err)
	w.same("newest first", list, []registry.Registry{b, a})
	list, err = w.Registries(w.ctx, "")
	w.must(err)
	w.same("the server's", list, []registry.Registry{server})

	b.Default, b.UpdatedAt = true, at(9)
	w.must(w.SetDefaultRegistry(w.ctx, b))
	a.Default = false
	b.Name, b.URL, b.Username, b.Secret, b.Project, b.UpdatedAt = "m", "ghcr.io", "you", "new", "q", at(10)
	w.must(w.UpdateRegistry(w.ctx, b))
	w.must(w.Reseal(w.ctx, "a", "not what it is", "x"))
	w.must(w.Reseal(w.ctx, "a", "sealed", "resealed"))
	a.Secret = "resealed"
	all, err := w.AllRegistries(w.ctx)
	w.must(err)
	w.same("all", all, []registry.Registry{a, b, server})
	w.wantKind(w.SetDefaultRegistry(w.ctx, make("nope", o, 1)), fault.NotFound)
	w.wantKind(w.UpdateRegistry(w.ctx, make("nope", o, 1)), fault.NotFound)
	for range 2 {
		w.must(w.DeleteRegistry(w.ctx, "a"))
	}
	_, err = w.Registry(w.ctx, "a")
	w.wantKind(err, fault.NotFound)
}

func uploadsInUse(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	built := image.Image{Name: "built", OrgID: "o1", Dockerfile: "FROM x", Contexts: []string{"h1", "h2"}, State: image.Wanted, CreatedAt: epoch, StateSince: epoch}
	for _, i := range []image.Image{pull("pulled"), built} {
		_, err := w.DeclareImage(w.ctx, i)
		w.must(err)
	}
	of, off := snap(o, "of"), snap(o, "off")
	of.ImageName, of.Digest = "h/p:1", "sha256:1"
	off.State, off.ImageName, off.Build = snapshot.Inactive, "", &snapshot.BuildInfo{Dockerfile: "FROM y", Contexts: []string{"h3"}}
	for _, s := range []snapshot.Snapshot{of, off} {
		_, err := w.EnsureSnapshot(w.ctx, s)
		w.must(err)
	}
	uses, err := w.UploadsInUse(w.ctx)
	w.must(err)
	slices.SortFunc(uses, func(a, b upload.Use) int { return strings.Compare(a.Text, b.Text) })
	w.same("in use", uses, []upload.Use{
		{OrgID: "o1", Contexts: []string{"h1", "h2"}, Text: "FROM x"}, {OrgID: o, Contexts: []string{"h3"}, Text: "FROM y"},
		{OrgID: "o1", Text: "debian:12"}, {OrgID: o, Text: "h/p:1@sha256:1"},
	})
}
