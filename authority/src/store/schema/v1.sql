-- Schema version 1. Frozen: later versions add a file of their own and must open databases of this one.
-- Times are seconds since 1970-01-01 UTC.
CREATE TABLE certificates (
    serial         BLOB PRIMARY KEY,          -- as in the certificate
    der            BLOB NOT NULL,
    subject        TEXT NOT NULL,
    public_key     BLOB NOT NULL,             -- SubjectPublicKeyInfo
    request_sha256 BLOB UNIQUE,               -- of the PKCS#10 request, for a renewal with a prefix
    not_after      INTEGER NOT NULL,
    revoked_at     INTEGER,
    reason         TEXT
) STRICT;
CREATE INDEX certificates_by_key ON certificates (public_key);
CREATE TABLE crl (number INTEGER NOT NULL) STRICT;
INSERT INTO crl (number) VALUES (1);
