package storagetest

import (
	"testing"
	"time"

	"daytona/controlplane/auth"
	"daytona/controlplane/fleet"
	"daytona/controlplane/org"
	"daytona/internal/fault"
)

func organizations(t *testing.T, w *world) {
	mine := w.org("u1", org.DefaultQuota())
	theirs := w.org("u2", org.DefaultQuota())

	o, err := w.Organization(w.ctx, mine)
	w.must(err)
	w.same("organization", o, org.Organization{
		ID: mine, Name: "Personal", CreatedBy: "u1", Personal: true, DefaultRegionID: "us", Quota: org.DefaultQuota(),
		SnapshotDeactivationMinutes: 20160, SuspensionGraceHours: 24, CreatedAt: epoch, UpdatedAt: epoch,
	})
	list, err := w.OrganizationsOf(w.ctx, "u1")
	w.must(err)
	w.same("organizations of u1", list, []org.Organization{o})
	personal, err := w.PersonalOrganization(w.ctx, "u1")
	w.must(err)
	w.same("personal organization", personal, o)

	m, err := w.Membership(w.ctx, mine, "u1")
	w.must(err)
	w.same("membership", m, org.Membership{
		OrgID: mine, UserID: "u1", UserName: "Name of u1", UserEmail: "u1@example.com", Role: org.Owner,
		AssignedRoleIDs: []string{}, CreatedAt: epoch, UpdatedAt: epoch,
	})
	ms, err := w.Memberships(w.ctx, mine)
	w.must(err)
	w.same("memberships", ms, []org.Membership{m})
	_, err = w.Membership(w.ctx, theirs, "u1")
	w.wantKind(err, fault.NotFound)
	_, err = w.Organization(w.ctx, "nobody's")
	w.wantKind(err, fault.NotFound)

	until := at(60)
	w.must(w.SetSuspension(w.ctx, mine, &org.Suspension{At: at(1), Reason: "bill", Until: &until}, at(1)))
	o, err = w.Organization(w.ctx, mine)
	w.must(err)
	w.same("suspension", o.Suspension, &org.Suspension{At: at(1), Reason: "bill", Until: &until})
	w.must(w.SetSuspension(w.ctx, mine, nil, at(2)))
	q := org.Quota{TotalCPU: 1, TotalMemoryGiB: 2, TotalDiskGiB: 3, MaxCPU: 4, MaxMemoryGiB: 5, MaxDiskGiB: 6, Snapshots: 7, MaxSnapshotSizeGB: 8, Volumes: 9}
	w.must(w.SetOrganizationQuota(w.ctx, mine, q, at(3)))
	o, err = w.Organization(w.ctx, mine)
	w.must(err)
	w.same("quota", o.Quota, q)
	if o.Suspension != nil || !o.UpdatedAt.Equal(at(3)) {
		t.Errorf("suspension %v, updated %v", o.Suspension, o.UpdatedAt)
	}
	w.wantKind(w.SetOrganizationQuota(w.ctx, "nobody's", q, at(3)), fault.NotFound)
}

func keys(t *testing.T, w *world) {
	o := w.org("u1", org.DefaultQuota())
	expires := at(99)
	k := auth.Key{
		OrgID: o, UserID: "u1", Name: "laptop", Hash: "h1", Prefix: "dtn", Suffix: "abc",
		Permissions: []auth.Permission{auth.WriteSandboxes}, CreatedAt: at(1), ExpiresAt: &expires,
	}
	w.must(w.CreateKey(w.ctx, k))
	got, err := w.KeyByHash(w.ctx, "h1")
	w.must(err)
	w.same("key", got, k)

	again := k
	again.Hash = "h2"
	w.wantKind(w.CreateKey(w.ctx, again), fault.Conflict)
	again.Name, again.CreatedAt = "server", at(2)
	w.must(w.CreateKey(w.ctx, again))
	if again.UserID = "stranger"; w.CreateKey(w.ctx, again) == nil {
		t.Error("a key was stored for a user who is no member")
	}

	names := func(user string) (out []string) {
		ks, err := w.Keys(w.ctx, o, user)
		w.must(err)
		for _, k := range ks {
			out = append(out, k.Name)
		}
		return out
	}
	w.same("unused keys, the newest first", names("u1"), []string{"server", "laptop"})
	w.must(w.TouchKeys(w.ctx, map[string]time.Time{"h1": at(10), "nobody's": at(10)}))
	w.must(w.TouchKeys(w.ctx, map[string]time.Time{"h1": at(5)}))
	w.same("used keys first", names(""), []string{"laptop", "server"})
	got, err = w.Key(w.ctx, o, "u1", "laptop")
	w.must(err)
	if got.LastUsedAt == nil || !got.LastUsedAt.Equal(at(10)) {
		t.Errorf("last used %v, want %v", got.LastUsedAt, at(10))
	}

	gone, err := w.DeleteKey(w.ctx, o, "u1", "laptop")
	w.must(err)
	w.same("deleted key", gone, got)
	_, err = w.DeleteKey(w.ctx, o, "u1", "laptop")
	w.wantKind(err, fault.NotFound)
	_, err = w.KeyByHash(w.ctx, "h1")
	w.wantKind(err, fault.NotFound)

	u, err := w.User(w.ctx, "u1")
	w.must(err)
	w.same("user", u, auth.User{ID: "u1", Name: "Name of u1", Email: "u1@example.com", Role: auth.RoleUser, CreatedAt: epoch})
	us, err := w.Users(w.ctx)
	w.must(err)
	w.same("users", us, []auth.User{u})
	_, err = w.User(w.ctx, "nobody")
	w.wantKind(err, fault.NotFound)
	w.wantKind(w.CreateUser(w.ctx, u, org.Organization{}, org.Membership{}), fault.Conflict)
}

func regions(t *testing.T, w *world) {
	us := fleet.Region{ID: "us", Name: "us", Type: fleet.Shared, CreatedAt: at(1), UpdatedAt: at(1)}
	own := fleet.Region{ID: "mine", Name: "mine", OrgID: "o", Type: fleet.Custom, CreatedAt: at(2), UpdatedAt: at(2)}
	w.must(w.EnsureRegion(w.ctx, us))
	w.must(w.EnsureRegion(w.ctx, own))
	us.UpdatedAt = at(5)
	w.must(w.EnsureRegion(w.ctx, us)) // unchanged: nothing to store
	us.UpdatedAt = at(1)
	got, err := w.Regions(w.ctx, "")
	w.must(err)
	w.same("shared regions", got, []fleet.Region{us})
	us.Name, us.UpdatedAt = "Home", at(6)
	w.must(w.EnsureRegion(w.ctx, us))
	got, err = w.Regions(w.ctx, "o")
	w.must(err)
	w.same("an organization's regions", got, []fleet.Region{us, own})
}
