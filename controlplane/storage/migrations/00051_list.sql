-- +goose Up
-- Pages of an organization's sandboxes in the orders that clients ask for.
CREATE INDEX sandboxes_active ON sandboxes (org_id, last_activity_at, id);
CREATE INDEX sandboxes_created ON sandboxes (org_id, created_at, id);

-- +goose Down
DROP INDEX sandboxes_created;
DROP INDEX sandboxes_active;
