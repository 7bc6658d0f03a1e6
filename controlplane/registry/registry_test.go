package registry_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/registry"
	"daytona/controlplane/storage"
	"daytona/internal/fault"
	"daytona/internal/keyring"
)

type world struct {
	*testing.T
	ctx context.Context
	db  *storage.DB
	s   *registry.Service
	by  registry.By
}

func keys(t *testing.T, letters string) *keyring.Ring {
	t.Helper()
	var lines []string
	for _, l := range letters {
		lines = append(lines, base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(l), keyring.Size))))
	}
	r, err := keyring.Parse(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newWorld(t *testing.T) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "d.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := &world{T: t, ctx: t.Context(), db: db}
	_, err = auth.New(auth.Config{Store: db, Log: log}).Bootstrap(w.ctx, func() (string, error) { return auth.NewValue(), nil })
	w.must(err)
	o, err := db.PersonalOrganization(w.ctx, auth.AdminID)
	w.must(err)
	w.by = registry.By{OrgID: o.ID}
	w.s = w.service("a")
	return w
}

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func (w *world) service(letters string) *registry.Service {
	return registry.New(registry.Config{Store: w.db, Keys: keys(w.T, letters), Log: slog.New(slog.DiscardHandler), Now: func() time.Time {
		epoch = epoch.Add(time.Second)
		return epoch
	}})
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) add(by registry.By, url, user string, change ...func(*registry.Request)) registry.Registry {
	w.Helper()
	password := "secret of " + user
	q := registry.Request{Name: "n", URL: url, Username: user, Password: &password}
	for _, c := range change {
		c(&q)
	}
	g, err := w.s.Create(w.ctx, by, q)
	w.must(err)
	return g
}

func ptr[T any](v T) *T { return &v }

