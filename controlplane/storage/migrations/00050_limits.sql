-- +goose Up
-- NULL is as the server's settings say.
ALTER TABLE organizations ADD COLUMN rate_authenticated BIGINT;
ALTER TABLE organizations ADD COLUMN rate_authenticated_seconds BIGINT;
ALTER TABLE organizations ADD COLUMN rate_create BIGINT;
ALTER TABLE organizations ADD COLUMN rate_create_seconds BIGINT;
ALTER TABLE organizations ADD COLUMN rate_lifecycle BIGINT;
ALTER TABLE organizations ADD COLUMN rate_lifecycle_seconds BIGINT;

-- What an organization may use in a region, where that differs from its own row.
CREATE TABLE region_quotas (
    org_id           TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    region_id        TEXT NOT NULL,
    total_cpu        BIGINT,
    total_memory_gib BIGINT,
    total_disk_gib   BIGINT,
    max_cpu          BIGINT,
    max_memory_gib   BIGINT,
    max_disk_gib     BIGINT,
    PRIMARY KEY (org_id, region_id)
);

-- Sums for the quota are answered from the index alone.
CREATE INDEX sandboxes_usage ON sandboxes (org_id, target, state, cpu, memory_gib, disk_gib, id);

-- +goose Down
DROP INDEX sandboxes_usage;
DROP TABLE region_quotas;
ALTER TABLE organizations DROP COLUMN rate_lifecycle_seconds;
ALTER TABLE organizations DROP COLUMN rate_lifecycle;
ALTER TABLE organizations DROP COLUMN rate_create_seconds;
ALTER TABLE organizations DROP COLUMN rate_create;
ALTER TABLE organizations DROP COLUMN rate_authenticated_seconds;
ALTER TABLE organizations DROP COLUMN rate_authenticated;
