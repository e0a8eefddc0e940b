//! Enrolment over Secure Transport (RFC 7030, 4.1 and 4.2; bodies in base64 as RFC 8951 has them). Which
//! authority is asked stands in the path as its label (3.2.2).

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cms::{
    cert::CertificateChoices,
    content_info::{CmsVersion, ContentInfo},
    signed_data::{CertificateSet, EncapsulatedContentInfo, SignedData, SignerInfos},
};
use der::{Any, Decode, Encode as _, asn1::SetOfVec, oid::ObjectIdentifier};

use super::problem::{Problem, internal};
use crate::{Authority, IssueError, ca::CaName};

const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// Base64 lines as MIME has them.
const LINE: usize = 76;

/// `GET …/cacerts`.
pub async fn ca_certificates(
    State(authority): State<Arc<Authority>>,
    Extension(ca): Extension<CaName>,
) -> Result<Response, Problem> {
    certificates(&authority.ca(ca).der)
}

/// `POST …/simpleenroll`.
pub async fn enroll(
    State(authority): State<Arc<Authority>>,
    Extension(ca): Extension<CaName>,
    body: Bytes,
) -> Result<Response, Problem> {
    answer(authority, ca, body, Authority::enroll).await
}

/// `POST …/simplereenroll`.
pub async fn renew(
    State(authority): State<Arc<Authority>>,
    Extension(ca): Extension<CaName>,
    body: Bytes,
) -> Result<Response, Problem> {
    answer(authority, ca, body, Authority::renew).await
}

/// How an authority answers a request.
type Issue = fn(&Authority, CaName, &[u8]) -> Result<Vec<u8>, IssueError>;

async fn answer(
    authority: Arc<Authority>,
    ca: CaName,
    body: Bytes,
    issue: Issue,
) -> Result<Response, Problem> {
    let request = decode(&body)?;
    let issued = tokio::task::spawn_blocking(move || issue(&authority, ca, &request));
    certificates(&issued.await.map_err(|error| internal(&error))??)
}

fn decode(body: &[u8]) -> Result<Vec<u8>, Problem> {
    let text: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(text).map_err(|_| Problem::bad_request("the body must be a PKCS#10 request in base64"))
}

/// A certs-only message (RFC 5272, 4.1) with one certificate.
fn certificates(certificate: &[u8]) -> Result<Response, Problem> {
    let message = certs_only(certificate).map_err(|error| internal(&error))?;
    let text = STANDARD.encode(message);
    let lines: Vec<_> = text.as_bytes().chunks(LINE).map(String::from_utf8_lossy).collect();
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/pkcs7-mime; smime-type=certs-only"),
        ("content-transfer-encoding", "base64"),
    ];
    Ok((headers, lines.join("\n") + "\n").into_response())
}

fn certs_only(certificate: &[u8]) -> der::Result<Vec<u8>> {
    let certificate = CertificateChoices::Certificate(Decode::from_der(certificate)?);
    let signed = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::new(),
        encap_content_info: EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None },
        certificates: Some(CertificateSet(SetOfVec::try_from(vec![certificate])?)),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::new()),
    };
    ContentInfo { content_type: ID_SIGNED_DATA, content: Any::encode_from(&signed)? }.to_der()
}
