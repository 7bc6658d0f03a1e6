-- +goose Up
CREATE TABLE warm_pools (
    id          TEXT PRIMARY KEY,
    org_id      TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    snapshot_id TEXT NOT NULL,
    target      TEXT NOT NULL,
    size        BIGINT NOT NULL,
    cpu         BIGINT NOT NULL,
    memory_gib  BIGINT NOT NULL,
    disk_gib    BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    UNIQUE (org_id, snapshot_id, target)
);

-- +goose Down
DROP TABLE warm_pools;
