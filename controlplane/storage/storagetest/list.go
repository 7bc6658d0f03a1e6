package storagetest

import (
	"fmt"
	"slices"
	"testing"

	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

func names(p sandbox.Page) []string {
	out := []string{}
	for _, s := range p.Items {
		out = append(out, s.Name)
	}
	return out
}

func listFilters(t *testing.T, w *world) {
	o, other := w.org("u", org.DefaultQuota()), w.org("u2", org.DefaultQuota())
	add := func(name string, change func(*sandbox.Sandbox)) sandbox.Sandbox {
		sb := row(o, name)
		change(&sb)
		return w.put(sb)
	}
	alpha := add("Alpha_1", func(s *sandbox.Sandbox) {
		s.Labels, s.CPU, s.Public, s.CreatedAt = map[string]string{"team": "a", "x": "1"}, 2, true, at(1)
		s.State = sandbox.Started
	})
	add("alphaX1", func(s *sandbox.Sandbox) {
		s.Labels, s.MemoryGiB, s.Snapshot, s.LastActivityAt = map[string]string{"team": "a"}, 4, "big", at(9)
		s.State, s.Desired = sandbox.Started, sandbox.Stopped
	})
	add("beta", func(s *sandbox.Sandbox) {
		s.Labels, s.DiskGiB, s.Target = map[string]string{`we"ird.key`: `v"al`}, 9, "eu"
		s.State, s.Recoverable = sandbox.Error, true
	})
	add("failed while going", func(s *sandbox.Sandbox) { s.State, s.Desired = sandbox.Error, sandbox.Destroyed })
	add("gone", func(s *sandbox.Sandbox) { s.State, s.Desired = sandbox.Destroyed, sandbox.Destroyed })
	w.put(row(other, "foreign"))

	for _, c := range []struct {
		name string
		f    sandbox.Filter
		want []string
	}{
		{"all", sandbox.Filter{}, []string{"Alpha_1", "alphaX1", "beta"}},
		{"with what failed while being deleted", sandbox.Filter{IncludeErroredDelete: true}, []string{"Alpha_1", "alphaX1", "beta", "failed while going"}},
		{"name prefix in any case", sandbox.Filter{Name: "ALPHA"}, []string{"Alpha_1", "alphaX1"}},
		{"an underscore is no wildcard", sandbox.Filter{Name: "alpha_"}, []string{"Alpha_1"}},
		{"id prefix", sandbox.Filter{ID: alpha.ID[:12]}, []string{"Alpha_1"}},
		{"label", sandbox.Filter{Labels: map[string]string{"team": "a"}}, []string{"Alpha_1", "alphaX1"}},
		{"labels, all of them", sandbox.Filter{Labels: map[string]string{"team": "a", "x": "1"}}, []string{"Alpha_1"}},
		{"label with another value", sandbox.Filter{Labels: map[string]string{"team": "b"}}, []string{}},
		{"label with odd characters", sandbox.Filter{Labels: map[string]string{`we"ird.key`: `v"al`}}, []string{"beta"}},
		{"shown state", sandbox.Filter{States: []sandbox.State{sandbox.Stopping}}, []string{"alphaX1"}},
		{"several states", sandbox.Filter{States: []sandbox.State{sandbox.Started, sandbox.Error}}, []string{"Alpha_1", "beta"}},
		{"destroyed ones never", sandbox.Filter{States: []sandbox.State{sandbox.Destroyed}}, []string{}},
		{"snapshot", sandbox.Filter{Snapshots: []string{"big", "other"}}, []string{"alphaX1"}},
		{"region", sandbox.Filter{Regions: []string{"eu"}}, []string{"beta"}},
		{"class", sandbox.Filter{Classes: []string{"container"}}, []string{"Alpha_1", "alphaX1", "beta"}},
		{"class that there is not", sandbox.Filter{Classes: []string{"windows"}}, []string{}},
		{"cpu from", sandbox.Filter{CPU: sandbox.IntRange{Min: ptr(2)}}, []string{"Alpha_1"}},
		{"memory up to", sandbox.Filter{MemoryGiB: sandbox.IntRange{Max: ptr(3)}}, []string{"Alpha_1", "beta"}},
		{"disk between, ends included", sandbox.Filter{DiskGiB: sandbox.IntRange{Min: ptr(9), Max: ptr(9)}}, []string{"beta"}},
		{"gpu", sandbox.Filter{GPU: sandbox.IntRange{Min: ptr(1)}}, []string{}},
		{"public", sandbox.Filter{Public: ptr(true)}, []string{"Alpha_1"}},
		{"private", sandbox.Filter{Public: ptr(false)}, []string{"alphaX1", "beta"}},
		{"recoverable", sandbox.Filter{Recoverable: ptr(true)}, []string{"beta"}},
		{"created after", sandbox.Filter{Created: sandbox.TimeRange{After: ptr(at(0))}}, []string{"Alpha_1"}},
		{"created before", sandbox.Filter{Created: sandbox.TimeRange{Before: ptr(at(1))}}, []string{"alphaX1", "beta"}},
		{"last event after", sandbox.Filter{LastEvent: sandbox.TimeRange{After: ptr(at(8))}}, []string{"alphaX1"}},
		{"lifetime", sandbox.Filter{AutoDestroyAt: sandbox.TimeRange{After: ptr(at(0))}}, []string{}},
	} {
		p, err := w.ListSandboxes(w.ctx, o, c.f)
		w.must(err)
		got := names(p)
		slices.Sort(got)
		w.same(c.name, got, c.want)
	}
}

func listPages(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	for i := range 7 {
		sb := row(o, fmt.Sprintf("s%d", i))
		sb.CPU, sb.MemoryGiB, sb.DiskGiB = i%3, i%2, 10-i // equal values: the id decides
		sb.CreatedAt, sb.LastActivityAt = at(i), at(-i)
		w.put(sb)
	}
	for _, sort := range []sandbox.SortField{"", sandbox.ByName, sandbox.ByCPU, sandbox.ByMemory, sandbox.ByDisk, sandbox.ByLastActivity, sandbox.ByCreated} {
		for _, asc := range []bool{false, true} {
			f := sandbox.Filter{Sort: sort, Ascending: asc}
			all, err := w.ListSandboxes(w.ctx, o, f)
			w.must(err)
			f.Limit = 3
			var paged []string
			for {
				p, err := w.ListSandboxes(w.ctx, o, f)
				w.must(err)
				paged = append(paged, names(p)...)
				if p.NextCursor == nil {
					break
				}
				f.Cursor = *p.NextCursor
			}
			w.same(fmt.Sprintf("pages by %q, ascending %v", sort, asc), paged, names(all))
		}
	}
	for _, c := range []struct {
		f     sandbox.Filter
		first string
	}{
		{sandbox.Filter{}, "s0"}, {sandbox.Filter{Sort: sandbox.ByCreated}, "s6"},
		{sandbox.Filter{Sort: sandbox.ByName, Ascending: true}, "s0"}, {sandbox.Filter{Sort: sandbox.ByDisk}, "s0"},
	} {
		p, err := w.ListSandboxes(w.ctx, o, c.f)
		w.must(err)
		if p.Items[0].Name != c.first {
			t.Errorf("%+v begins with %s, want %s", c.f, p.Items[0].Name, c.first)
		}
	}

	// Rows that come and go between pages neither repeat nor hide others.
	f := sandbox.Filter{Sort: sandbox.ByCreated, Ascending: true, Limit: 3}
	p, err := w.ListSandboxes(w.ctx, o, f)
	w.must(err)
	early := row(o, "early")
	early.CreatedAt = at(-1)
	w.put(early)
	_, err = w.MoveSandbox(w.ctx, p.Items[1], sandbox.Destroyed, sandbox.Change{}, at(20))
	w.must(err)
	f.Cursor = *p.NextCursor
	p, err = w.ListSandboxes(w.ctx, o, f)
	w.must(err)
	w.same("second page", names(p), []string{"s3", "s4", "s5"})

	p, err = w.ListSandboxes(w.ctx, o, sandbox.Filter{Sort: sandbox.ByCreated, Ascending: true, Limit: 2, Offset: 3, CountAll: true})
	w.must(err)
	w.same("by offset", names(p), []string{"s3", "s4"})
	if p.Total != 7 {
		t.Errorf("total %d, want 7", p.Total)
	}

	for _, bad := range []string{"x", "e30", "!!", "eyJpIjoiYSJ9e", *mustCursor(w, o)} {
		_, err := w.ListSandboxes(w.ctx, o, sandbox.Filter{Limit: 2, Cursor: bad})
		w.wantKind(err, fault.Invalid)
	}
}

// mustCursor is a cursor of another order.
func mustCursor(w *world, o string) *string {
	w.t.Helper()
	p, err := w.ListSandboxes(w.ctx, o, sandbox.Filter{Sort: sandbox.ByCPU, Limit: 1})
	w.must(err)
	return p.NextCursor
}

func shownStates(t *testing.T, w *world) {
	want := map[sandbox.State]int{}
	o := w.org("u", org.DefaultQuota())
	for _, state := range sandbox.States() {
		for _, desired := range []sandbox.State{sandbox.Started, sandbox.Stopped, sandbox.Archived, sandbox.Destroyed} {
			sb := row(o, string(state)+"-"+string(desired))
			sb.State, sb.Desired = state, desired
			w.put(sb)
			want[sb.Shown()]++
			resizing, snapshotting := sb, sb
			resizing.ID, resizing.Name, resizing.Resize = sb.ID+"r", sb.Name+"r", &sandbox.Resize{Since: epoch}
			snapshotting.ID, snapshotting.Name, snapshotting.Snapshotting = sb.ID+"s", sb.Name+"s", "x"
			w.put(resizing)
			w.put(snapshotting)
			want[resizing.Shown()]++
			want[snapshotting.Shown()]++
		}
	}
	got, err := w.CountSandboxes(w.ctx)
	w.must(err)
	w.same("counts by shown state", got, want)
}
