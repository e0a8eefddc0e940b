//! What callers ask of certificates, checked before anything happens.

use cardhost_wire::key::Secret;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    http::{
        problem::{Fault, Kind},
        secret::SecretText,
    },
    lifecycle::CreateCertificate,
};

/// Longest subject, bytes of its text.
const MAX_SUBJECT: usize = 1024;

/// A wish for a certificate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateRequest {
    /// The PIV slot: 9A, 9C, 9D, 9E, 82 to 95. It must be empty.
    #[schema(example = "9A")]
    key_reference: String,
    /// RSA-2048, RSA-3072, P-256 or P-384.
    #[schema(example = "P-256")]
    algorithm: String,
    /// The subject's distinguished name (RFC 4514); the terminal's name as common name if absent.
    subject: Option<String>,
    /// For a new card: 6 to 8 digits. Visible to the daemon, for unattended orchestration.
    #[schema(value_type = Option<String>, write_only)]
    pin: Option<SecretText>,
    /// For a new card: 8 digits. Visible to the daemon.
    #[schema(value_type = Option<String>, write_only)]
    puk: Option<SecretText>,
    /// For a new card: an AES key of 16, 24 or 32 bytes, hex. Visible to the daemon.
    #[schema(value_type = Option<String>, write_only)]
    management_key: Option<SecretText>,
}

impl CertificateRequest {
    /// Checks every value.
    pub(super) fn check(self) -> Result<CreateCertificate, Fault> {
        let key_reference = self.key_reference.parse().map_err(|_| invalid("key_reference names no slot"))?;
        let algorithm = self.algorithm.parse().map_err(|_| invalid("algorithm is not offered"))?;
        Ok(CreateCertificate {
            key_reference,
            algorithm,
            subject: self.subject.map(subject).transpose()?,
            pin: self.pin.map(|pin| digits(pin, 6..=8, "pin")).transpose()?,
            puk: self.puk.map(|puk| digits(puk, 8..=8, "puk")).transpose()?,
            management_key: self.management_key.map(management_key).transpose()?,
        })
    }
}

/// A PIN of 6 to 8 digits.
pub fn pin(pin: SecretText) -> Result<Secret, Fault> {
    digits(pin, 6..=8, "pin")
}

fn subject(text: String) -> Result<String, Fault> {
    match text.len() {
        1..=MAX_SUBJECT => Ok(text),
        _ => Err(invalid("subject has 1 to 1,024 bytes")),
    }
}

fn digits(text: SecretText, lengths: std::ops::RangeInclusive<usize>, name: &str) -> Result<Secret, Fault> {
    let (shortest, longest) = (*lengths.start(), *lengths.end());
    let well_formed = text.as_str().bytes().all(|byte| byte.is_ascii_digit());
    if well_formed && lengths.contains(&text.as_str().len()) {
        Ok(text.into())
    } else {
        Err(invalid(&format!("{name} has {shortest} to {longest} digits")))
    }
}

fn management_key(text: SecretText) -> Result<Secret, Fault> {
    let key = hex::decode(text.as_str()).map(Secret).unwrap_or_default();
    match key.0.len() {
        16 | 24 | 32 => Ok(key),
        _ => Err(invalid("management_key is an AES key of 16, 24 or 32 bytes, hex")),
    }
}

fn invalid(why: &str) -> Fault {
    Fault::new(Kind::INVALID_VALUE, why)
}

#[cfg(test)]
mod tests {
    use cardhost_wire::key::{Algorithm, KeyReference};
    use serde_json::{Value, json};

    use super::*;

    fn check(request: Value) -> Result<CreateCertificate, Fault> {
        serde_json::from_value::<CertificateRequest>(request).unwrap().check()
    }

    #[test]
    fn slot_and_algorithm_are_enough() {
        let checked = check(json!({ "key_reference": "9A", "algorithm": "P-256" })).unwrap();
        assert_eq!(checked.key_reference, KeyReference::AUTHENTICATION);
        assert_eq!(checked.algorithm, Algorithm::P256);
        assert!(checked.subject.is_none() && checked.pin.is_none());
    }

    #[test]
    fn every_value_is_checked() {
        for (member, bad) in [
            ("key_reference", "9B"),
            ("algorithm", "P-521"),
            ("subject", ""),
            ("pin", "12345"),
            ("pin", "12345a"),
            ("puk", "1234567"),
            ("management_key", "00"),
            ("management_key", "xx"),
        ] {
            let mut request = json!({ "key_reference": "9A", "algorithm": "P-256" });
            request[member] = bad.into();
            assert_eq!(check(request).err().unwrap().kind, Kind::INVALID_VALUE, "{member} {bad}");
        }
    }
}
