//! Challenges, verification and revocation: the reference authority's own interface.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use der::pem::LineEnding;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Authority, AuthorityError, transport::send};

/// A fresh challenge.
#[derive(Debug)]
pub struct Challenge {
    /// The authority's name for it; empty if this host made it.
    pub(super) id: String,
    /// What the card signs, with [`cardhost_wire::control::authentication_message`].
    pub bytes: [u8; 32],
}

/// The decision about an authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The card proved its key and the certificate is good.
    Success,
    /// It did not, or the certificate is not.
    Failure {
        /// Why, as the authority names it.
        reason: String,
    },
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Deserialize)]
struct ChallengeAnswer {
    challenge_id: String,
    challenge: String,
}

#[derive(Serialize)]
struct VerificationRequest<'a> {
    challenge_id: &'a str,
    certificate: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum VerificationResult {
    Success,
    Failure,
}

#[derive(Deserialize)]
struct VerificationAnswer {
    result: VerificationResult,
    reason: Option<String>,
}

#[derive(Serialize)]
struct RevocationRequest<'a> {
    certificate: String,
    reason: &'a str,
}

#[derive(Deserialize)]
struct RevocationAnswer {
    revoked: bool,
}

impl Authority {
    /// A fresh challenge.
    pub async fn challenge(&self) -> Result<Challenge, AuthorityError> {
        if let Some(foreign) = &self.foreign {
            return foreign.challenge();
        }
        let answer: ChallengeAnswer = self.ask("/v1/challenges", &Nothing {}).await?;
        let bytes = STANDARD.decode(answer.challenge).map_err(|_| AuthorityError::Malformed)?;
        let bytes = bytes.try_into().map_err(|_| AuthorityError::Malformed)?;
        Ok(Challenge { id: answer.challenge_id, bytes })
    }

    /// Lets the authority decide whether this signature over the challenge is by this certificate's key, and
    /// whether the certificate (DER) is good.
    pub async fn verify(
        &self,
        challenge: Challenge,
        certificate: &[u8],
        signature: &[u8],
    ) -> Result<Verdict, AuthorityError> {
        if let Some(foreign) = &self.foreign {
            return foreign.verify(self, &challenge, certificate, signature).await;
        }
        let request = VerificationRequest {
            challenge_id: &challenge.id,
            certificate: pem(certificate)?,
            signature: STANDARD.encode(signature),
        };
        let answer: VerificationAnswer = self.ask("/v1/verifications", &request).await?;
        Ok(match answer.result {
            VerificationResult::Success => Verdict::Success,
            VerificationResult::Failure => {
                Verdict::Failure { reason: answer.reason.unwrap_or_else(|| "refused".into()) }
            }
        })
    }

    /// Revokes a certificate (DER); one that is revoked already counts as done. `reason` as RFC 5280, 5.3.1.
    pub async fn revoke(&self, certificate: &[u8], reason: &str) -> Result<(), AuthorityError> {
        if !self.revokes() {
            return Err(AuthorityError::Unsupported);
        }
        let request = RevocationRequest { certificate: pem(certificate)?, reason };
        let answer: RevocationAnswer = self.ask("/v1/revocations", &request).await?;
        if answer.revoked { Ok(()) } else { Err(AuthorityError::Malformed) }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, AuthorityError> {
        let answer = send(self.transport.post(path).json(request)).await?;
        serde_json::from_slice(&answer.body).map_err(|_| AuthorityError::Malformed)
    }
}

fn pem(der: &[u8]) -> Result<String, AuthorityError> {
    der::pem::encode_string("CERTIFICATE", LineEnding::LF, der).map_err(|_| AuthorityError::Malformed)
}
