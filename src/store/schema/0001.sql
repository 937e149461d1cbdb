-- One rule for all tables: what is asked for by value is a column, and the whole of what the
-- journal knows is JSON in `record`. Instants in columns are UTC milliseconds, rounded down; in
-- records they are RFC 3339 and whole. IDs are text, as `sqlite3` shows them to a person at night.

-- The one row that says which master key everything is sealed with.
CREATE TABLE store (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 16)
) STRICT;

-- The store's own ID is the youngest; the others are those of the stores it was restored from.
CREATE TABLE instance (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE
) STRICT;

-- AUTOINCREMENT: the number of a connection is part of what its values are sealed with, and is
-- never given to another one.
CREATE TABLE connection (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT NOT NULL,
    tenant_id      TEXT NOT NULL,
    client_id      TEXT NOT NULL,
    cloud          TEXT NOT NULL,
    object_id      TEXT,
    paused         INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    removed_at     INTEGER,
    anchor         TEXT NOT NULL,
    due_at         INTEGER NOT NULL,
    next_action_at INTEGER,
    mutated_at     INTEGER,
    record         TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX connection_by_name ON connection (name) WHERE removed_at IS NULL;
-- Removed ones are asked for by name too.
CREATE INDEX connection_by_any_name ON connection (name);
CREATE UNIQUE INDEX connection_by_application ON connection (tenant_id, client_id)
    WHERE removed_at IS NULL;
CREATE INDEX connection_by_next_action ON connection (next_action_at) WHERE removed_at IS NULL;

-- A secret that is gone from Entra stays as a row without a value: its Key ID was ours.
CREATE TABLE secret (
    connection  INTEGER NOT NULL REFERENCES connection (id),
    key_id      TEXT NOT NULL,
    role        TEXT NOT NULL,
    expires_at  INTEGER,
    gone        INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1)),
    value       BLOB,
    fingerprint BLOB CHECK (length(fingerprint) = 16),
    record      TEXT NOT NULL,
    PRIMARY KEY (connection, key_id),
    CHECK ((value IS NULL) = (fingerprint IS NULL)),
    CHECK (gone = 0 OR value IS NULL)
) STRICT;

-- `state` is the one that stands, `blocked` included; `unpromoted` looks through it.
CREATE TABLE rotation (
    id         TEXT PRIMARY KEY,
    connection INTEGER NOT NULL REFERENCES connection (id),
    started_at INTEGER NOT NULL,
    state      TEXT NOT NULL,
    unpromoted INTEGER NOT NULL CHECK (unpromoted IN (0, 1)),
    ended      INTEGER NOT NULL CHECK (ended IN (0, 1)),
    record     TEXT NOT NULL
) STRICT;

CREATE INDEX rotation_by_connection ON rotation (connection, ended, started_at);
-- P4, P5: at most one rotation of a connection stands before `promoted`.
CREATE UNIQUE INDEX rotation_unpromoted ON rotation (connection) WHERE unpromoted = 1;

-- Every name that was ever given to an addPassword call, and the key that it made.
CREATE TABLE attempt (
    ordinal    INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    connection INTEGER NOT NULL REFERENCES connection (id),
    rotation   TEXT NOT NULL REFERENCES rotation (id),
    key_id     TEXT
) STRICT;

CREATE INDEX attempt_by_rotation ON attempt (rotation);

CREATE TABLE delivery (
    connection  INTEGER NOT NULL REFERENCES connection (id),
    destination TEXT NOT NULL,
    record      TEXT NOT NULL,
    PRIMARY KEY (connection, destination)
) STRICT;

CREATE TABLE removal (
    connection INTEGER NOT NULL REFERENCES connection (id),
    key_id     TEXT NOT NULL,
    record     TEXT NOT NULL,
    PRIMARY KEY (connection, key_id)
) STRICT;

CREATE TABLE watch (
    connection INTEGER NOT NULL REFERENCES connection (id),
    attempt    TEXT NOT NULL,
    record     TEXT NOT NULL,
    PRIMARY KEY (connection, attempt)
) STRICT;

-- `connection` is the row, so that a renamed connection keeps its history; the record keeps the
-- name that it had.
CREATE TABLE event (
    ordinal    INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    connection INTEGER REFERENCES connection (id),
    record     TEXT NOT NULL
) STRICT;

CREATE INDEX event_by_connection ON event (connection, at);
