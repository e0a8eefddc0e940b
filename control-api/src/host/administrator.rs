//! The administrator of the first start, and the file that tells the operator of it.

use std::path::Path;

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use super::{App, StartError};
use crate::{
    auth::{Role, name::Name, token::Token},
    data_dir::{DataDir, DataDirError, read_optional, write_private},
    store::users::User,
};

/// Content of `admin.json`: all that the operator's commands need. No `Debug`: it holds the password.
#[derive(Clone, Serialize, Deserialize)]
pub struct AdministratorFile {
    /// Where the daemon serves.
    pub url: String,
    /// The administrator's name.
    pub user: String,
    /// Its password, as made at the first start.
    pub password: String,
    /// The certificate to trust, PEM.
    pub ca_pem: String,
    /// SHA-256 of its DER, hex, to be compared by eye.
    pub ca_sha256: String,
}

impl Drop for AdministratorFile {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

/// Why the administrator's file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum AdministratorFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// It is not there.
    #[error(
        "there is no {0}: start `cardhost serve` with this data directory first, or set CARDHOST_URL, CARDHOST_USER, CARDHOST_PASSWORD and CARDHOST_CA"
    )]
    Absent(std::path::PathBuf),
    /// It is not what the daemon wrote.
    #[error("{0} is damaged")]
    Damaged(std::path::PathBuf),
}

impl AdministratorFile {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, AdministratorFileError> {
        let text = read_optional(path)?.ok_or_else(|| AdministratorFileError::Absent(path.into()))?;
        serde_json::from_str(&text).map_err(|_| AdministratorFileError::Damaged(path.into()))
    }

    fn write(&self, path: &Path) -> Result<(), AdministratorFileError> {
        let text = serde_json::to_string_pretty(self).expect("strings are JSON");
        Ok(write_private(path, zeroize::Zeroizing::new(text).as_bytes())?)
    }
}

/// At the first start makes the administrator; at each start writes where the daemon serves now.
pub(super) async fn ensure(
    app: &App,
    directory: &DataDir,
    url: &str,
    ca_pem: &str,
) -> Result<(), StartError> {
    let path = directory.administrator();
    let mut file = match AdministratorFile::read(&path) {
        Ok(file) => file,
        Err(AdministratorFileError::Absent(_)) => first(app).await?,
        Err(error) => return Err(error.into()),
    };
    file.url = url.into();
    file.ca_pem = ca_pem.into();
    file.ca_sha256 = sha256(ca_pem);
    Ok(file.write(&path)?)
}

/// Also after the file was lost: the administrator `admin` gets a new password.
async fn first(app: &App) -> Result<AdministratorFile, StartError> {
    let password = Token::generate();
    let secret = cardhost_wire::key::Secret(password.as_str().as_bytes().to_vec());
    let hash = app.passwords.hash(secret).await.expect("nobody else logs in before the daemon serves");
    let name: Name = "admin".parse().expect("a name");
    app.users.put(None, User { name: name.clone(), role: Role::Administrator }, hash).await?;
    Ok(AdministratorFile {
        url: String::new(),
        user: name.into(),
        password: password.as_str().into(),
        ca_pem: String::new(),
        ca_sha256: String::new(),
    })
}

fn sha256(pem: &str) -> String {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_or_else(|_| String::new(), |der| hex::encode(Sha256::digest(der)))
}
