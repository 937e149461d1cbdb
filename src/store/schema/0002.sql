-- By the host's clock, when `next_action_at` was written: one that lies in the future was written
-- by a clock that was wrong, and so was what it says. NULL: from before this was kept, and trusted.
ALTER TABLE connection ADD COLUMN planned_at INTEGER;

CREATE INDEX connection_by_planned ON connection (planned_at) WHERE removed_at IS NULL;

-- Rotations are told apart by the order in which they were written; `started_at` is by a clock.
DROP INDEX rotation_by_connection;
CREATE INDEX rotation_by_connection ON rotation (connection);
