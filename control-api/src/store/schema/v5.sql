-- Schema version 5: the renewal of the certificates of cards' pairing keys.

-- When the certificate is to be renewed, or that is to be tried again; NULL until the card has one.
ALTER TABLE pairing_keys ADD COLUMN renew_at INTEGER;
-- The request that it is renewed with; NULL for a card that was certified before this version, which is asked for one.
ALTER TABLE pairing_keys ADD COLUMN renewal_request BLOB;
-- The renewed certificate, until the card has it.
ALTER TABLE pairing_keys ADD COLUMN renewed BLOB;
CREATE INDEX pairing_keys_due ON pairing_keys (renew_at) WHERE renew_at IS NOT NULL;
-- By the one authority that cards and terminals had in common.
UPDATE pairing_keys SET renew_at = 0 WHERE request IS NULL;
