-- Images that runners pull or build, and the registries that they come from.

-- +goose Up
ALTER TABLE snapshots ADD COLUMN image TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN isolation TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN build_info TEXT;
UPDATE snapshots SET image = name;
CREATE INDEX snapshots_image ON snapshots (image);
CREATE INDEX sandboxes_image ON sandboxes (image);

CREATE TABLE images (
    name             TEXT PRIMARY KEY,
    org_id           TEXT NOT NULL,
    ref              TEXT NOT NULL,
    dockerfile       TEXT NOT NULL,
    contexts         TEXT NOT NULL,
    entrypoint       TEXT NOT NULL,
    state            TEXT NOT NULL,
    reason           TEXT NOT NULL,
    progress         TEXT NOT NULL,
    waiting          BIGINT NOT NULL,
    runner_id        TEXT NOT NULL,
    size_bytes       BIGINT NOT NULL,
    found_entrypoint TEXT NOT NULL,
    isolation        TEXT NOT NULL,
    used_at          BIGINT,
    created_at       BIGINT NOT NULL,
    state_since      BIGINT NOT NULL,
    version          BIGINT NOT NULL
);
CREATE INDEX images_state ON images (state);

CREATE TABLE registries (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    name       TEXT NOT NULL,
    url        TEXT NOT NULL,
    username   TEXT NOT NULL,
    secret     TEXT NOT NULL,
    project    TEXT NOT NULL,
    type       TEXT NOT NULL,
    is_default BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX registries_org ON registries (org_id);

-- +goose Down
DROP TABLE registries;
DROP TABLE images;
DROP INDEX sandboxes_image;
DROP INDEX snapshots_image;
ALTER TABLE snapshots DROP COLUMN build_info;
ALTER TABLE snapshots DROP COLUMN isolation;
ALTER TABLE snapshots DROP COLUMN image;
