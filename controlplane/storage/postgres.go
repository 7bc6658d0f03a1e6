package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers "pgx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

const pgConns = 20

func openPostgres(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL address: %w", err)
	}
	pool.SetMaxOpenConns(pgConns)
	pool.SetMaxIdleConns(pgConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300), lock.WithUnlockTimeout(1, 30))
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	if err := migrate(ctx, goose.DialectPostgres, pool, log, goose.WithSessionLocker(locker)); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate PostgreSQL: %w", err), pool.Close())
	}
	return &DB{write: pool, read: pool, pg: true, log: log, leads: map[string]*sql.Conn{}}, nil
}

// Lead implements sandbox.Store with an advisory lock, which PostgreSQL frees when
// the connection or the process that holds it is gone. On SQLite, which serves
// one machine's server, there is nobody else.
func (db *DB) Lead(ctx context.Context, runnerID string) (bool, error) {
	if !db.pg {
		return true, nil
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if c, ok := db.leads[runnerID]; ok {
		if err := c.PingContext(ctx); err == nil {
			return true, nil
		}
		_ = c.Close() // it is broken already
		delete(db.leads, runnerID)
	}
	c, err := db.write.Conn(ctx)
	if err != nil {
		return false, db.fault(err)
	}
	var got bool
	if err := c.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", leadKey(runnerID)).Scan(&got); err != nil || !got {
		return false, errors.Join(db.fault(err), c.Close())
	}
	db.leads[runnerID] = c
	return true, nil
}

func leadKey(runnerID string) int64 {
	h := fnv.New64a()
	h.Write([]byte("daytona lead " + runnerID))
	return int64(h.Sum64())
}
