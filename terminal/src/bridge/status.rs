//! What the host hands on of the authority's word on a card's certificate.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{
    error::Error,
    host::{Host, HostError},
    state::State,
};

/// The host's answer.
#[derive(Deserialize)]
struct CertificateStatus {
    ocsp_response: String,
}

/// An OCSP response (DER) about the certificate with this serial number, by the terminal's session.
pub async fn ask(state: &State, serial: &[u8]) -> Result<Vec<u8>, Error> {
    let (host, config) = Host::of(state)?;
    let serial = hex::encode(serial);
    let path = ["v1", "cards", &config.terminal, "certification", &serial];
    let CertificateStatus { ocsp_response } = host.read(&path).await?;
    let malformed = |error| HostError::Answer(serde::de::Error::custom(error));
    Ok(STANDARD.decode(ocsp_response).map_err(malformed)?)
}
