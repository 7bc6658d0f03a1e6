-- +goose Up
ALTER TABLE sandboxes ADD COLUMN backup TEXT;

-- +goose Down
ALTER TABLE sandboxes DROP COLUMN backup;
