package testpg

import (
	"database/sql"
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestDatabasesAreApart(t *testing.T) {
	one, two := open(t, DSN(t)), open(t, DSN(t))
	if _, err := one.ExecContext(t.Context(), "CREATE TABLE things (id INT)"); err != nil {
		t.Fatal(err)
	}
	if _, err := two.ExecContext(t.Context(), "CREATE TABLE things (id INT)"); err != nil {
		t.Fatal("the second database sees the first one's tables: ", err)
	}
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
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
