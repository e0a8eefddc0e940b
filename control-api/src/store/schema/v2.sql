-- Schema version 2.

-- The anchor that this store goes with, and the last of its batches that the store knows of.
CREATE TABLE anchor (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL CHECK (length(id) = 16),
    sequence INTEGER NOT NULL
) STRICT;
