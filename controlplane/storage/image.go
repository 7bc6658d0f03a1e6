package storage

import (
	"context"
	"time"

	"daytona/controlplane/image"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

const imageColumns = `name, org_id, ref, dockerfile, contexts, entrypoint, state, reason, progress, waiting, runner_id,
	size_bytes, found_entrypoint, isolation, used_at, created_at, state_since, version, digest, sandbox`

func scanImage(r scanner) (i image.Image, err error) {
	err = r.Scan(&i.Name, &i.OrgID, &i.Ref, &i.Dockerfile, jsonTo{&i.Contexts}, jsonTo{&i.Entrypoint}, &i.State, &i.Reason, &i.Progress,
		&i.Waiting, &i.RunnerID, &i.SizeBytes, jsonTo{&i.FoundEntrypoint}, &i.Isolation,
		timePtrTo{&i.UsedAt}, timeTo{&i.CreatedAt}, timeTo{&i.StateSince}, &i.Version, &i.Digest, &i.Sandbox)
	return i, err
}

// DeclareImage implements image.Store.
func (db *DB) DeclareImage(ctx context.Context, i image.Image) (out image.Image, err error) {
	err = db.tx(ctx, func(c conn) error {
		out, err = declareImage(ctx, db, c, i)
		return err
	})
	return out, err
}

func declareImage(ctx context.Context, db *DB, c conn, i image.Image) (image.Image, error) {
	again := []any{image.Failed}
	return find(ctx, db, c, scanImage, `INSERT INTO images (`+imageColumns+`) VALUES (`+marks(20)+`)
		ON CONFLICT (name) DO UPDATE SET version = images.version + 1,
			used_at = CASE WHEN excluded.used_at IS NULL OR images.used_at > excluded.used_at THEN images.used_at ELSE excluded.used_at END,
			reason = CASE WHEN images.state = ? THEN '' ELSE images.reason END,
			runner_id = CASE WHEN images.state = ? THEN excluded.runner_id ELSE images.runner_id END,
			state_since = CASE WHEN images.state = ? THEN excluded.state_since ELSE images.state_since END,
			state = CASE WHEN images.state = ? THEN 'wanted' ELSE images.state END
		RETURNING `+imageColumns,
		append([]any{
			i.Name, i.OrgID, i.Ref, i.Dockerfile, text(i.Contexts), text(i.Entrypoint), i.State, i.Reason, i.Progress, i.Waiting, i.RunnerID,
			i.SizeBytes, text(i.FoundEntrypoint), i.Isolation, millisPtr(i.UsedAt), millis(i.CreatedAt), millis(i.StateSince), 1, i.Digest, i.Sandbox,
		}, append(again, image.Failed, image.Failed, image.Failed)...)...)
}

// Image implements image.Store.
func (db *DB) Image(ctx context.Context, name string) (image.Image, error) {
	return find(ctx, db, db.reader(), scanImage, `SELECT `+imageColumns+` FROM images WHERE name = ?`, name)
}

// Images implements image.Store.
func (db *DB) Images(ctx context.Context) ([]image.Image, error) {
	return list(ctx, db, db.reader(), scanImage, `SELECT `+imageColumns+` FROM images ORDER BY created_at, name`)
}

// MoveImage implements image.Store.
func (db *DB) MoveImage(ctx context.Context, i image.Image) (image.Image, error) {
	out, err := find(ctx, db, db.writer(), scanImage, `UPDATE images SET state = ?, reason = ?, progress = ?, waiting = ?, runner_id = ?,
		size_bytes = ?, found_entrypoint = ?, isolation = ?, digest = ?, state_since = ?, version = version + 1
		WHERE name = ? AND version = ? RETURNING `+imageColumns,
		i.State, i.Reason, i.Progress, i.Waiting, i.RunnerID, i.SizeBytes, text(i.FoundEntrypoint), i.Isolation, i.Digest, millis(i.StateSince),
		i.Name, i.Version)
	if fault.Is(err, fault.NotFound) {
		return out, fault.New(fault.Conflict, "Image %s has changed meanwhile", i.Name)
	}
	return out, err
}

// unused is the condition for an image that nobody needs, with its arguments. One
// that was made of a sandbox cannot be made again, so any snapshot keeps it.
func unused(since time.Time) (string, []any) {
	gone := []snapshot.State{snapshot.Inactive, snapshot.Removing}
	making := []sandbox.State{sandbox.Creating, sandbox.PullingSnapshot, sandbox.PendingBuild, sandbox.BuildingSnapshot,
		sandbox.Archiving, sandbox.Archived, sandbox.Restoring, sandbox.Forking, sandbox.Error} // whose files fit on top of nothing else
	args := append([]any{millis(since)}, anys(gone)...)
	return `(used_at IS NULL OR used_at < ?)
		AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.image = images.name AND (s.state NOT IN (` + marks(len(gone)) + `) OR images.sandbox <> ''))
		AND NOT EXISTS (SELECT 1 FROM sandboxes b WHERE b.image = images.name AND b.state IN (` + marks(len(making)) + `))`,
		append(args, anys(making)...)
}

// UnusedImages implements image.Store.
func (db *DB) UnusedImages(ctx context.Context, since time.Time) ([]image.Image, error) {
	where, args := unused(since)
	return list(ctx, db, db.reader(), scanImage, `SELECT `+imageColumns+` FROM images WHERE `+where, args...)
}

// SpareImages implements image.Store.
func (db *DB) SpareImages(ctx context.Context, since time.Time) ([]image.Image, error) {
	where, args := unused(since)
	return list(ctx, db, db.reader(), scanImage, `SELECT `+imageColumns+` FROM images WHERE `+where+`
		AND NOT EXISTS (SELECT 1 FROM sandboxes b WHERE b.image = images.name AND b.state <> ?)
		ORDER BY COALESCE(used_at, 0), name`, append(args, sandbox.Destroyed)...)
}

// DeleteImage implements image.Store.
func (db *DB) DeleteImage(ctx context.Context, i image.Image, since time.Time) error {
	where, args := unused(since)
	n, err := db.writer().exec(ctx, `DELETE FROM images WHERE name = ? AND version = ? AND `+where, append([]any{i.Name, i.Version}, args...)...)
	if err == nil && n == 0 {
		return fault.New(fault.Conflict, "Image %s is needed again", i.Name)
	}
	return db.fault(err)
}
