-- The chain of `history`: each line's hash covers the line and the hash before it, so that nothing
-- in it is changed or taken out unnoticed. Lines that were there before get theirs as this is made.
ALTER TABLE event ADD COLUMN hash BLOB CHECK (hash IS NULL OR length(hash) = 32);
