-- +goose Up
ALTER TABLE sandboxes ADD COLUMN domain_allow_list TEXT;
-- Whether the runner has yet to be told what the columns say.
ALTER TABLE sandboxes ADD COLUMN network_pending BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
ALTER TABLE sandboxes DROP COLUMN network_pending;
ALTER TABLE sandboxes DROP COLUMN domain_allow_list;
