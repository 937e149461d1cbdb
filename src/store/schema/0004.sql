-- Notifications: how far `history` has been read for them, how each connection stands in them, and
-- what waits to be sent.

-- While nobody is to be told anything, nothing is looked at (`watching` = 0).
CREATE TABLE notice_cursor (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    watching INTEGER NOT NULL CHECK (watching IN (0, 1)),
    ordinal  INTEGER NOT NULL
) STRICT;
INSERT INTO notice_cursor (one, watching, ordinal) VALUES (1, 0, 0);

-- `look_at`: when the mere passing of time makes something worth telling.
CREATE TABLE lookout (
    connection INTEGER PRIMARY KEY REFERENCES connection (id),
    look_at    INTEGER,
    alerts     TEXT NOT NULL
) STRICT;
CREATE INDEX lookout_by_time ON lookout (look_at);

-- One row for each message and channel. AUTOINCREMENT: the order in which they are sent;
-- `next_attempt_at` is 0 until the channel has refused this one message.
CREATE TABLE notice (
    ordinal         INTEGER PRIMARY KEY AUTOINCREMENT,
    channel         TEXT NOT NULL,
    refusals        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL,
    record          TEXT NOT NULL
) STRICT;
CREATE INDEX notice_by_channel ON notice (channel, ordinal);
CREATE INDEX notice_by_next_attempt ON notice (channel, next_attempt_at);

-- The backoff of a channel as a whole. `dropped`: what had to go since one was last sent.
CREATE TABLE notice_channel (
    name            TEXT PRIMARY KEY,
    failures        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL DEFAULT 0,
    dropped         INTEGER NOT NULL DEFAULT 0,
    last_fault      TEXT
) STRICT;
