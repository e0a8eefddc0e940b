//! Enrolment over Secure Transport (RFC 7030; base64 bodies as RFC 8951 has them).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cms::{
    cert::{
        CertificateChoices,
        x509::certificate::{CertificateInner, Rfc5280},
    },
    content_info::ContentInfo,
    signed_data::SignedData,
};
use der::Decode as _;
use reqwest::{StatusCode, header};
use tokio::time::{self, Instant};
use x509_parser::{
    certification_request::X509CertificationRequest, parse_x509_certificate, prelude::FromDer as _,
};

use super::{
    Authority, AuthorityError,
    transport::{Answer, send},
};

/// How long an undecided enrolment (202) is asked again.
const DECISION_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries, if the server does not say or says less.
const LEAST_DELAY: Duration = Duration::from_secs(1);

impl Authority {
    /// The CA certificates (RFC 7030, 4.1), DER.
    pub async fn ca_certificates(&self) -> Result<Vec<Vec<u8>>, AuthorityError> {
        self.certificates_at("/.well-known/est/cacerts").await
    }

    pub(super) async fn certificates_at(&self, path: &str) -> Result<Vec<Vec<u8>>, AuthorityError> {
        certificates(&send(self.transport.get(path)).await?)
    }

    /// A certificate (DER) for a PKCS#10 request (DER), RFC 7030, 4.2.1.
    pub async fn enroll(&self, request: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        self.ask_for_certificate("/.well-known/est/simpleenroll", request).await
    }

    /// A renewed certificate, RFC 7030, 4.2.2.
    pub async fn reenroll(&self, request: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        self.ask_for_certificate("/.well-known/est/simplereenroll", request).await
    }

    pub(super) async fn ask_for_certificate(
        &self,
        path: &str,
        request: &[u8],
    ) -> Result<Vec<u8>, AuthorityError> {
        let deadline = Instant::now() + DECISION_TIMEOUT;
        loop {
            let answer = send(
                self.transport
                    .post(path)
                    .header(header::CONTENT_TYPE, "application/pkcs10")
                    .header("Content-Transfer-Encoding", "base64")
                    .body(STANDARD.encode(request)),
            )
            .await?;
            if answer.status != StatusCode::ACCEPTED {
                return issued(&answer, request);
            }
            let again = Instant::now() + answer.retry_after.unwrap_or(LEAST_DELAY).max(LEAST_DELAY);
            if again > deadline {
                return Err(AuthorityError::Undecided);
            }
            time::sleep_until(again).await;
        }
    }
}

/// The certificate in the answer that is for the request's key.
fn issued(answer: &Answer, request: &[u8]) -> Result<Vec<u8>, AuthorityError> {
    let malformed = |_| AuthorityError::Malformed;
    let (_, request) = X509CertificationRequest::from_der(request).map_err(malformed)?;
    let key = request.certification_request_info.subject_pki.raw;
    let fits = |certificate: &Vec<u8>| {
        parse_x509_certificate(certificate).is_ok_and(|(_, certificate)| certificate.public_key().raw == key)
    };
    certificates(answer)?.into_iter().find(fits).ok_or(AuthorityError::Malformed)
}

/// The certificates of a certs-only CMC response (RFC 5272, 4.1: SignedData without signers).
fn certificates(answer: &Answer) -> Result<Vec<Vec<u8>>, AuthorityError> {
    let base64: Vec<u8> = answer.body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(base64).map_err(|_| AuthorityError::Malformed)?;
    certs_only(&bytes).map_err(|_| AuthorityError::Malformed)
}

fn certs_only(bytes: &[u8]) -> der::Result<Vec<Vec<u8>>> {
    let signed: SignedData = ContentInfo::from_der(bytes)?.content.decode_as()?;
    let choices = signed.certificates.map(|set| set.0.into_vec()).unwrap_or_default();
    choices.iter().filter_map(plain).map(der::Encode::to_der).collect()
}

fn plain(choice: &CertificateChoices) -> Option<&CertificateInner<Rfc5280>> {
    match choice {
        CertificateChoices::Certificate(certificate) => Some(certificate),
        CertificateChoices::Other(_) => None,
    }
}
