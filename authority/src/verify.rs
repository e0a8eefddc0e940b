//! Deciding about one authentication.

use cardhost_wire::control::authentication_message;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use sha2::{Digest as _, Sha256};
use x509_parser::{parse_x509_certificate, public_key::PublicKey, x509::SubjectPublicKeyInfo};

use crate::store::Issued;

/// Why an authentication fails, as its `reason`.
pub type Reason = &'static str;

/// Judges a certificate that this authority issued and a signature by it over the challenge.
pub fn judge(issued: &Issued, now: i64, challenge: &[u8; 32], signature: &[u8]) -> Result<(), Reason> {
    if issued.revocation.is_some() {
        return Err("revoked");
    }
    if issued.not_after <= now {
        return Err("expired");
    }
    let (_, certificate) = parse_x509_certificate(&issued.der).map_err(|_| "malformed-certificate")?;
    let message = authentication_message(challenge, &Sha256::digest(&issued.der).into());
    let algorithm = algorithm(certificate.public_key()).ok_or("unsupported-key")?;
    let key = UnparsedPublicKey::new(algorithm, &certificate.public_key().subject_public_key.data);
    key.verify(&message, signature).map_err(|_| "bad-signature")
}

fn algorithm(key: &SubjectPublicKeyInfo<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    match key.parsed() {
        Ok(PublicKey::RSA(_)) => Some(&RSA_PKCS1_2048_8192_SHA256),
        Ok(PublicKey::EC(point)) if point.key_size() == 256 => Some(&ECDSA_P256_SHA256_ASN1),
        Ok(PublicKey::EC(point)) if point.key_size() == 384 => Some(&ECDSA_P384_SHA384_ASN1),
        _ => None,
    }
}
