// Package storage keeps every noun of the control plane in SQLite or PostgreSQL.
//
// DB implements the Store interface of each noun, one file per noun. The SQL is
// the same for both databases but for what db.pg switches. What a method returns
// without error is on disk: SQLite runs with synchronous=FULL, PostgreSQL as its
// administrator has it. Unknown rows are fault.NotFound, stale ones
// fault.Conflict, a full disk or a lost database fault.Unavailable.
//
// storagetest.Run holds both databases to these promises.
package storage

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"daytona/internal/fault"
)

// DB is an open database. Its methods may be called at the same time.
type DB struct {
	write *sql.DB // SQLite: one connection
	read  *sql.DB // PostgreSQL: the same as write
	pg    bool
	log   *slog.Logger

	// SQLite's compiled statements; nil for PostgreSQL.
	writes, reads *statements

	mu    sync.Mutex
	leads map[string]*sql.Conn // by runner id
}

// Open opens the database at dsn and brings its tables up to date. A dsn that
// begins with "postgres://" or "postgresql://" is PostgreSQL, anything else the
// path of a SQLite file, which is made if need be; "sqlite:" may precede it.
func Open(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		return openPostgres(ctx, dsn, log)
	}
	return openSQLite(ctx, strings.TrimPrefix(dsn, "sqlite:"), log)
}

// Close closes the database. Everything acknowledged is on disk already.
func (db *DB) Close() error {
	db.mu.Lock()
	for id, c := range db.leads {
		_ = c.Close() // the pool is closed after it
		delete(db.leads, id)
	}
	db.mu.Unlock()
	if db.read == db.write {
		return db.write.Close()
	}
	return errors.Join(db.read.Close(), db.write.Close())
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.fault(db.read.PingContext(ctx)) }

// Kind is "sqlite" or "postgres".
func (db *DB) Kind() string {
	if db.pg {
		return "postgres"
	}
	return "sqlite"
}

// conn is what queries run on: a pool or a transaction.
type conn struct {
	x interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	}
	pg bool
	// compiled keeps statements; nil where the driver does.
	compiled interface {
		// get returns nil for a text that is to be run as it is.
		get(ctx context.Context, text string) *sql.Stmt
	}
}

func (c conn) statement(ctx context.Context, query string) *sql.Stmt {
	if c.compiled == nil {
		return nil
	}
	return c.compiled.get(ctx, query)
}

func (c conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	var r sql.Result
	var err error
	if st := c.statement(ctx, query); st != nil { //nolint:sqlclosecheck // kept; closed with the pool
		r, err = st.ExecContext(ctx, args...)
	} else {
		r, err = c.x.ExecContext(ctx, c.rebind(query), args...)
	}
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (c conn) row(ctx context.Context, query string, args ...any) *sql.Row {
	if st := c.statement(ctx, query); st != nil { //nolint:sqlclosecheck // kept; closed with the pool
		return st.QueryRowContext(ctx, args...)
	}
	return c.x.QueryRowContext(ctx, c.rebind(query), args...)
}

func (c conn) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if st := c.statement(ctx, query); st != nil { //nolint:sqlclosecheck // kept; closed with the pool
		return st.QueryContext(ctx, args...)
	}
	return c.x.QueryContext(ctx, c.rebind(query), args...)
}

// forUpdate ends a SELECT whose row must not change before the transaction is
// over. SQLite has one writer at a time anyway.
func (c conn) forUpdate() string {
	if c.pg {
		return " FOR NO KEY UPDATE"
	}
	return ""
}

// rebind writes the placeholders as the database wants them. Our SQL has no
// question mark but placeholders.
func (c conn) rebind(query string) string {
	if !c.pg {
		return query
	}
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, ok := strings.Cut(query, "?")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

func (db *DB) reader() conn { return db.pool(db.read, db.reads) }
func (db *DB) writer() conn { return db.pool(db.write, db.writes) }

func (db *DB) pool(x *sql.DB, s *statements) conn {
	c := conn{x: x, pg: db.pg}
	if s != nil {
		c.compiled = s
	}
	return c
}

// tx runs fn in a transaction. SQLite begins it IMMEDIATE, so it never fails
// half way for a lock; PostgreSQL may break off one of two that wait for each
// other, which is tried again.
func (db *DB) tx(ctx context.Context, fn func(conn) error) error {
	for attempt := 1; ; attempt++ {
		err := db.tryTx(ctx, fn)
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && attempt < 10 &&
			(e.Code == "40001" || e.Code == "40P01") {
			continue
		}
		return db.fault(err)
	}
}

func (db *DB) tryTx(ctx context.Context, fn func(conn) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	c := conn{x: tx, pg: db.pg}
	if db.writes != nil {
		compiled := &inTx{all: db.writes, tx: tx}
		c.compiled = compiled
		defer compiled.learn(ctx) // once the connection is free again
	}
	defer func() { _ = tx.Rollback() }() // no effect after Commit; what it failed by has been returned
	if err := fn(c); err != nil {
		return err
	}
	return tx.Commit()
}

// fault gives an error of the database the kind that callers go by.
func (db *DB) fault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fault.Wrap(err, fault.NotFound, "Not found")
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL:
			return fault.Wrap(err, fault.Unavailable, "The disk of the server is full. Free some space and try again")
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
			return fault.Wrap(err, fault.Unavailable, "The database does not answer. Try again later")
		}
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case e.Code == "22021", e.Code == "22P05":
			return fault.Wrap(err, fault.Invalid, "The request has text with bytes that are not valid UTF-8, or NUL")
		case e.Code == "53100":
			return fault.Wrap(err, fault.Unavailable, "The disk of the database is full. Free some space and try again")
		case strings.HasPrefix(e.Code, "53"), strings.HasPrefix(e.Code, "57P"), strings.HasPrefix(e.Code, "08"):
			return fault.Wrap(err, fault.Unavailable, "The database does not answer. Try again later")
		}
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return fault.Wrap(err, fault.Unavailable, "The database does not answer. Try again later")
	}
	return err
}

// find runs a query for one row.
func find[T any](ctx context.Context, db *DB, c conn, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	v, err := scan(c.row(ctx, query, args...))
	return v, db.fault(err)
}

// list runs a query for any number of rows. The result is never nil.
func list[T any](ctx context.Context, db *DB, c conn, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := c.query(ctx, query, args...)
	if err != nil {
		return nil, db.fault(err)
	}
	defer func() { _ = rows.Close() }() // rows.Err says what matters
	out := []T{}
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, db.fault(err)
		}
		out = append(out, v)
	}
	return out, db.fault(rows.Err())
}

type scanner interface{ Scan(dest ...any) error }

// marks is "?, ?, …" for n values.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

func millis(t time.Time) int64 { return t.UnixMilli() }

func millisPtr(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UnixMilli()
}
