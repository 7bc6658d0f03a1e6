package storagetest

import (
	"testing"

	"github.com/google/uuid"

	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

func snap(orgID, name string) snapshot.Snapshot {
	return snapshot.Snapshot{
		ID: uuid.NewString(), OrgID: orgID, General: orgID == "", Name: name, ImageName: name, Image: "image-of-" + name, State: snapshot.Building,
		CPU: 1, MemoryGiB: 1, DiskGiB: 3, CreatedAt: epoch, UpdatedAt: epoch,
	}
}

func snapshots(t *testing.T, w *world) {
	slim := snap("", "slim")
	got, err := w.EnsureSnapshot(w.ctx, slim)
	w.must(err)
	w.same("new snapshot", got, slim)
	again := snap("", "slim")
	got, err = w.EnsureSnapshot(w.ctx, again)
	w.must(err)
	w.same("the one that there was", got, slim)

	ready := slim
	ready.State, ready.SizeBytes, ready.Entrypoint, ready.UpdatedAt = snapshot.Active, ptr[int64](5e9), []string{"sleep", "infinity"}, at(1)
	ready.Isolation, ready.Digest = "gvisor", "sha256:1"
	w.must(w.MoveSnapshot(w.ctx, ready, snapshot.Building))
	w.wantKind(w.MoveSnapshot(w.ctx, slim, snapshot.Building), fault.Conflict)
	w.must(w.TouchSnapshot(w.ctx, slim.ID, at(9)))
	w.must(w.TouchSnapshot(w.ctx, slim.ID, at(3)))
	ready.LastUsedAt = ptr(at(9))
	for _, by := range []string{slim.ID, "slim"} {
		got, err := w.FindSnapshot(w.ctx, "o1", by)
		w.must(err)
		w.same("found by "+by, got, ready)
	}

	mine := snap("o1", "slim")
	mine.Build = &snapshot.BuildInfo{Dockerfile: "FROM x", Contexts: []string{"h"}, CreatedAt: epoch, UpdatedAt: at(1)}
	own, err := w.EnsureSnapshot(w.ctx, mine)
	w.must(err)
	w.same("an own one", own, mine)
	got, err = w.FindSnapshot(w.ctx, "o1", "slim")
	w.must(err)
	w.same("the organization's own wins", got, own)
	got, err = w.FindSnapshot(w.ctx, "o2", "slim")
	w.must(err)
	w.same("another organization sees the general one", got, ready)
	_, err = w.FindSnapshot(w.ctx, "o2", own.ID)
	w.wantKind(err, fault.NotFound)

	general, err := w.GeneralSnapshots(w.ctx)
	w.must(err)
	w.same("general snapshots", general, []snapshot.Snapshot{ready})
	u, err := w.OrganizationUsage(w.ctx, "o1")
	w.must(err)
	if u[""].Snapshots != 1 {
		t.Errorf("%d snapshots used, want 1", u[""].Snapshots)
	}
}

func snapshotList(t *testing.T, w *world) {
	for i, s := range []struct {
		org, name string
		used      int
	}{{"", "general", 50}, {"o1", "b_1", 0}, {"o1", "B-2", 7}, {"o1", "a", 9}, {"o2", "foreign", 99}} {
		sn := snap(s.org, s.name)
		sn.CreatedAt = at(i)
		if s.used > 0 {
			sn.LastUsedAt = ptr(at(s.used))
		}
		if s.name == "a" {
			sn.State = snapshot.Active
		}
		_, err := w.EnsureSnapshot(w.ctx, sn)
		w.must(err)
	}
	for _, c := range []struct {
		name  string
		f     snapshot.Filter
		want  []string
		total int
	}{
		{"default order", snapshot.Filter{}, []string{"a", "B-2", "b_1", "general"}, 4},
		{"first page", snapshot.Filter{Page: 1, Limit: 3}, []string{"a", "B-2", "b_1"}, 4},
		{"second page", snapshot.Filter{Page: 2, Limit: 3}, []string{"general"}, 4},
		{"past the end", snapshot.Filter{Page: 9, Limit: 3}, nil, 4},
		{"name contains, in any case", snapshot.Filter{Name: "B"}, []string{"B-2", "b_1"}, 2},
		{"an underscore is no wildcard", snapshot.Filter{Name: "b_"}, []string{"b_1"}, 1},
		{"by name", snapshot.Filter{Sort: snapshot.ByName, Ascending: true}, []string{"B-2", "a", "b_1", "general"}, 4},
		{"by creation, newest first", snapshot.Filter{Sort: snapshot.ByCreatedAt}, []string{"a", "B-2", "b_1", "general"}, 4},
		{"by last use, never used last", snapshot.Filter{Sort: snapshot.ByLastUsedAt}, []string{"general", "a", "B-2", "b_1"}, 4},
		{"by state", snapshot.Filter{Sort: snapshot.ByState, Ascending: true}, []string{"a", "B-2", "b_1", "general"}, 4},
	} {
		p, err := w.ListSnapshots(w.ctx, "o1", c.f)
		w.must(err)
		var got []string
		for _, s := range p.Items {
			got = append(got, s.Name)
		}
		w.same(c.name, got, c.want)
		if p.Total != c.total {
			t.Errorf("%s: total %d, want %d", c.name, p.Total, c.total)
		}
	}
}
