package storagetest

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

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
	w.must(w.SetSuspension(w.ctx, mine, &org.Suspension{At: at(1), Reason: "bill", Until: &until}, ptr(3), at(1)))
	o, err = w.Organization(w.ctx, mine)
	w.must(err)
	w.same("suspension", o.Suspension, &org.Suspension{At: at(1), Reason: "bill", Until: &until})
	w.must(w.SetSuspension(w.ctx, mine, nil, nil, at(2)))
	q := org.Quota{TotalCPU: 1, TotalMemoryGiB: 2, TotalDiskGiB: 3, MaxCPU: 4, MaxMemoryGiB: 5, MaxDiskGiB: 6, Snapshots: 7, MaxSnapshotSizeGB: 8, Volumes: 9}
	rates := org.Rates{Authenticated: org.OwnRate{Limit: ptr(10)}, SandboxCreate: org.OwnRate{Limit: ptr(0), Seconds: ptr(7)}, SandboxLifecycle: org.OwnRate{Seconds: ptr(8)}}
	changed, err := w.ChangeOrganization(w.ctx, mine, at(3), func(o *org.Organization) {
		o.Quota, o.Rates, o.SnapshotDeactivationMinutes = q, rates, 5
	})
	w.must(err)
	o, err = w.Organization(w.ctx, mine)
	w.must(err)
	w.same("what the change returned", changed, o)
	w.same("quota", o.Quota, q)
	w.same("rates", o.Rates, rates)
	if o.Suspension != nil || o.SuspensionGraceHours != 3 || o.SnapshotDeactivationMinutes != 5 || !o.UpdatedAt.Equal(at(3)) {
		t.Errorf("suspension %v, grace %d, deactivation %d, updated %v", o.Suspension, o.SuspensionGraceHours, o.SnapshotDeactivationMinutes, o.UpdatedAt)
	}
	_, err = w.ChangeOrganization(w.ctx, "nobody's", at(3), func(*org.Organization) {})
	w.wantKind(err, fault.NotFound)
	w.wantKind(w.SetSuspension(w.ctx, "nobody's", nil, nil, at(3)), fault.NotFound)
	all, err := w.Organizations(w.ctx)
	w.must(err)
	if len(all) != 2 {
		t.Errorf("%d organizations, want 2", len(all))
	}
}

// regionQuotas: what counts in a region is stored beside the organization, and
// changes at once do not lose each other.
func regionQuotas(t *testing.T, w *world) {
	o, other := w.org("u1", org.DefaultQuota()), w.org("u2", org.DefaultQuota())
	servers := []Store{w.Store, w.open()}
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			err := servers[i%2].ChangeRegionQuota(w.ctx, o, "us", func(q *org.RegionQuota) {
				n := 1
				if q.TotalCPU != nil {
					n += *q.TotalCPU
				}
				q.TotalCPU = &n
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	full := org.RegionQuota{RegionID: "eu", TotalCPU: ptr(1), TotalMemoryGiB: ptr(2), TotalDiskGiB: ptr(3), MaxCPU: ptr(4), MaxMemoryGiB: ptr(5), MaxDiskGiB: ptr(6)}
	w.must(w.ChangeRegionQuota(w.ctx, o, "eu", func(q *org.RegionQuota) { *q = full }))
	got, err := w.RegionQuotas(w.ctx, o)
	w.must(err)
	w.same("quotas by region", got, []org.RegionQuota{full, {RegionID: "us", TotalCPU: ptr(racers)}})
	got, err = w.RegionQuotas(w.ctx, other)
	w.must(err)
	w.same("another organization's", got, []org.RegionQuota{})
	w.wantKind(w.ChangeRegionQuota(w.ctx, "nobody's", "us", func(*org.RegionQuota) {}), fault.NotFound)
}

// regionPools: each region has a pool of its own.
func regionPools(t *testing.T, w *world) {
	q := org.DefaultQuota()
	q.TotalCPU = 2
	o := w.org("u", q)
	w.must(w.ChangeRegionQuota(w.ctx, o, "eu", func(r *org.RegionQuota) { r.TotalCPU = ptr(1) }))
	in := func(region string) error {
		sb := row(o, uuid.NewString())
		sb.Target = region
		_, _, err := w.CreateSandbox(w.ctx, sb, nil, admitOne)
		return err
	}
	for _, c := range []struct {
		region string
		fits   bool
	}{{"us", true}, {"us", true}, {"us", false}, {"eu", true}, {"eu", false}, {"ap", true}, {"us", false}} {
		if err := in(c.region); c.fits != (err == nil) || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("one more in %s: %v, want it to fit: %v", c.region, err, c.fits)
		}
	}
	used, err := w.OrganizationUsage(w.ctx, o)
	w.must(err)
	w.same("usage", used, map[string]org.Usage{
		"": {}, "us": {CPU: 2, MemoryGiB: 2, DiskGiB: 6}, "eu": {CPU: 1, MemoryGiB: 1, DiskGiB: 3}, "ap": {CPU: 1, MemoryGiB: 1, DiskGiB: 3},
	})
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
