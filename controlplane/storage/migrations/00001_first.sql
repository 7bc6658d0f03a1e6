-- One set for SQLite and PostgreSQL. Times are milliseconds since 1970, UTC;
-- maps and lists are JSON text; '' stands for "none" where a column is NOT NULL.

-- +goose Up
CREATE TABLE users (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    email          TEXT NOT NULL,
    email_verified BOOLEAN NOT NULL,
    role           TEXT NOT NULL,
    created_at     BIGINT NOT NULL
);

CREATE TABLE organizations (
    id                            TEXT PRIMARY KEY,
    name                          TEXT NOT NULL,
    created_by                    TEXT NOT NULL REFERENCES users (id),
    personal                      BOOLEAN NOT NULL,
    default_region_id             TEXT NOT NULL,
    total_cpu                     BIGINT NOT NULL,
    total_memory_gib              BIGINT NOT NULL,
    total_disk_gib                BIGINT NOT NULL,
    max_cpu                       BIGINT NOT NULL,
    max_memory_gib                BIGINT NOT NULL,
    max_disk_gib                  BIGINT NOT NULL,
    snapshot_quota                BIGINT NOT NULL,
    max_snapshot_size_gb          BIGINT NOT NULL,
    volume_quota                  BIGINT NOT NULL,
    suspended_at                  BIGINT,
    suspension_reason             TEXT NOT NULL,
    suspended_until               BIGINT,
    snapshot_deactivation_minutes BIGINT NOT NULL,
    suspension_grace_hours        BIGINT NOT NULL,
    limited_network_egress        BOOLEAN NOT NULL,
    created_at                    BIGINT NOT NULL,
    updated_at                    BIGINT NOT NULL
);
-- Everybody has one personal organization.
CREATE UNIQUE INDEX organizations_personal ON organizations (created_by) WHERE personal;

CREATE TABLE members (
    org_id     TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    role_ids   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX members_user ON members (user_id);

CREATE TABLE api_keys (
    org_id       TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL UNIQUE,
    prefix       TEXT NOT NULL,
    suffix       TEXT NOT NULL,
    permissions  TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    PRIMARY KEY (org_id, user_id, name),
    FOREIGN KEY (org_id, user_id) REFERENCES members (org_id, user_id) ON DELETE CASCADE
);

CREATE TABLE regions (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    org_id     TEXT NOT NULL,
    type       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE snapshots (
    id                TEXT PRIMARY KEY,
    org_id            TEXT NOT NULL,
    general           BOOLEAN NOT NULL,
    name              TEXT NOT NULL,
    image_name        TEXT NOT NULL,
    state             TEXT NOT NULL,
    size_bytes        BIGINT,
    entrypoint        TEXT,
    cpu               BIGINT NOT NULL,
    gpu               BIGINT NOT NULL,
    memory_gib        BIGINT NOT NULL,
    disk_gib          BIGINT NOT NULL,
    error_reason      TEXT,
    progress          TEXT NOT NULL,
    source_sandbox_id TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    last_used_at      BIGINT,
    UNIQUE (org_id, name)
);

CREATE TABLE sandboxes (
    id                 TEXT PRIMARY KEY,
    org_id             TEXT NOT NULL REFERENCES organizations (id),
    name               TEXT NOT NULL,
    user_id            TEXT NOT NULL,
    snapshot           TEXT NOT NULL,
    snapshot_id        TEXT NOT NULL,
    image              TEXT NOT NULL,
    build_info         TEXT,
    os_user            TEXT NOT NULL,
    target             TEXT NOT NULL,
    runner_id          TEXT NOT NULL,
    isolation          TEXT NOT NULL,
    class              TEXT NOT NULL,
    env                TEXT NOT NULL,
    labels             TEXT NOT NULL,
    public             BOOLEAN NOT NULL,
    network_block_all  BOOLEAN NOT NULL,
    network_allow_list TEXT,
    cpu                BIGINT NOT NULL,
    gpu                BIGINT NOT NULL,
    memory_gib         BIGINT NOT NULL,
    disk_gib           BIGINT NOT NULL,
    state              TEXT NOT NULL,
    desired            TEXT NOT NULL,
    state_since        BIGINT NOT NULL,
    error_reason       TEXT,
    recoverable        BOOLEAN NOT NULL,
    end_cause          TEXT NOT NULL,
    end_evidence       TEXT NOT NULL,
    ended_at           BIGINT,
    auto_stop          BIGINT NOT NULL,
    auto_archive       BIGINT NOT NULL,
    auto_delete        BIGINT NOT NULL,
    preview_token      TEXT NOT NULL,
    daemon_version     TEXT,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    last_activity_at   BIGINT NOT NULL,
    version            BIGINT NOT NULL,
    UNIQUE (org_id, name)
);
-- Quota sums and lists go by organization and state, the reconciler by runner,
-- the purge by state and time.
CREATE INDEX sandboxes_org_state ON sandboxes (org_id, state);
CREATE INDEX sandboxes_runner ON sandboxes (runner_id);
CREATE INDEX sandboxes_state_since ON sandboxes (state, state_since);

CREATE TABLE idempotency_keys (
    org_id     TEXT NOT NULL,
    key        TEXT NOT NULL,
    body_hash  TEXT NOT NULL,
    sandbox_id TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, key)
);
CREATE INDEX idempotency_keys_sandbox ON idempotency_keys (sandbox_id);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE sandboxes;
DROP TABLE snapshots;
DROP TABLE regions;
DROP TABLE api_keys;
DROP TABLE members;
DROP TABLE organizations;
DROP TABLE users;
