-- Schema version 2.

-- The anchor that this store goes with, and the last of its batches that the store knows of.
CREATE TABLE anchor (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL CHECK (length(id) = 16),
    sequence INTEGER NOT NULL
) STRICT;

-- What would be a walk through a million rows otherwise: a user's terminals, and the few cards that wait for their end.
CREATE INDEX terminals_by_owner ON terminals (owner, name);
CREATE INDEX cards_ending ON cards (state) WHERE state = 'ending';

-- How many cards there are.
CREATE TABLE totals (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    cards INTEGER NOT NULL
) STRICT;
INSERT INTO totals (one, cards) SELECT 1, count(*) FROM cards;
CREATE TRIGGER card_comes AFTER INSERT ON cards BEGIN UPDATE totals SET cards = cards + 1; END;
CREATE TRIGGER card_goes AFTER DELETE ON cards BEGIN UPDATE totals SET cards = cards - 1; END;
