-- Schema version 2: a certification authority for pairing beside the issuing one, with a list of its own.

ALTER TABLE certificates ADD COLUMN ca TEXT NOT NULL DEFAULT 'issuing' CHECK (ca IN ('issuing', 'pairing'));
-- 0 once a revoked certificate has expired and made room on its list.
ALTER TABLE certificates ADD COLUMN listed INTEGER NOT NULL DEFAULT 1 CHECK (listed IN (0, 1));
CREATE INDEX certificates_revoked ON certificates (ca, revoked_at) WHERE revoked_at IS NOT NULL AND listed = 1;

ALTER TABLE crl ADD COLUMN ca TEXT NOT NULL DEFAULT 'issuing' CHECK (ca IN ('issuing', 'pairing'));
CREATE UNIQUE INDEX crl_of_ca ON crl (ca);
INSERT INTO crl (number, ca) VALUES (1, 'pairing');
