//! Challenges, verifications and revocations: JSON.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};

use super::problem::{Problem, internal};
use crate::{Authority, challenges::LIFETIME};

type Body<T> = Result<Json<T>, JsonRejection>;

/// Nothing is asked with a challenge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {}

/// A fresh challenge.
#[derive(Serialize)]
pub struct ChallengeAnswer {
    challenge_id: String,
    /// Base64 of 32 bytes.
    challenge: String,
    /// RFC 3339.
    expires_at: String,
}

/// A card's answer to a challenge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerificationRequest {
    challenge_id: String,
    /// PEM.
    certificate: String,
    /// Base64.
    signature: String,
}

/// The decision.
#[derive(Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum VerificationAnswer {
    Success,
    Failure { reason: &'static str },
}

/// A certificate that is to be trusted no more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// PEM.
    certificate: String,
    /// RFC 5280, 5.3.1.
    #[serde(default = "unspecified")]
    reason: String,
}

fn unspecified() -> String {
    "unspecified".into()
}

/// Done.
#[derive(Serialize)]
pub struct RevocationAnswer {
    revoked: bool,
    /// It was revoked before.
    already: bool,
}

/// `POST /v1/challenges`.
pub async fn challenge(
    State(authority): State<Arc<Authority>>,
    body: Body<ChallengeRequest>,
) -> Result<Json<ChallengeAnswer>, Problem> {
    let _ = read(body)?;
    let challenge = authority.challenge().map_err(|_| Problem::EXHAUSTED)?;
    let expires = time::OffsetDateTime::from(SystemTime::now() + LIFETIME);
    Ok(Json(ChallengeAnswer {
        challenge_id: challenge.id,
        challenge: STANDARD.encode(challenge.bytes),
        expires_at: expires
            .format(&time::format_description::well_known::Rfc3339)
            .map_err(|error| internal(&error))?,
    }))
}

/// `POST /v1/verifications`.
pub async fn verify(
    State(authority): State<Arc<Authority>>,
    body: Body<VerificationRequest>,
) -> Result<Json<VerificationAnswer>, Problem> {
    let VerificationRequest { challenge_id, certificate, signature } = read(body)?;
    let certificate = certificate_der(&certificate)?;
    let not_base64 = |_| Problem::bad_request("`signature` must be base64");
    let signature = STANDARD.decode(signature).map_err(not_base64)?;
    let judged = blocking(move || authority.verify(&challenge_id, &certificate, &signature)).await?;
    Ok(Json(match judged.map_err(|error| internal(&error))? {
        Ok(()) => VerificationAnswer::Success,
        Err(reason) => VerificationAnswer::Failure { reason },
    }))
}

/// `POST /v1/revocations`.
pub async fn revoke(
    State(authority): State<Arc<Authority>>,
    body: Body<RevocationRequest>,
) -> Result<Json<RevocationAnswer>, Problem> {
    let RevocationRequest { certificate, reason } = read(body)?;
    let certificate = certificate_der(&certificate)?;
    let already = blocking(move || authority.revoke(&certificate, &reason)).await??;
    Ok(Json(RevocationAnswer { revoked: true, already }))
}

fn read<T>(body: Body<T>) -> Result<T, Problem> {
    body.map(|Json(value)| value).map_err(|rejection| Problem::bad_request(rejection.body_text()))
}

fn certificate_der(pem: &str) -> Result<CertificateDer<'static>, Problem> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| Problem::bad_request("`certificate` must be a certificate in PEM"))
}

/// The database is not for the threads that serve connections.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| internal(&error))
}
