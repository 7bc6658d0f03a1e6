package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
)

func TestStatementsAreKept(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	db.writes, db.reads = newStatements(db.write), newStatements(db.read) // without those of the migrations
	const text = "SELECT ? + 1"
	ask := func(c conn, n int) {
		t.Helper()
		var got int
		if err := c.row(t.Context(), text, n).Scan(&got); err != nil || got != n+1 {
			t.Errorf("%d + 1 = %d, %v", n, got, err)
		}
	}
	failed := errors.New("failed")
	for n, want := range []error{nil, failed, nil} { // learnt, broken off, repeated
		err := db.tx(t.Context(), func(c conn) error {
			ask(c, n)
			ask(c, n+10)
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("transaction %d: %v", n, err)
		}
	}
	if db.writes.kept(text) == nil {
		t.Error("a statement of a transaction was not kept")
	}
	for n := range 3 {
		ask(db.reader(), n)
		ask(db.writer(), n)
	}
	if db.reads.kept(text) == nil {
		t.Error("a reader's statement was not kept")
	}

	// Texts without end are run, but not all kept.
	for n := range maxStatements + 20 {
		var got int
		if err := db.reader().row(t.Context(), fmt.Sprintf("SELECT %d", n)).Scan(&got); err != nil || got != n {
			t.Fatalf("SELECT %d = %d, %v", n, got, err)
		}
	}
	if n := len(db.reads.byText); n > maxStatements {
		t.Errorf("%d statements are kept", n)
	}

	// What cannot be compiled fails with the database's own words.
	if err := db.reader().row(t.Context(), "SELECT nothing FROM nowhere").Scan(new(int)); err == nil {
		t.Error("a query of a table that does not exist succeeded")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.reader().row(ended, "SELECT 'late'").Scan(new(string)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}
