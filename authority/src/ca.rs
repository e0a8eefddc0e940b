//! A certification authority in a folder: its key, its certificate, and what it signs.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use time::{Duration, OffsetDateTime};

const VALIDITY: Duration = Duration::days(3650);
/// Certificates are valid from a little earlier than now: clocks differ.
pub const CLOCK_SKEW: Duration = Duration::hours(1);

/// A certification authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A stored key or certificate does not parse, or one of the two is missing.
    #[error("{0} is damaged or missing: restore it from a backup")]
    Damaged(PathBuf),
    /// A key or certificate could not be made.
    #[error("a certificate could not be made")]
    Making(#[from] rcgen::Error),
}

/// Which of the authorities that certify keys. Behind EST the pairing ones have their names as labels (RFC 7030, 3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaName {
    /// Keys of users in cards.
    Issuing,
    /// Keys with which cards pair: CA-KLCC (GlobalPlatform Amendment F 1.3).
    PairingCards,
    /// Keys with which terminals pair: CA-KLOC (ibid.).
    PairingTerminals,
}

impl CaName {
    /// Its name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issuing => "issuing",
            Self::PairingCards => "pairing-cards",
            Self::PairingTerminals => "pairing-terminals",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Issuing, Self::PairingCards, Self::PairingTerminals].into_iter().find(|ca| ca.name() == name)
    }
}

/// A certification authority.
pub struct Ca {
    /// Its name, key and usages, to sign with.
    pub issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
    /// Its certificate.
    pub der: CertificateDer<'static>,
}

impl Ca {
    /// Opens `NAME.key` and `NAME.pem` in the folder, or makes both.
    pub fn open(folder: &Path, name: &str, title: &str) -> Result<Self, CaError> {
        let (key_path, pem_path) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
        let (key, pem) = match (read(&key_path)?, read(&pem_path)?) {
            (Some(key), Some(pem)) => (KeyPair::from_pem(&key).map_err(|_| CaError::Damaged(key_path))?, pem),
            // The certificate is written last: without it nothing was ever signed.
            (_, None) => make(&key_path, &pem_path, title)?,
            (None, Some(_)) => return Err(CaError::Damaged(key_path)),
        };
        let damaged = || CaError::Damaged(pem_path.clone());
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| damaged())?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|_| damaged())?;
        Ok(Self { issuer, pem, der })
    }
}

/// Gives an authority's files another name, if they are there under the earlier one. Interrupted, it is done at the next
/// start: the certificate, whose absence would have both made anew, is the last to go.
pub fn rename(folder: &Path, earlier: &str, name: &str) -> Result<(), CaError> {
    for extension in ["key", "pem"] {
        let from = folder.join(format!("{earlier}.{extension}"));
        match std::fs::rename(&from, folder.join(format!("{name}.{extension}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(|source| CaError::File { path: from, source })?,
        }
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| CaError::File { path: folder.to_owned(), source })
}

/// Parameters with a common name, valid from now on.
pub fn parameters(common_name: &str, validity: Duration) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    limit(&mut parameters, validity);
    parameters
}

/// Sets the validity from now on.
pub fn limit(parameters: &mut CertificateParams, validity: Duration) {
    parameters.not_before = OffsetDateTime::now_utc() - CLOCK_SKEW;
    parameters.not_after = OffsetDateTime::now_utc() + validity;
}

fn make(key_path: &Path, pem_path: &Path, title: &str) -> Result<(KeyPair, String), CaError> {
    let key = KeyPair::generate()?;
    let mut parameters = parameters(title, VALIDITY);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let pem = parameters.self_signed(&key)?.pem();
    write_private(key_path, key.serialize_pem().as_bytes())?;
    write_private(pem_path, pem.as_bytes())?;
    Ok((key, pem))
}

fn read(path: &Path) -> Result<Option<String>, CaError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CaError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file that only its owner reads, durably and whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CaError> {
    let write = || {
        let aside = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|source| CaError::File { path: path.to_owned(), source })
}
