package storage

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"

	"daytona/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate applies what is missing, each migration in a transaction. The caller
// holds a lock, or passes one, that keeps a second server waiting.
func migrate(ctx context.Context, dialect goose.Dialect, pool *sql.DB, log *slog.Logger, opts ...goose.ProviderOption) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// A migration may come to a database after one with a higher number: they are
	// made at the same time, and none depends on any but the first.
	opts = append(opts, goose.WithLogger(goose.NopLogger()), goose.WithAllowOutofOrder(true))
	p, err := goose.NewProvider(dialect, pool, files, opts...)
	if err != nil {
		return err
	}
	if err := refuseNewer(ctx, pool, p); err != nil {
		return err
	}
	done, err := p.Up(ctx)
	for _, r := range done {
		log.Info("database migrated", "migration", r.Source.Path, "took", r.Duration)
	}
	return err
}

// refuseNewer refuses a database to which a later version of this program has
// brought something that this one does not know: it would not keep up what the
// later one relies on.
func refuseNewer(ctx context.Context, pool *sql.DB, p *goose.Provider) error {
	current, err := p.GetDBVersion(ctx) // makes goose's table where there is none
	if err != nil {
		return err
	}
	known, latest := map[int64]bool{0: true}, int64(0)
	for _, m := range p.ListSources() {
		known[m.Version] = true
		latest = max(latest, m.Version)
	}
	rows, err := pool.QueryContext(ctx, `SELECT version_id FROM goose_db_version WHERE is_applied ORDER BY version_id`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err has told what matters
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		if !known[id] {
			return fault.New(fault.Invalid, "the database has schema version %d, and this program knows up to version %d: "+
				"it was opened by a later version of daytona. Start that one, or restore the copy of the data from before the upgrade",
				max(id, current), latest)
		}
	}
	return rows.Err()
}
