//! Enrolment: the host certifies this terminal's device key for the channel, and has the authority certify the key that
//! it pairs itself with. Both keys are made here and never leave.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    error::Error,
    host::{Host, HostError},
    login::log_in,
    state::{Config, Device, State},
};

/// What the host is asked for.
#[derive(Serialize)]
struct Enrolment {
    csr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pairing_csr: Option<String>,
}

/// What it answers.
#[derive(Deserialize)]
struct Enrolled {
    pem: String,
    pairing: Option<Certified>,
}

/// The pairing key's certificate and the cards' authority's.
#[derive(Deserialize)]
struct Certified {
    pem: String,
    authority_pem: String,
}

/// Has the device key certified, and the pairing key too where the host can have that done.
pub async fn enrol(state: &State, config: &Config, password: &str) -> Result<Device, Error> {
    match with_pairing(state, config, password).await? {
        Some(device) => Ok(device),
        None => request(state, config, password, None).await,
    }
}

/// Has both keys certified; `None` if the host cannot pair.
pub async fn with_pairing(state: &State, config: &Config, password: &str) -> Result<Option<Device>, Error> {
    let key = kept(state.pairing_key()?, |pem| state.put_pairing_key(pem))?;
    let csr = certification_request(&key, &config.terminal)?;
    match request(state, config, password, Some(csr)).await {
        Err(Error::Host(HostError::Refused(problem))) if problem.is("pairing-unavailable") => {
            tracing::info!(%problem, "the host cannot have a pairing key certified");
            Ok(None)
        }
        enrolled => enrolled.map(Some),
    }
}

/// Enrols under a session of its own that ends right after.
async fn request(
    state: &State,
    config: &Config,
    password: &str,
    pairing_csr: Option<String>,
) -> Result<Device, Error> {
    let session = log_in(config, None, password).await?;
    let host = Host::new(&config.url, &config.trust, None)?.with_token(&session.token);
    let key_pem = kept(state.device_key()?, |pem| state.put_device_key(pem))?;
    let request = Enrolment { csr: certification_request(&key_pem, &config.terminal)?, pairing_csr };
    let answer = host.create(&["v1", "terminals", &config.terminal, "devices"], &request).await;
    host.delete(&["v1", "sessions", "current"]).await?;
    let enrolled: Enrolled = answer?;
    if let Some(Certified { pem, authority_pem }) = &enrolled.pairing {
        state.put_pairing_certificates(pem, authority_pem)?;
    }
    state.put_device_certificate(&enrolled.pem)?;
    Ok(Device { key_pem, certificate_pem: enrolled.pem })
}

/// The key that is there, or a new one that is kept.
fn kept<E>(
    key: Option<Zeroizing<String>>,
    keep: impl FnOnce(&str) -> Result<(), E>,
) -> Result<Zeroizing<String>, Error>
where
    Error: From<E>,
{
    if let Some(pem) = key {
        return Ok(pem);
    }
    let pem = Zeroizing::new(KeyPair::generate()?.serialize_pem());
    keep(&pem)?;
    Ok(pem)
}

fn certification_request(key_pem: &str, terminal: &str) -> Result<String, Error> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, terminal);
    Ok(parameters.serialize_request(&KeyPair::from_pem(key_pem)?)?.pem()?)
}
