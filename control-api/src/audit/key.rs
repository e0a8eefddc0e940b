//! The host's signing key: Ed25519 (RFC 8032), for audit heads and receipts.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use zeroize::Zeroizing;

/// Why the signing key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Its file cannot be read or made.
    #[error("cannot use the signing key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Its file does not hold an Ed25519 key.
    #[error("{0} is not an Ed25519 key in PKCS#8")]
    Malformed(PathBuf),
    /// The operating system gives no randomness.
    #[error("no randomness for a signing key")]
    Randomness,
}

/// The key pair.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads the key from its file (PKCS#8, 0600), made if it is not there.
    pub fn open(path: &Path) -> Result<Self, SigningKeyError> {
        let file = |source| SigningKeyError::File { path: path.into(), source };
        let pkcs8 = match fs::read(path) {
            Ok(pkcs8) => Zeroizing::new(pkcs8),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
            Err(error) => return Err(file(error)),
        };
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8);
        pair.map(Self).map_err(|_| SigningKeyError::Malformed(path.into()))
    }

    /// The public key, 32 bytes.
    pub fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

fn make(path: &Path) -> Result<Zeroizing<Vec<u8>>, SigningKeyError> {
    let pkcs8 =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SigningKeyError::Randomness)?;
    let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
    write_private(path, &pkcs8).map_err(|source| SigningKeyError::File { path: path.into(), source })?;
    Ok(pkcs8)
}

/// Whole or not at all: written beside, synced, then renamed.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}
