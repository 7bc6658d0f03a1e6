-- +goose Up
ALTER TABLE sandboxes ADD COLUMN fork_of TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sandboxes DROP COLUMN fork_of;
