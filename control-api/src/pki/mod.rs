//! The host's own public key infrastructure, made at the first start.
//!
//! | file in `pki/` | what |
//! |---|---|
//! | `host-ca.{pem,key}` | signs the daemon's TLS server certificate and its client certificate towards the embedded authority |
//! | `device-ca.{pem,key}` | signs the client certificates of terminals |
//! | `signing.{key,pub}` | Ed25519: signs receipts and heads of the audit log, see [`crate::audit`] |
//!
//! The key of the server certificate stands in memory only: a new one is made and certified at each start.

mod issue;
mod pairing;
mod revocation_list;

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use time::{Duration, OffsetDateTime};

use crate::data_dir::{DataDir, DataDirError, read_optional, write_private};

pub use issue::{DeviceCertificate, DeviceRequestRefused, Identity};
pub use pairing::{PairingRequestRefused, is_issued_by, last_third, pairing_request};
pub use revocation_list::{MAX_ENTRIES, MalformedList, RevocationList};

/// Validity of the host's certification authorities.
const CA_VALIDITY: Duration = Duration::days(3650);

/// Why the public key infrastructure is not usable.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Its files cannot be read or written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A stored key or certificate does not parse.
    #[error("{0} is damaged: restore it from a backup")]
    Damaged(PathBuf),
    /// A key or certificate could not be made.
    #[error("cannot make a certificate")]
    Making(#[from] rcgen::Error),
}

/// A certification authority of the host.
pub struct CertificationAuthority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificationAuthority {
    /// The authority's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate, DER.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("parsed when it was loaded")
    }
}

/// The host's public key infrastructure.
pub struct Pki {
    /// Certifies the daemon itself.
    pub host: CertificationAuthority,
    /// Certifies terminals' device keys.
    pub devices: CertificationAuthority,
}

impl Pki {
    /// Opens the infrastructure in this data directory; what is not there yet is made.
    pub fn open(directory: &DataDir) -> Result<Self, PkiError> {
        directory.make_pki()?;
        Ok(Self {
            host: authority(directory, "host-ca", "cardhost host CA")?,
            devices: authority(directory, "device-ca", "cardhost device CA")?,
        })
    }
}

fn authority(directory: &DataDir, name: &str, title: &str) -> Result<CertificationAuthority, PkiError> {
    let (pem_path, key_path) = (directory.pki(&format!("{name}.pem")), directory.pki(&format!("{name}.key")));
    let (pem, key) = match (read_optional(&pem_path)?, read_optional(&key_path)?) {
        (Some(pem), Some(key)) => (pem, KeyPair::from_pem(&key).map_err(|_| PkiError::Damaged(key_path))?),
        (None, _) => make_authority(&pem_path, &key_path, title)?,
        (Some(_), None) => return Err(PkiError::Damaged(key_path)),
    };
    let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|_| PkiError::Damaged(pem_path))?;
    Ok(CertificationAuthority { pem, issuer })
}

/// The certificate is written last: an interrupted start makes both anew.
fn make_authority(
    pem_path: &std::path::Path,
    key_path: &std::path::Path,
    title: &str,
) -> Result<(String, KeyPair), PkiError> {
    let key = KeyPair::generate()?;
    let pem = authority_parameters(title).self_signed(&key)?.pem();
    write_private(key_path, key.serialize_pem().as_bytes())?;
    write_private(pem_path, pem.as_bytes())?;
    Ok((pem, key))
}

fn authority_parameters(title: &str) -> CertificateParams {
    let mut parameters = named(title, CA_VALIDITY);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

/// Parameters with this common name, valid from an hour ago, so that a terminal whose clock is a little slow
/// accepts a certificate at once.
fn named(common_name: &str, validity: Duration) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    parameters.distinguished_name = name;
    parameters.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    parameters.not_after = OffsetDateTime::now_utc() + validity;
    parameters
}

fn private_key(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}
