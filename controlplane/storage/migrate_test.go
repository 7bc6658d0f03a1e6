package storage

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"daytona/controlplane/auth"
	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
	"daytona/internal/testpg"
)

// eachDatabase runs a test on a new database of each kind.
func eachDatabase(t *testing.T, test func(t *testing.T, dsn string, provider func() *goose.Provider)) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "daytona.db")
		test(t, path, func() *goose.Provider { return providerOf(t, goose.DialectSQLite3, "sqlite", sqliteDSN(path, false)) })
	})
	t.Run("postgres", func(t *testing.T) {
		dsn := testpg.DSN(t)
		test(t, dsn, func() *goose.Provider { return providerOf(t, goose.DialectPostgres, "pgx", dsn) })
	})
}

func providerOf(t *testing.T, dialect goose.Dialect, driver, dsn string) *goose.Provider {
	t.Helper()
	pool, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(dialect, pool, files, goose.WithLogger(goose.NopLogger()), goose.WithAllowOutofOrder(true))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustOpen(t *testing.T, dsn string) *DB {
	t.Helper()
	db, err := Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func mustClose(t *testing.T, db *DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEarlierVersions opens databases as each earlier version left them, with a
// sandbox that runs, which must be known and running afterwards.
func TestEarlierVersions(t *testing.T) {
	eachDatabase(t, func(t *testing.T, dsn string, provider func() *goose.Provider) {
		db := mustOpen(t, dsn)
		at := time.UnixMilli(1_700_000_000_000).UTC()
		o := org.Organization{ID: "o", Name: "o", CreatedBy: "u", Quota: org.DefaultQuota(), CreatedAt: at, UpdatedAt: at}
		user := auth.User{ID: "u", Name: "u", Email: "u@example.com", Role: auth.RoleUser, CreatedAt: at}
		if err := db.CreateUser(t.Context(), user, o, org.Membership{OrgID: "o", UserID: "u", Role: org.Owner, CreatedAt: at, UpdatedAt: at}); err != nil {
			t.Fatal(err)
		}
		want := sandbox.Sandbox{
			ID: "s", OrgID: "o", Name: "s", UserID: "u", Snapshot: "daytona-slim", Image: "daytona-slim", User: "daytona", Target: "us", RunnerID: "r1",
			Isolation: "gvisor", Class: "small", Env: map[string]string{"A": "1"}, Labels: map[string]string{"l": "1"}, CPU: 1, MemoryGiB: 2, DiskGiB: 3,
			State: sandbox.Started, Desired: sandbox.Started, StateSince: at, AutoStop: 15, AutoArchive: 10080, AutoDelete: -1,
			PreviewToken: "t", CreatedAt: at, UpdatedAt: at, LastActivityAt: at, Version: 1,
		}
		if _, _, err := db.CreateSandbox(t.Context(), want, nil, nil); err != nil {
			t.Fatal(err)
		}
		mustClose(t, db)
		sources := provider().ListSources()
		for i := len(sources) - 2; i >= 0; i-- {
			version := sources[i].Version
			if _, err := provider().DownTo(t.Context(), version); err != nil {
				t.Fatalf("back to version %d: %v", version, err)
			}
			db := mustOpen(t, dsn)
			got, err := db.Sandbox(t.Context(), "s")
			if err != nil || got.State != sandbox.Started || got.Resources() != want.Resources() || got.Env["A"] != "1" || got.Resize != nil || got.Snapshotting != "" {
				t.Errorf("from version %d: %+v %v", version, got, err)
			}
			mustClose(t, db)
		}
	})
}

// TestLaterVersion: what a later version has brought is refused, with both
// versions named, and nothing is changed.
func TestLaterVersion(t *testing.T) {
	eachDatabase(t, func(t *testing.T, dsn string, provider func() *goose.Provider) {
		db := mustOpen(t, dsn)
		if _, err := db.writer().exec(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, ?)`, 99999, true); err != nil {
			t.Fatal(err)
		}
		mustClose(t, db)
		sources := provider().ListSources()
		latest := sources[len(sources)-1].Version
		_, err := Open(context.WithoutCancel(t.Context()), dsn, slog.New(slog.DiscardHandler))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "99999") || !strings.Contains(err.Error(), fmt.Sprint(latest)) {
			t.Errorf("opened: %v", err)
		}
		if v, err := provider().GetDBVersion(t.Context()); err != nil || v != 99999 {
			t.Errorf("version %d %v", v, err)
		}
	})
}
