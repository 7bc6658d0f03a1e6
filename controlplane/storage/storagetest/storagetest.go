// Package storagetest holds a database to what the nouns' Store interfaces
// promise. Both databases run it; so would a third.
package storagetest

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"daytona/controlplane/auth"
	"daytona/controlplane/fleet"
	"daytona/controlplane/grant"
	"daytona/controlplane/image"
	"daytona/controlplane/org"
	"daytona/controlplane/registry"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/snapshot"
	"daytona/controlplane/upload"
	"daytona/controlplane/warmpool"
	"daytona/internal/fault"
)

// Store is everything that is stored.
type Store interface {
	auth.Store
	org.Store
	fleet.Store
	image.Store
	upload.Rows
	registry.Store
	snapshot.Store
	sandbox.Store
	grant.Store
	warmpool.Store
	Ping(ctx context.Context) error
	Close() error
}

// Open opens one database, each time as another server would.
type Open func() (Store, error)

// Run runs the suite. fresh makes an empty database; Stores opened by the suite
// are closed by it.
func Run(t *testing.T, fresh func(t *testing.T) Open) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, w *world)
	}{
		{"a second server finds everything", secondServer},
		{"organizations and members", organizations},
		{"quotas by region", regionQuotas},
		{"each region is a pool of its own", regionPools},
		{"users and keys", keys},
		{"regions", regions},
		{"snapshots", snapshots},
		{"list of snapshots", snapshotList},
		{"snapshots and their images are made together", createdSnapshots},
		{"creates at once for the last place of a snapshot", racingSnapshots},
		{"snapshots that nobody uses", deactivated},
		{"images", images},
		{"registries", registries},
		{"images that nobody needs", unusedImages},
		{"uploads in use", uploadsInUse},
		{"a sandbox comes back as it was stored", roundTrip},
		{"sandboxes are found by id and name in their organization", findSandbox},
		{"creates at once for one name", racingNames},
		{"creates at once for the last place in the quota", racingQuota},
		{"idempotency keys", idempotency},
		{"creates at once with one idempotency key", racingKeys},
		{"usage counts the right states", usageByState},
		{"stale moves are refused", staleMoves},
		{"moves at once from one row", racingMoves},
		{"a move that takes quota is admitted or not made", admittedMoves},
		{"a move changes what it says and no more", moveChanges},
		{"idle moves yield to activity", idleMoves},
		{"settings", settings},
		{"network", network},
		{"work on a sandbox at rest", setWork},
		{"activity only moves forward", touches},
		{"grants", grants},
		{"warm pools", warmPools},
		{"servers share their keys", serverKeys},
		{"list of sandboxes: filters", listFilters},
		{"list of sandboxes: order and pages", listPages},
		{"shown states", shownStates},
		{"purge", purge},
		{"text that a database may not like", hostileText},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, openDB: fresh(t), ctx: t.Context()}
			w.Store = w.open()
			c.run(t, w)
		})
	}
	t.Run("two servers start at once", func(t *testing.T) {
		t.Parallel()
		racingStarts(t, fresh(t))
	})
}

// world is a database with helpers that fill it.
type world struct {
	Store
	t      *testing.T
	ctx    context.Context
	openDB Open
}

func (w *world) open() Store {
	w.t.Helper()
	s, err := w.openDB()
	if err != nil {
		w.t.Fatal("open: ", err)
	}
	w.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return s
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)

func at(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }

func ptr[T any](v T) *T { return &v }

// org makes a user with a personal organization and returns the latter's id.
func (w *world) org(user string, q org.Quota) string {
	w.t.Helper()
	id := uuid.NewString()
	w.must(w.CreateUser(w.ctx, auth.User{ID: user, Name: "Name of " + user, Email: user + "@example.com", Role: auth.RoleUser, CreatedAt: epoch},
		org.Organization{
			ID: id, Name: "Personal", CreatedBy: user, Personal: true, DefaultRegionID: "us", Quota: q,
			SnapshotDeactivationMinutes: 20160, SuspensionGraceHours: 24, CreatedAt: epoch, UpdatedAt: epoch,
		},
		org.Membership{OrgID: id, UserID: user, Role: org.Owner, AssignedRoleIDs: []string{}, CreatedAt: epoch, UpdatedAt: epoch}))
	return id
}

// row is a small valid sandbox, not yet stored.
func row(orgID, name string) sandbox.Sandbox {
	return sandbox.Sandbox{
		ID: uuid.NewString(), OrgID: orgID, Name: name, UserID: "u", Snapshot: "slim", SnapshotID: "sn", Image: "slim",
		User: "daytona", Target: "us", RunnerID: "r1", Class: "small",
		Env: map[string]string{}, Labels: map[string]string{}, CPU: 1, MemoryGiB: 1, DiskGiB: 3,
		State: sandbox.Creating, Desired: sandbox.Started, StateSince: epoch, AutoStop: 15, AutoArchive: 10080, AutoDelete: -1,
		PreviewToken: "token", CreatedAt: epoch, UpdatedAt: epoch, LastActivityAt: epoch, Version: 1,
	}
}

// put stores a row.
func (w *world) put(sb sandbox.Sandbox) sandbox.Sandbox {
	w.t.Helper()
	out, created, err := w.CreateSandbox(w.ctx, sb, nil, nil)
	w.must(err)
	if !created {
		w.t.Fatal("not created")
	}
	return out
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantKind(err error, kind fault.Kind) {
	w.t.Helper()
	if !fault.Is(err, kind) {
		w.t.Errorf("got error %v, want the kind %s", err, kind)
	}
}

func (w *world) same(what string, got, want any) {
	w.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("%s differs (-want +got):\n%s", what, d)
	}
}
