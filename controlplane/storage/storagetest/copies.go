package storagetest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
)

// Copies fills a database at dsn for a measurement: n rows more like that of one
// sandbox, in one statement. Their ids and names are first, a dash and a number
// from 1 on.
func Copies(ctx context.Context, t testing.TB, dsn, first string, n int) {
	t.Helper()
	driver, address := "sqlite", "file:"+strings.TrimPrefix(dsn, "sqlite:")+"?_pragma=busy_timeout(10000)"
	mark := "?"
	if strings.HasPrefix(dsn, "postgres") {
		driver, address, mark = "pgx", dsn, "$1"
	}
	db, err := sql.Open(driver, address) // registered by package storage, for whose databases this is
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT * FROM sandboxes LIMIT 0`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := rows.Columns()
	if err = joinClose(rows, err); err != nil {
		t.Fatal(err)
	}
	values := make([]string, len(names))
	for i, name := range names {
		values[i] = "s." + name
		if name == "id" || name == "name" {
			values[i] = `s.id || '-' || CAST(n.i AS TEXT)`
		}
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(`INSERT INTO sandboxes (%s)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT %s FROM sandboxes s, n WHERE s.id = %s`, strings.Join(names, ", "), n, strings.Join(values, ", "), mark), first)
	if err != nil {
		t.Fatal(err)
	}
	if driver == "pgx" { // which does so by itself now and then
		if _, err := db.ExecContext(ctx, "ANALYZE"); err != nil {
			t.Fatal(err)
		}
	}
}

func joinClose(rows *sql.Rows, err error) error {
	if err == nil {
		err = rows.Err()
	}
	if cerr := rows.Close(); err == nil {
		err = cerr
	}
	return err
}