func TestAuths(t *testing.T) {
	w := newWorld(t)
	admin := registry.By{OrgID: w.by.OrgID, Admin: true}
	kind := func(k registry.Type) func(*registry.Request) { return func(q *registry.Request) { q.Type = k } }
	w.add(admin, "https://ghcr.io", "everybody", kind(registry.Public))
	w.add(admin, "https://quay.io", "everybody", kind(registry.Public))
	w.add(admin, "registry.internal:5000", "server", kind(registry.Internal))
	w.add(w.by, "ghcr.io/acme/", "older")
	w.add(w.by, "ghcr.io/acme", "newer")
	w.add(w.by, "https://index.docker.io/v1/", "hub")
	w.add(w.by, "https://ghcr.io", "mine")
	w.add(w.by, "europe-docker.pkg.dev", "project", func(q *registry.Request) { q.Project = ptr("team/images") })
	w.add(w.by, "nobody.example", "", func(q *registry.Request) { q.Password = nil })
	got, err := w.s.Auths(w.ctx, w.by.OrgID)
	w.must(err)
	want := []runnerapi.RegistryAuth{
		{Prefix: "europe-docker.pkg.dev/team/images", Username: "project", Password: "secret of project"},
		{Prefix: "europe-docker.pkg.dev", Username: "project", Password: "secret of project"},
		{Prefix: "ghcr.io/acme", Username: "newer", Password: "secret of newer"},
		{Prefix: "docker.io", Username: "hub", Password: "secret of hub"},
		{Prefix: "ghcr.io", Username: "mine", Password: "secret of mine"},
		{Prefix: "quay.io", Username: "everybody", Password: "secret of everybody"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	others, err := w.s.Auths(w.ctx, "another")
	w.must(err)
	if len(others) != 2 || others[0].Username != "everybody" || others[1].Username != "everybody" {
		t.Errorf("another organization gets %+v", others)
	}
}

func TestPasswordsAreSealed(t *testing.T) {
	w := newWorld(t)
	g := w.add(w.by, "ghcr.io", "me")
	row, err := w.db.Registry(w.ctx, g.ID)
	w.must(err)
	if row.Secret == "" || strings.Contains(row.Secret, "secret of me") {
		t.Errorf("stored as %q", row.Secret)
	}
	w.s = w.service("ba") // a new key in front
	w.must(w.s.Reseal(w.ctx))
	w.s = w.service("b") // the old one is gone
	if got, err := w.s.Auths(w.ctx, w.by.OrgID); err != nil || len(got) != 1 || got[0].Password != "secret of me" {
		t.Errorf("after the change of keys: %+v, %v", got, err)
	}
	w.s = w.service("c") // the wrong key: pulls go on without credentials, and it is said aloud
	if got, err := w.s.Auths(w.ctx, w.by.OrgID); err != nil || len(got) != 0 {
		t.Errorf("with the wrong key: %+v, %v", got, err)
	}
	if err := w.s.Reseal(w.ctx); err == nil || !strings.Contains(err.Error(), g.ID) {
		t.Errorf("resealing with the wrong key: %v", err)
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	g := w.add(w.by, "ghcr.io", "me", func(q *registry.Request) { q.Project = ptr("p") })
	got, err := w.s.Update(w.ctx, w.by, g.ID, registry.Request{Name: "m", URL: "https://ghcr.io", Username: "you", Password: ptr("")})
	w.must(err)
	auths, err := w.s.Auths(w.ctx, w.by.OrgID)
	w.must(err)
	if got.Name != "m" || got.Project != "p" || auths[0].Username != "you" || auths[0].Password != "secret of me" {
		t.Errorf("updated %+v, %+v", got, auths)
	}
	// Who may change a record must not learn its password by having it sent elsewhere.
	_, err = w.s.Update(w.ctx, w.by, g.ID, registry.Request{Name: "m", URL: "evil.example", Username: "you"})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "password") {
		t.Errorf("moved to another host: %v", err)
	}
	_, err = w.s.Update(w.ctx, w.by, g.ID, registry.Request{Name: "m", URL: "quay.io", Username: "you", Password: ptr("new")})
	w.must(err)
	for _, by := range []registry.By{{OrgID: "stranger"}, {OrgID: "stranger", Admin: true}} {
		if _, err := w.s.Update(w.ctx, by, g.ID, registry.Request{Name: "m", URL: "quay.io", Username: "you"}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger: %v", err)
		}
	}
}

func TestAdministratorsRecords(t *testing.T) {
	w := newWorld(t)
	for _, change := range []func(*registry.Request){
		func(q *registry.Request) { q.Type = registry.Public }, func(q *registry.Request) { q.Default = true },
	} {
		q := registry.Request{Name: "n", URL: "ghcr.io", Username: "u", Password: ptr("p")}
		change(&q)
		if _, err := w.s.Create(w.ctx, w.by, q); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%+v by a member: %v", q, err)
		}
	}
	admin := registry.By{OrgID: w.by.OrgID, Admin: true}
	g := w.add(admin, "ghcr.io", "u", func(q *registry.Request) { q.Type = registry.Transient })
	if _, err := w.s.Get(w.ctx, w.by, g.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a member sees the server's: %v", err)
	}
	if _, err := w.s.SetDefault(w.ctx, w.by, g.ID); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a member sets the default: %v", err)
	}
	if got, err := w.s.SetDefault(w.ctx, admin, g.ID); err != nil || !got.Default {
		t.Errorf("an administrator sets the default: %+v, %v", got, err)
	}
	w.must(w.s.Delete(w.ctx, admin, g.ID))
}

func TestCheck(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		change func(*registry.Request)
		want   string // "" is fine
	}{
		{"host", func(q *registry.Request) { q.URL = "docker.io" }, ""},
		{"host and port", func(q *registry.Request) { q.URL = "http://localhost:5000" }, ""},
		{"IPv6", func(q *registry.Request) { q.URL = "[::1]:5000" }, ""},
		{"path", func(q *registry.Request) { q.URL = "https://ghcr.io/acme/" }, ""},
		{"no address", func(q *registry.Request) { q.URL = "" }, "url: must be the address"},
		{"another scheme", func(q *registry.Request) { q.URL = "file:///etc/passwd" }, "url: must be the address"},
		{"password in the address", func(q *registry.Request) { q.URL = "https://me:pw@ghcr.io" }, "url: must be the address"},
		{"query", func(q *registry.Request) { q.URL = "https://ghcr.io/?x" }, "url: must be the address"},
		{"no name", func(q *registry.Request) { q.Name = "" }, "name: must not be empty"},
		{"name with a line break", func(q *registry.Request) { q.Name = "a\nb" }, "name: must not contain control characters"},
		{"project that climbs", func(q *registry.Request) { q.Project = ptr("../x") }, "project"},
		{"unknown type", func(q *registry.Request) { q.Type = "x" }, "registryType"},
	} {
		q := registry.Request{Name: "n", URL: "ghcr.io", Username: "u", Password: ptr("p")}
		c.change(&q)
		_, err := w.s.Create(w.ctx, registry.By{OrgID: w.by.OrgID, Admin: true}, q)
		if c.want == "" && err != nil || c.want != "" && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
