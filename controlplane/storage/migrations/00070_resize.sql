-- +goose Up
ALTER TABLE sandboxes ADD COLUMN resize TEXT;
ALTER TABLE sandboxes ADD COLUMN snapshotting TEXT NOT NULL DEFAULT '';
ALTER TABLE images ADD COLUMN sandbox TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE images DROP COLUMN sandbox;
ALTER TABLE sandboxes DROP COLUMN snapshotting;
ALTER TABLE sandboxes DROP COLUMN resize;
