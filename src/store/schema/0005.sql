-- Reconciling connections with Entra: when that was done last (0: never), and what was found.
ALTER TABLE connection ADD COLUMN reconciled_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE connection ADD COLUMN reconciliation TEXT;
CREATE INDEX connection_by_reconciled ON connection (reconciled_at) WHERE removed_at IS NULL;
