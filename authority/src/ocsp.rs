//! Online certificate status (RFC 6960), answered and signed by the CA itself whose certificates are asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::SigningKey as _;
use ring::digest::{self, Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use x509_cert_for_ocsp::{
    Certificate,
    der::{
        self, Decode as _, Encode as _,
        asn1::{BitString, GeneralizedTime, ObjectIdentifier},
    },
    ext::pkix::CrlReason,
    spki::AlgorithmIdentifierOwned,
};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse, ResponderId,
    ResponseData, RevokedInfo, SingleResponse, Version,
};

use crate::{
    ca::{Ca, CaName},
    store::{Issued, StoreError},
};

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// The nonce extension (RFC 8954).
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
/// Hashes by which the issuer of a certificate may be named.
const HASHES: [(ObjectIdentifier, &Algorithm); 4] = [
    (ObjectIdentifier::new_unwrap("1.3.14.3.2.26"), &SHA1_FOR_LEGACY_USE_ONLY),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"), &SHA256),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), &SHA384),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), &SHA512),
];
/// Certificates asked for in one request.
const MAX_ASKED: usize = 16;

/// A CA that answers for its certificates.
pub struct Responder<'a> {
    /// Its name.
    pub name: CaName,
    /// Its key and certificate.
    pub ca: &'a Ca,
    /// How long an answer may be kept; at once there is a newer one if there is no such time.
    pub lasts: Option<Duration>,
}

/// Answers a request by the first responder one of whose certificates is asked for, or the first of all, which knows none;
/// `find` looks a certificate up by its serial number.
pub fn respond(
    responders: &[Responder<'_>],
    request: &[u8],
    find: impl Fn(&[u8]) -> Result<Option<Issued>, StoreError>,
) -> Vec<u8> {
    let response = match OcspRequest::from_der(request) {
        Ok(request) if request.tbs_request.request_list.len() <= MAX_ASKED => {
            answer(responders, &request, find).unwrap_or_else(|_| OcspResponse::internal_error())
        }
        _ => OcspResponse::malformed_request(),
    };
    response.to_der().unwrap_or_default()
}

/// The authority's own failure.
enum Failed {
    Encoding,
    Store,
    Signing,
}

impl From<der::Error> for Failed {
    fn from(_: der::Error) -> Self {
        Self::Encoding
    }
}

fn answer(
    responders: &[Responder<'_>],
    request: &OcspRequest,
    find: impl Fn(&[u8]) -> Result<Option<Issued>, StoreError>,
) -> Result<OcspResponse, Failed> {
    let issuers = responders.iter().map(|responder| Certificate::from_der(&responder.ca.der));
    let issuers: Vec<Certificate> = issuers.collect::<Result<_, _>>()?;
    let asked = &request.tbs_request.request_list;
    let is_asked = |issuer: &Certificate| asked.iter().any(|request| is_issuer(issuer, &request.req_cert));
    let chosen = issuers.iter().position(is_asked).unwrap_or_default();
    match (responders.get(chosen), issuers.into_iter().nth(chosen)) {
        (Some(responder), Some(issuer)) => basic(responder, issuer, request, find),
        _ => Err(Failed::Signing),
    }
}

/// True if the issuer of what is asked for has this certificate (RFC 6960, 4.1.1).
fn is_issuer(issuer: &Certificate, asked: &CertId) -> bool {
    let named = HASHES.iter().find(|(name, _)| *name == asked.hash_algorithm.oid);
    let (Some((_, algorithm)), Ok(subject)) = (named, issuer.tbs_certificate.subject.to_der()) else {
        return false;
    };
    let hash = |bytes: &[u8]| digest::digest(algorithm, bytes);
    let key = &issuer.tbs_certificate.subject_public_key_info.subject_public_key;
    hash(&subject).as_ref() == asked.issuer_name_hash.as_bytes()
        && hash(key.raw_bytes()).as_ref() == asked.issuer_key_hash.as_bytes()
}

fn basic(
    responder: &Responder<'_>,
    issuer: Certificate,
    request: &OcspRequest,
    find: impl Fn(&[u8]) -> Result<Option<Issued>, StoreError>,
) -> Result<OcspResponse, Failed> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = time(since_epoch)?;
    let next = responder.lasts.map(|lasts| time(since_epoch + lasts)).transpose()?;
    let answer = |asked: &CertId| {
        let found = find(asked.serial_number.as_bytes()).map_err(|_| Failed::Store)?;
        let found = found.filter(|issued| issued.ca == responder.name && is_issuer(&issuer, asked));
        Ok(single(asked, found.as_ref(), (now, next))?)
    };
    let asked = request.tbs_request.request_list.iter();
    let responses = asked.map(|request| answer(&request.req_cert)).collect::<Result<_, Failed>>()?;
    let nonce = request.tbs_request.request_extensions.iter().flatten().find(|found| found.extn_id == NONCE);
    let data = ResponseData {
        version: Version::V1,
        responder_id: ResponderId::ByName(issuer.tbs_certificate.subject.clone()),
        produced_at: now,
        responses,
        response_extensions: nonce.cloned().map(|nonce| vec![nonce]),
    };
    let signature = responder.ca.issuer.key().sign(&data.to_der()?).map_err(|_| Failed::Signing)?;
    Ok(OcspResponse::successful(BasicOcspResponse {
        tbs_response_data: data,
        signature_algorithm: AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None },
        signature: BitString::from_bytes(&signature)?,
        certs: None,
    })?)
}

fn single(
    asked: &CertId,
    found: Option<&Issued>,
    (this_update, next_update): (OcspGeneralizedTime, Option<OcspGeneralizedTime>),
) -> der::Result<SingleResponse> {
    let cert_status = match found.map(|issued| &issued.revocation) {
        None => CertStatus::unknown(),
        Some(None) => CertStatus::good(),
        Some(Some(revocation)) => CertStatus::revoked(RevokedInfo {
            revocation_time: time(Duration::from_secs(revocation.at.unsigned_abs()))?,
            revocation_reason: reason(&revocation.reason),
        }),
    };
    let cert_id = asked.clone();
    Ok(SingleResponse { cert_id, cert_status, this_update, next_update, single_extensions: None })
}

fn time(since_epoch: Duration) -> der::Result<OcspGeneralizedTime> {
    GeneralizedTime::from_unix_duration(since_epoch).map(OcspGeneralizedTime)
}

fn reason(name: &str) -> Option<CrlReason> {
    Some(match name {
        "keyCompromise" => CrlReason::KeyCompromise,
        "affiliationChanged" => CrlReason::AffiliationChanged,
        "superseded" => CrlReason::Superseded,
        "cessationOfOperation" => CrlReason::CessationOfOperation,
        "privilegeWithdrawn" => CrlReason::PrivilegeWithdrawn,
        _ => return None,
    })
}
