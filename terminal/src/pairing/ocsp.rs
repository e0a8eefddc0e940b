//! What the cards' authority says of a card's certificate: an OCSP response (RFC 6960), which the host hands on and this
//! terminal verifies.

use std::time::{Duration, SystemTime};

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};
use x509_cert_for_ocsp::der::{Decode as _, Encode as _, asn1::ObjectIdentifier};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus,
    SingleResponse,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, time::ASN1Time};

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// The authority's clock may differ from this computer's by so much.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A certificate's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not revoked, as far as the authority knew lately.
    Good,
    /// Revoked, for good.
    Revoked,
}

/// Why a response says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Not a successful basic OCSP response.
    #[error("it is not a successful OCSP response")]
    Malformed,
    /// Signed by somebody else.
    #[error("it is not signed by the authority of cards, or a responder of its")]
    NotSigned,
    /// It tells of another certificate.
    #[error("it is about another certificate")]
    Other,
    /// The authority knows no such certificate.
    #[error("the authority does not know the certificate")]
    Unknown,
    /// It is out of date, or of a time to come.
    #[error("it is out of date")]
    NotNow,
}

/// What a response (DER) says of the certificate with this serial number by this authority (its certificate, DER).
///
/// # Errors
/// See [`StatusError`].
pub fn status(
    authority: &[u8],
    serial: &[u8],
    response: &[u8],
    now: SystemTime,
) -> Result<Status, StatusError> {
    let (_, authority) = X509Certificate::from_der(authority).map_err(|_| StatusError::NotSigned)?;
    let response = basic(response)?;
    if !is_signed(&response, &authority, now) {
        return Err(StatusError::NotSigned);
    }
    let is_asked = |single: &&SingleResponse| is_about(&single.cert_id, &authority, serial);
    let single = response.tbs_response_data.responses.iter().find(is_asked).ok_or(StatusError::Other)?;
    match single.cert_status {
        CertStatus::Revoked(_) => Ok(Status::Revoked),
        CertStatus::Good(_) if is_current(single, now) => Ok(Status::Good),
        CertStatus::Good(_) => Err(StatusError::NotNow),
        CertStatus::Unknown(_) => Err(StatusError::Unknown),
    }
}

fn basic(response: &[u8]) -> Result<BasicOcspResponse, StatusError> {
    let response = OcspResponse::from_der(response).map_err(|_| StatusError::Malformed)?;
    match response.response_bytes {
        Some(bytes)
            if response.response_status == OcspResponseStatus::Successful && bytes.response_type == BASIC =>
        {
            BasicOcspResponse::from_der(bytes.response.as_bytes()).map_err(|_| StatusError::Malformed)
        }
        _ => Err(StatusError::Malformed),
    }
}

/// By the authority's own key, or one that it certified for this (4.2.2.2).
fn is_signed(response: &BasicOcspResponse, authority: &X509Certificate<'_>, now: SystemTime) -> bool {
    let Ok(signed) = response.tbs_response_data.to_der() else { return false };
    let verifies = |signer: &X509Certificate<'_>| {
        let key =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &signer.public_key().subject_public_key.data);
        key.verify(&signed, response.signature.raw_bytes()).is_ok()
    };
    let by_delegate = || {
        response.certs.iter().flatten().filter_map(|certificate| certificate.to_der().ok()).any(|der| {
            X509Certificate::from_der(&der)
                .is_ok_and(|(_, signer)| is_delegate(&signer, authority, now) && verifies(&signer))
        })
    };
    response.signature_algorithm.oid == ECDSA_WITH_SHA256 && (verifies(authority) || by_delegate())
}

fn is_delegate(signer: &X509Certificate<'_>, authority: &X509Certificate<'_>, now: SystemTime) -> bool {
    let usage = signer.extended_key_usage().ok().flatten();
    usage.is_some_and(|usage| usage.value.ocsp_signing)
        && signer.validity().is_valid_at(asn1_time(now))
        && signer.verify_signature(Some(authority.public_key())).is_ok()
}

fn is_about(asked: &CertId, authority: &X509Certificate<'_>, serial: &[u8]) -> bool {
    let hash = |bytes: &[u8]| Sha256::digest(bytes);
    asked.hash_algorithm.oid == SHA_256
        && asked.issuer_name_hash.as_bytes() == hash(authority.subject().as_raw()).as_slice()
        && asked.issuer_key_hash.as_bytes()
            == hash(&authority.public_key().subject_public_key.data).as_slice()
        && without_leading_zeros(asked.serial_number.as_bytes()) == without_leading_zeros(serial)
}

/// The number without what DER puts before it.
fn without_leading_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

/// A response that does not say when there will be a newer one is no good later.
fn is_current(single: &SingleResponse, now: SystemTime) -> bool {
    let time = |time: &OcspGeneralizedTime| SystemTime::UNIX_EPOCH + time.0.to_unix_duration();
    time(&single.this_update) <= now + CLOCK_SKEW
        && single.next_update.as_ref().is_some_and(|next| now <= time(next) + CLOCK_SKEW)
}

fn asn1_time(now: SystemTime) -> ASN1Time {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    ASN1Time::from_timestamp(seconds).unwrap_or_else(|_| ASN1Time::now())
}

#[cfg(test)]
#[path = "ocsp_tests.rs"]
mod tests;
