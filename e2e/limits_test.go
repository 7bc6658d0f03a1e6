//go:build root

package e2e

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	random "github.com/google/uuid"

	"daytona/controlplane/auth"
	"daytona/controlplane/org"
	"daytona/controlplane/storage"
)

// tenant makes an organization beside the administrator's, with a key that may
// do everything, in the database of the server that runs.
func tenant(t *testing.T) (orgID, key string) {
	t.Helper()
	if shared.external {
		t.Skip("needs the server's database")
	}
	store, err := storage.Open(t.Context(), filepath.Join(shared.dir, "daytona.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	now := time.Now().UTC().Truncate(time.Millisecond)
	user := auth.User{ID: "e2e-" + random.NewString(), Name: "Ann", Role: auth.RoleUser, CreatedAt: now}
	o := org.Organization{
		ID: random.NewString(), Name: "Personal", CreatedBy: user.ID, Personal: true, DefaultRegionID: "us", Quota: org.DefaultQuota(),
		SnapshotDeactivationMinutes: 20160, SuspensionGraceHours: 24, CreatedAt: now, UpdatedAt: now,
	}
	owner := org.Membership{OrgID: o.ID, UserID: user.ID, Role: org.Owner, CreatedAt: now, UpdatedAt: now}
	if err := store.CreateUser(t.Context(), user, o, owner); err != nil {
		t.Fatal(err)
	}
	by := auth.Identity{User: user, OrgID: o.ID, Role: org.Owner, Permissions: auth.Permissions()}
	_, key, err = auth.New(auth.Config{Store: store, Log: slog.New(slog.DiscardHandler)}).Create(t.Context(), by, auth.NewKey{Name: "all", Permissions: auth.Permissions()})
	if err != nil {
		t.Fatal(err)
	}
	return o.ID, key
}

// TestLimits: how the published SDKs meet quotas, rate limits and a suspension.
func TestLimits(t *testing.T) {
	environment := func(t *testing.T) []string {
		id, key := tenant(t)
		return []string{"DAYTONA_API_KEY=" + key, "E2E_ADMIN_KEY=" + shared.api.key, "E2E_ORGANIZATION=" + id}
	}
	for _, era := range []string{"old", "new"} {
		for _, mode := range []string{"sync", "async"} {
			t.Run("python/"+era+"/"+mode, func(t *testing.T) {
				t.Parallel()
				kit := pythonKit(t, era)
				runProgram(t, kit.dir, append(environment(t), "E2E_MODE="+mode), kit.python, "-B", filepath.Join(repo, "e2e", "py", "scenarios", "limits.py"))
			})
		}
		t.Run("typescript/"+era, func(t *testing.T) {
			t.Parallel()
			kit := nodeKit(t, era)
			runProgram(t, kit.dir, environment(t), kit.node, filepath.Join(kit.dir, "scenarios", "limits.mjs"))
		})
	}
}

// TestGraceIsOver: a suspension without grace stops what runs, with its cause.
func TestGraceIsOver(t *testing.T) {
	orgID, key := tenant(t)
	mine := &client{url: shared.api.url, key: key}
	sb := mustCreate(t, mine, nil)
	if err := shared.api.do(t.Context(), "POST", "/organizations/"+orgID+"/suspend", map[string]any{"reason": "unpaid", "suspensionCleanupGracePeriodHours": 0}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.exec(t.Context(), sb.ID, "true", 10); err != nil && status(err) == 403 {
		t.Errorf("what runs can be used while it does: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // it is looked for once a minute
	defer cancel()
	if _, err := mine.waitFor(ctx, sb.ID, "stopped"); err != nil {
		t.Fatal(err)
	}
	if err := mine.do(t.Context(), "POST", "/sandbox/"+sb.ID+"/start", nil, nil); status(err) != 403 || !strings.Contains(err.Error(), "Organization is suspended: unpaid") {
		t.Errorf("starting: %v", err)
	}
	if err := shared.api.do(t.Context(), "POST", "/organizations/"+orgID+"/unsuspend", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := mine.do(t.Context(), "POST", "/sandbox/"+sb.ID+"/start", nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.waitFor(ctx, sb.ID, "started"); err != nil {
		t.Fatal(err)
	}
}
