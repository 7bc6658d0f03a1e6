-- What a tag stood for when it was pulled first, so that a snapshot stays what it
-- was wherever the tag moves.

-- +goose Up
ALTER TABLE images ADD COLUMN digest TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN digest TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE snapshots DROP COLUMN digest;
ALTER TABLE images DROP COLUMN digest;
