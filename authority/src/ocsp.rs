//! Online certificate status (RFC 6960), answered and signed by the issuing CA itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::SigningKey as _;
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
    ca::Ca,
    store::{Issued, StoreError},
};

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// The nonce extension (RFC 8954).
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
/// Certificates asked for in one request.
const MAX_ASKED: usize = 16;

/// Answers a request; `find` looks a certificate up by its serial number.
pub fn respond(
    ca: &Ca,
    request: &[u8],
    find: impl Fn(&[u8]) -> Result<Option<Issued>, StoreError>,
) -> Vec<u8> {
    let response = match OcspRequest::from_der(request) {
        Ok(request) if request.tbs_request.request_list.len() <= MAX_ASKED => {
            basic(ca, &request, find).unwrap_or_else(|_| OcspResponse::internal_error())
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

fn basic(
    ca: &Ca,
    request: &OcspRequest,
    find: impl Fn(&[u8]) -> Result<Option<Issued>, StoreError>,
) -> Result<OcspResponse, Failed> {
    let now = time(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())?;
    let issuer = Certificate::from_der(&ca.der)?;
    let answer = |asked: &CertId| {
        let found = find(asked.serial_number.as_bytes()).map_err(|_| Failed::Store)?;
        Ok(single(asked, found.as_ref(), now)?)
    };
    let asked = request.tbs_request.request_list.iter();
    let responses = asked.map(|request| answer(&request.req_cert)).collect::<Result<_, Failed>>()?;
    let nonce = request.tbs_request.request_extensions.iter().flatten().find(|found| found.extn_id == NONCE);
    let data = ResponseData {
        version: Version::V1,
        responder_id: ResponderId::ByName(issuer.tbs_certificate.subject),
        produced_at: now,
        responses,
        response_extensions: nonce.cloned().map(|nonce| vec![nonce]),
    };
    let signature = ca.issuer.key().sign(&data.to_der()?).map_err(|_| Failed::Signing)?;
    Ok(OcspResponse::successful(BasicOcspResponse {
        tbs_response_data: data,
        signature_algorithm: AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None },
        signature: BitString::from_bytes(&signature)?,
        certs: None,
    })?)
}

fn single(asked: &CertId, found: Option<&Issued>, now: OcspGeneralizedTime) -> der::Result<SingleResponse> {
    let cert_status = match found.map(|issued| &issued.revocation) {
        None => CertStatus::unknown(),
        Some(None) => CertStatus::good(),
        Some(Some(revocation)) => CertStatus::revoked(RevokedInfo {
            revocation_time: time(Duration::from_secs(revocation.at.unsigned_abs()))?,
            revocation_reason: reason(&revocation.reason),
        }),
    };
    let cert_id = asked.clone();
    Ok(SingleResponse { cert_id, cert_status, this_update: now, next_update: None, single_extensions: None })
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
