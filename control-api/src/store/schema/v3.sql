-- Schema version 3: the pairing of cards with terminals.

-- A card's pairing key on its way to its certificate.
CREATE TABLE pairing_keys (
    card BLOB PRIMARY KEY REFERENCES cards (card) ON DELETE CASCADE,
    -- The certification request, until the card has its certificate.
    request BLOB,
    certificate BLOB,
    CHECK (request IS NOT NULL OR certificate IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- Number of the newest revocation list that the card accepted, 0 before the first; NULL until it has the certificate of
-- its pairing key.
ALTER TABLE cards ADD COLUMN revocations INTEGER;

-- The newest revocation list of the pairing authority.
CREATE TABLE revocation_list (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Identifier of the key that signed it.
    authority BLOB NOT NULL,
    number INTEGER NOT NULL,
    list BLOB NOT NULL
) STRICT;

-- Certificate of the key with which the device pairs; NULL if it has none.
ALTER TABLE devices ADD COLUMN pairing_certificate BLOB;

-- What the key of the certificate is for.
ALTER TABLE revocations ADD COLUMN purpose TEXT NOT NULL DEFAULT 'credential'
    CHECK (purpose IN ('credential', 'card-pairing', 'terminal-pairing'));
