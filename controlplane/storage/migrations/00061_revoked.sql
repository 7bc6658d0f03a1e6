-- +goose Up
-- Tokens that were taken back are kept, so that what was opened with them ends.
ALTER TABLE grants ADD COLUMN revoked BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
DELETE FROM grants WHERE revoked;
ALTER TABLE grants DROP COLUMN revoked;
