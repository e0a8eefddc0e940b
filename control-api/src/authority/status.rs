//! The status of cards' pairing certificates as their authority says it (RFC 6960). Terminals verify it; the host only hands
//! it on, and reads how long it lasts.

use jiff::Timestamp;
use reqwest::header;
use sha2::{Digest as _, Sha256};
use x509_cert_for_ocsp::{
    Certificate,
    der::{
        self, Decode as _, Encode as _,
        asn1::{ObjectIdentifier, OctetString},
    },
    serial_number::SerialNumber,
    spki::AlgorithmIdentifierOwned,
};
use x509_ocsp::{BasicOcspResponse, CertId, OcspRequest, OcspResponse, Request, TbsRequest};

use super::{Authority, AuthorityError, PairingCa, transport::send};

const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// What the authority says of a card's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardStatus {
    /// Its signed answer (OCSPResponse, DER).
    pub response: Vec<u8>,
    /// When there will be a newer one.
    pub next_update: Timestamp,
}

impl Authority {
    /// The status of the card's certificate with this serial number.
    pub async fn card_status(&self, serial: &[u8]) -> Result<CardStatus, AuthorityError> {
        let issuer = self.pairing_ca(PairingCa::Cards).await?;
        let request = request(&issuer, serial).map_err(|_| AuthorityError::Malformed)?;
        let asked = self.transport.post("/ocsp").header(header::CONTENT_TYPE, "application/ocsp-request");
        let response = send(asked.body(request)).await?.body;
        let next_update = next_update(&response).ok_or(AuthorityError::Malformed)?;
        Ok(CardStatus { response, next_update })
    }
}

/// A request about one certificate (4.1.1), without a nonce: the answer is handed to whoever asks.
fn request(issuer: &[u8], serial: &[u8]) -> der::Result<Vec<u8>> {
    let issuer = Certificate::from_der(issuer)?.tbs_certificate;
    let hash = |bytes: &[u8]| OctetString::new(Sha256::digest(bytes).as_slice());
    let req_cert = CertId {
        hash_algorithm: AlgorithmIdentifierOwned { oid: SHA_256, parameters: None },
        issuer_name_hash: hash(&issuer.subject.to_der()?)?,
        issuer_key_hash: hash(issuer.subject_public_key_info.subject_public_key.raw_bytes())?,
        serial_number: SerialNumber::new(serial)?,
    };
    let request_list = vec![Request { req_cert, single_request_extensions: None }];
    OcspRequest {
        tbs_request: TbsRequest { request_list, ..TbsRequest::default() },
        optional_signature: None,
    }
    .to_der()
}

/// When there is newer information (4.2.2.1), if the response is a successful one that says so.
fn next_update(response: &[u8]) -> Option<Timestamp> {
    let bytes = OcspResponse::from_der(response).ok()?.response_bytes?;
    let basic = BasicOcspResponse::from_der(bytes.response.as_bytes()).ok()?;
    let next = basic.tbs_response_data.responses.first()?.next_update?;
    Timestamp::from_second(i64::try_from(next.0.to_unix_duration().as_secs()).ok()?).ok()
}
