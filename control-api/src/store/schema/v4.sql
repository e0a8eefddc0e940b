-- Schema version 4: eUICC profiles.

-- The eUICC profiles that the guest reports to hold: credentials, as keys are.
CREATE TABLE profiles (
    card BLOB NOT NULL REFERENCES cards (card) ON DELETE CASCADE,
    iccid TEXT NOT NULL,
    PRIMARY KEY (card, iccid)
) STRICT, WITHOUT ROWID;
