-- Schema version 3: two certification authorities for pairing, of cards (CA-KLCC) and of terminals (CA-KLOC). The one before
-- them is the terminals': cards hold its key for good, to know terminals and lists by, so that what it issued goes on working.

CREATE TABLE certificates_of_three (
    ca             TEXT NOT NULL CHECK (ca IN ('issuing', 'pairing-cards', 'pairing-terminals')),
    serial         BLOB PRIMARY KEY,          -- as in the certificate
    der            BLOB NOT NULL,
    subject        TEXT NOT NULL,
    public_key     BLOB NOT NULL,             -- SubjectPublicKeyInfo
    request_sha256 BLOB UNIQUE,               -- of the PKCS#10 request, with a prefix that says what was asked of whom
    not_after      INTEGER NOT NULL,
    revoked_at     INTEGER,
    reason         TEXT,
    -- 0 once a revoked certificate has expired and made room on its list.
    listed         INTEGER NOT NULL DEFAULT 1 CHECK (listed IN (0, 1))
) STRICT;
INSERT INTO certificates_of_three
    SELECT CASE ca WHEN 'pairing' THEN 'pairing-terminals' ELSE ca END,
        serial, der, subject, public_key, request_sha256, not_after, revoked_at, reason, listed
    FROM certificates;
DROP TABLE certificates;
ALTER TABLE certificates_of_three RENAME TO certificates;
CREATE INDEX certificates_by_key ON certificates (public_key);
CREATE INDEX certificates_revoked ON certificates (ca, revoked_at) WHERE revoked_at IS NOT NULL AND listed = 1;

-- Lists: of revoked cards there is none.
CREATE TABLE lists (
    ca     TEXT PRIMARY KEY CHECK (ca IN ('issuing', 'pairing-terminals')),
    number INTEGER NOT NULL
) STRICT;
INSERT INTO lists SELECT CASE ca WHEN 'pairing' THEN 'pairing-terminals' ELSE ca END, number FROM crl;
DROP TABLE crl;
ALTER TABLE lists RENAME TO crl;
