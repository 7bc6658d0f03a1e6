package auth_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/controlplane/auth"
	"daytona/controlplane/org"
	"daytona/controlplane/storage"
	"daytona/internal/fault"
)

type world struct {
	t     *testing.T
	ctx   context.Context
	db    *storage.DB
	s     *auth.Service
	now   time.Time
	value string // of the first key
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "d.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, ctx: t.Context(), db: db, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), value: auth.NewValue()}
	w.s = w.service()
	planted, err := w.s.Bootstrap(w.ctx, func() (string, error) { return w.value, nil })
	if err != nil || !planted {
		t.Fatal(planted, err)
	}
	return w
}

func (w *world) service() *auth.Service {
	return auth.New(auth.Config{Store: w.db, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now }})
}

func (w *world) admin() auth.Identity {
	w.t.Helper()
	id, err := w.s.Authenticate(w.ctx, w.value)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) wantKind(err error, kind fault.Kind) {
	w.t.Helper()
	if !fault.Is(err, kind) {
		w.t.Errorf("got error %v, want the kind %s", err, kind)
	}
}

func TestBootstrap(t *testing.T) {
	w := newWorld(t)
	id := w.admin()
	if id.User.ID != auth.AdminID || !id.Admin() || id.Role != org.Owner || !slices.Equal(sorted(id.Permissions), sorted(auth.Permissions())) {
		t.Errorf("identity %+v", id)
	}
	o, err := w.db.Organization(w.ctx, id.OrgID)
	if err != nil || !o.Personal || o.Quota != org.DefaultQuota() || o.DefaultRegionID != "us" {
		t.Errorf("organization %+v, %v", o, err)
	}
	planted, err := w.service().Bootstrap(w.ctx, func() (string, error) {
		t.Error("a value was chosen on the second start")
		return auth.NewValue(), nil
	})
	if planted || err != nil {
		t.Errorf("second start: %v, %v", planted, err)
	}
	who, err := w.s.Find(w.ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	_, again, err := w.s.CreateKeyOf(w.ctx, who, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := w.s.Authenticate(w.ctx, again); err != nil || !id.Admin() {
		t.Errorf("another admin key: %+v, %v", id, err)
	}
}

func sorted(ps []auth.Permission) []auth.Permission {
	ps = slices.Clone(ps)
	slices.Sort(ps)
	return ps
}

func TestTheValueIsNotStored(t *testing.T) {
	w := newWorld(t)
	k, value, err := w.s.Create(w.ctx, w.admin(), auth.NewKey{Name: "k", Permissions: []auth.Permission{auth.WriteSandboxes}})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^dtn_[0-9a-f]{64}$`).MatchString(value) {
		t.Errorf("value %q", value)
	}
	if want := "dtn" + strings.Repeat("*", 20) + value[len(value)-3:]; k.Masked() != want {
		t.Errorf("masked %q, want %q", k.Masked(), want)
	}
	if len(k.Hash) != 64 || strings.Contains(value, k.Hash) {
		t.Errorf("hash %q", k.Hash)
	}
}

func TestCreateRules(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	past, future := w.now, w.now.Add(time.Hour)
	one := []auth.Permission{auth.WriteSandboxes}
	for _, c := range []struct {
		name string
		n    auth.NewKey
		kind fault.Kind // "" is none
	}{
		{"plain", auth.NewKey{Name: "a key/ü", Permissions: one}, ""},
		{"with an end", auth.NewKey{Name: "b", Permissions: one, ExpiresAt: &future}, ""},
		{"name in use", auth.NewKey{Name: "b", Permissions: one}, fault.Conflict},
		{"no name", auth.NewKey{Permissions: one}, fault.Invalid},
		{"blank name", auth.NewKey{Name: " ", Permissions: one}, fault.Invalid},
		{"name with NUL", auth.NewKey{Name: "a\x00", Permissions: one}, fault.Invalid},
		{"name too long", auth.NewKey{Name: strings.Repeat("x", 256), Permissions: one}, fault.Invalid},
		{"no permissions", auth.NewKey{Name: "c"}, fault.Invalid},
		{"unknown permission", auth.NewKey{Name: "c", Permissions: []auth.Permission{"write:everything"}}, fault.Invalid},
		{"already over", auth.NewKey{Name: "c", Permissions: one, ExpiresAt: &past}, fault.Invalid},
	} {
		_, _, err := w.s.Create(w.ctx, admin, c.n)
		if c.kind == "" && err != nil || c.kind != "" && !fault.Is(err, c.kind) {
			t.Errorf("%s: %v, want %q", c.name, err, c.kind)
		}
	}
}

func TestNobodyGrantsMoreThanTheyHold(t *testing.T) {
	w := newWorld(t)
	_, value, err := w.s.Create(w.ctx, w.admin(), auth.NewKey{Name: "small", Permissions: []auth.Permission{auth.WriteSandboxes}})
	if err != nil {
		t.Fatal(err)
	}
	small, err := w.s.Authenticate(w.ctx, value)
	if err != nil {
		t.Fatal(err)
	}
	w.wantKind(small.Require(auth.DelSandboxes), fault.Forbidden)
	_, _, err = w.s.Create(w.ctx, small, auth.NewKey{Name: "more", Permissions: []auth.Permission{auth.WriteSandboxes, auth.DelSandboxes}})
	if !fault.Is(err, fault.Forbidden) || !strings.Contains(err.Error(), "delete:sandboxes") || strings.Contains(err.Error(), "write:sandboxes") {
		t.Errorf("granting more: %v, want a refusal that names the surplus", err)
	}
	_, _, err = w.s.Create(w.ctx, small, auth.NewKey{Name: "same", Permissions: []auth.Permission{auth.WriteSandboxes}})
	if err != nil {
		t.Error(err)
	}
}

func TestEffective(t *testing.T) {
	key := []auth.Permission{auth.WriteSandboxes, auth.DelSandboxes, auth.ReadVolumes}
	for _, c := range []struct {
		name string
		m    org.Membership
		want []auth.Permission
	}{
		{"an owner's key is what it says", org.Membership{Role: org.Owner}, key},
		{"a member without roles", org.Membership{Role: org.Member}, []auth.Permission{}},
		{"a developer", org.Membership{Role: org.Member, AssignedRoleIDs: []string{auth.DeveloperRoleID}}, []auth.Permission{auth.WriteSandboxes}},
		{"two roles add up", org.Membership{Role: org.Member, AssignedRoleIDs: []string{auth.DeveloperRoleID, "00000000-0000-0000-0000-000000000006"}},
			[]auth.Permission{auth.WriteSandboxes, auth.ReadVolumes}},
		{"an unknown role gives nothing", org.Membership{Role: org.Member, AssignedRoleIDs: []string{"x"}}, []auth.Permission{}},
	} {
		if got := auth.Effective(key, c.m); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestBadTokens(t *testing.T) {
	w := newWorld(t)
	for _, token := range []string{"", "x", "dtn_", w.value + "0", w.value[:67], strings.ToUpper(w.value), "a.b.c", strings.Repeat("x", 1<<20), "\x00\xff"} {
		_, err := w.s.Authenticate(w.ctx, token)
		w.wantKind(err, fault.Unauthenticated)
	}
}

func TestRevocation(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	_, value, err := w.s.Create(w.ctx, admin, auth.NewKey{Name: "k", Permissions: []auth.Permission{auth.WriteSandboxes}})
	if err != nil {
		t.Fatal(err)
	}
	other := w.service()
	for _, s := range []*auth.Service{w.s, other} { // both remember it now
		if _, err := s.Authenticate(w.ctx, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.s.Delete(w.ctx, admin, "k"); err != nil {
		t.Fatal(err)
	}
	_, err = w.s.Authenticate(w.ctx, value)
	w.wantKind(err, fault.Unauthenticated)
	w.now = w.now.Add(10 * time.Second)
	_, err = other.Authenticate(w.ctx, value)
	w.wantKind(err, fault.Unauthenticated)
	w.wantKind(w.s.Delete(w.ctx, admin, "k"), fault.NotFound)
}

func TestExpiryIsNotCached(t *testing.T) {
	w := newWorld(t)
	end := w.now.Add(time.Second)
	_, value, err := w.s.Create(w.ctx, w.admin(), auth.NewKey{Name: "k", Permissions: []auth.Permission{auth.WriteSandboxes}, ExpiresAt: &end})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.s.Authenticate(w.ctx, value); err != nil {
		t.Fatal(err)
	}
	w.now = end
	if _, err = w.s.Authenticate(w.ctx, value); !fault.Is(err, fault.Unauthenticated) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after its end: %v", err)
	}
}

func TestLastUse(t *testing.T) {
	w := newWorld(t)
	w.admin()
	ctx, stop := context.WithCancel(w.ctx)
	stop()
	if err := w.s.Run(ctx); err != nil { // stores what it has when it ends
		t.Fatal(err)
	}
	k, err := w.s.Get(w.ctx, w.admin(), "admin")
	if err != nil || k.LastUsedAt == nil || !k.LastUsedAt.Equal(w.now) {
		t.Errorf("last use %v (%v), want %v", k.LastUsedAt, err, w.now)
	}
}

func TestOthersKeysStayTheirs(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	u := auth.User{ID: "u", Role: auth.RoleUser, CreatedAt: w.now}
	o := org.Organization{ID: "o2", CreatedBy: "u", Personal: true, CreatedAt: w.now, UpdatedAt: w.now}
	if err := w.db.CreateUser(w.ctx, u, o, org.Membership{OrgID: "o2", UserID: "u", Role: org.Owner, CreatedAt: w.now, UpdatedAt: w.now}); err != nil {
		t.Fatal(err)
	}
	stranger := auth.Identity{User: u, OrgID: "o2", Role: org.Owner}
	_, err := w.s.Get(w.ctx, stranger, "admin")
	w.wantKind(err, fault.NotFound)
	w.wantKind(w.s.Delete(w.ctx, stranger, "admin"), fault.NotFound)
	w.wantKind(w.s.DeleteOf(w.ctx, stranger, auth.AdminID, "admin"), fault.NotFound)
	member := auth.Identity{User: u, OrgID: admin.OrgID, Role: org.Member}
	w.wantKind(w.s.DeleteOf(w.ctx, member, auth.AdminID, "admin"), fault.Forbidden)
	list, err := w.s.List(w.ctx, stranger)
	if err != nil || len(list) != 0 {
		t.Errorf("stranger's list %v, %v", list, err)
	}
}

func TestManyCallersAtOnce(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := w.s.Authenticate(w.ctx, w.value); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
