-- Schema version 1. Frozen: later versions add a file of their own and must open databases of this one.
-- Times are Unix seconds; hashes, keys and sealed records are blobs.

-- Who may do what.
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password_hash TEXT NOT NULL
) STRICT;

CREATE TABLE terminals (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL REFERENCES users (name)
) STRICT;

CREATE TABLE devices (
    fingerprint BLOB PRIMARY KEY,
    terminal TEXT NOT NULL REFERENCES terminals (name),
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    token_hash BLOB PRIMARY KEY,
    user TEXT NOT NULL REFERENCES users (name),
    device BLOB,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency (
    id BLOB PRIMARY KEY,
    body BLOB NOT NULL,
    answer TEXT,
    created_at INTEGER NOT NULL
) STRICT;

-- One card per terminal at most. The wrapped key opens only in the launcher.
CREATE TABLE cards (
    terminal TEXT PRIMARY KEY REFERENCES terminals (name),
    card BLOB NOT NULL UNIQUE CHECK (length(card) = 16),
    wrapped_key BLOB NOT NULL,
    measurement BLOB NOT NULL CHECK (length(measurement) = 32),
    epoch INTEGER NOT NULL DEFAULT 0,
    head BLOB,
    atr BLOB,
    -- 'in-use'; 'ending' once the last credential is gone: the card waits for its destruction.
    state TEXT NOT NULL DEFAULT 'in-use' CHECK (state IN ('in-use', 'ending')),
    created_at INTEGER NOT NULL
) STRICT;

-- The card's non-volatile memory, sealed by the guest.
CREATE TABLE records (
    card BLOB NOT NULL REFERENCES cards (card) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (card, id)
) STRICT, WITHOUT ROWID;

-- What the guest reports to hold. `intent` names the creation that asked for the key; NULL if it came by APDU.
CREATE TABLE credentials (
    card BLOB NOT NULL REFERENCES cards (card) ON DELETE CASCADE,
    key_reference INTEGER NOT NULL,
    algorithm TEXT NOT NULL,
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    intent TEXT,
    PRIMARY KEY (card, key_reference)
) STRICT, WITHOUT ROWID;

-- Certificates that the authority issued for credentials of cards.
CREATE TABLE certificates (
    id TEXT PRIMARY KEY,
    terminal TEXT NOT NULL REFERENCES terminals (name),
    card BLOB NOT NULL REFERENCES cards (card),
    key_reference INTEGER NOT NULL,
    algorithm TEXT NOT NULL,
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    der BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (card, key_reference)
) STRICT;
CREATE INDEX certificates_by_terminal ON certificates (terminal);

-- Work that spans card, host and authority, written down before each remote step.
CREATE TABLE intents (
    id TEXT PRIMARY KEY,
    terminal TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Certificates that must be revoked yet; `request` instead, while only the certification request is known.
CREATE TABLE revocations (
    id INTEGER PRIMARY KEY,
    terminal TEXT NOT NULL,
    certificate BLOB,
    request BLOB,
    reason TEXT NOT NULL,
    -- 'queued'; 'orphan' where the authority offers no revocation and an operator has to act.
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'orphan')),
    created_at INTEGER NOT NULL,
    CHECK ((certificate IS NULL) <> (request IS NULL))
) STRICT;

-- Hash-chained and signed; `entry` is the exact text that was hashed.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    entry TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    signature BLOB NOT NULL
) STRICT;

-- Signed statements of destruction; `statement` is the exact text that was signed.
CREATE TABLE receipts (
    id TEXT PRIMARY KEY,
    terminal TEXT NOT NULL,
    card BLOB NOT NULL UNIQUE,
    statement TEXT NOT NULL,
    signature BLOB NOT NULL
) STRICT;
