package storage

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
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
	done, err := p.Up(ctx)
	for _, r := range done {
		log.Info("database migrated", "migration", r.Source.Path, "took", r.Duration)
	}
	return err
}
