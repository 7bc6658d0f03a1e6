package storage

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"daytona/controlplane/storage/storagetest"
	"daytona/internal/testpg"
)

func TestMain(m *testing.M) { os.Exit(testpg.Main(m)) }

func opener(t *testing.T, dsn string) storagetest.Open {
	return func() (storagetest.Store, error) {
		return Open(context.WithoutCancel(t.Context()), dsn, slog.New(slog.DiscardHandler))
	}
}

func TestSQLite(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Open {
		return opener(t, filepath.Join(t.TempDir(), "a dir with ?#%41", "daytona.db"))
	})
}

func TestPostgres(t *testing.T) {
	testpg.DSN(t) // skips here rather than in each case
	storagetest.Run(t, func(t *testing.T) storagetest.Open { return opener(t, testpg.DSN(t)) })
}

func TestSQLiteSettings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "daytona.db")
	db, err := Open(t.Context(), "sqlite:"+path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		for name, pool := range map[string]conn{"writer": db.writer(), "reader": db.reader()} {
			var got string
			if err := pool.row(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s of the %s is %q (%v), want %q", pragma, name, got, err, want)
			}
		}
	}
	if _, err := db.reader().exec(t.Context(), "DELETE FROM sandboxes"); err == nil {
		t.Error("the reader can write")
	}
	for _, name := range []string{"daytona.db", "daytona.db-wal"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v: others can read keys", name, info.Mode().Perm())
		}
	}
}

func TestLead(t *testing.T) {
	dsn := testpg.DSN(t)
	open := func() *DB {
		db, err := Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return db
	}
	lead := func(db *DB, runner string, want bool) {
		t.Helper()
		if got, err := db.Lead(t.Context(), runner); err != nil || got != want {
			t.Errorf("leads %s: %v (%v), want %v", runner, got, err, want)
		}
	}
	// PostgreSQL frees a lock when it notices that its holder is gone.
	comes := func(db *DB, runner string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if got, err := db.Lead(t.Context(), runner); err == nil && got {
				return
			}
		}
		t.Fatalf("the lead of %s never comes", runner)
	}
	one, two := open(), open()
	lead(one, "r1", true)
	lead(one, "r1", true)
	lead(two, "r1", false)
	lead(two, "r2", true)
	// PostgreSQL drops the connection: the lead is free, and is won again.
	if _, err := two.write.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() AND ((classid::bigint << 32) | objid::bigint) = $1", leadKey("r1")); err != nil {
		t.Fatal(err)
	}
	comes(one, "r1")
	lead(two, "r1", false)
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	comes(two, "r1")
}

func TestRebind(t *testing.T) {
	for query, want := range map[string]string{"SELECT 1": "SELECT 1", "a = ? AND b IN (?, ?)": "a = $1 AND b IN ($2, $3)"} {
		if got := (conn{pg: true}).rebind(query); got != want {
			t.Errorf("rebind %q = %q, want %q", query, got, want)
		}
		if got := (conn{}).rebind(query); got != query {
			t.Errorf("rebind for SQLite changed %q to %q", query, got)
		}
	}
}
