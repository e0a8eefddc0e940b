//! What the terminal keeps between two runs, in a directory that only its user can enter (0700).
//!
//! | file | what |
//! |---|---|
//! | `config.json` | format version, host, what is trusted, terminal, user |
//! | `device.key` | the device's private key, PKCS#8 in PEM |
//! | `device.pem` | its client certificate |
//! | `session.json` | the session's token |
//! | `pairing.key`, `pairing.pem` | the key that this terminal pairs itself with, and its certificate |
//! | `authority.pem` | the authority that certifies cards |
//! | `pairings.json` | format version, the key sets shared with cards, cards that are revoked |
//!
//! All files have mode 0600 and are replaced whole.

pub mod pairing;

use std::{
    fs::{self, DirBuilder},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Format of `config.json` that this version writes.
const VERSION: u32 = 1;

/// Why the state is not usable.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Neither --state nor a home directory.
    #[error("there is no place for this terminal's state")]
    NoDirectory,
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what this program wrote.
    #[error("{0} is damaged")]
    Damaged(PathBuf),
    /// The file was written by a later version.
    #[error("{path} has format {found}; this version knows format {known}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The latest that is known.
        known: u32,
    },
    /// There is no configuration or session yet.
    #[error("this terminal is not logged in")]
    NotLoggedIn,
    /// There is no certified key to pair with.
    #[error("this terminal has no certified key to pair with")]
    NoPairingIdentity,
}

impl StateError {
    /// What to try.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDirectory => Some("set --state DIR, XDG_CONFIG_HOME or HOME"),
            Self::NotLoggedIn => Some(
                "cardhost-terminal login --url https://HOST:PORT --terminal NAME --user NAME [--ca FILE]",
            ),
            Self::NoPairingIdentity => {
                Some("log in again: `cardhost-terminal login`; the host says if it cannot pair")
            }
            Self::Damaged(_) => Some("move the state directory away and log in again"),
            Self::Version { .. } => Some("use the newer version, or another --state directory"),
            Self::File { .. } => None,
        }
    }
}

/// Which host this terminal uses, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    version: u32,
    /// The host's URL.
    pub url: String,
    /// What proves that it is the right host.
    pub trust: Trust,
    /// This terminal's name there.
    pub terminal: String,
    /// The user who logged in last.
    pub user: String,
}

/// What proves that the host is the right one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// The certification authorities of this computer.
    System,
    /// This certification authority only, PEM.
    CaPem(String),
    /// The certification authority (or the server certificate) in the host's chain with this SHA-256, hex.
    CaSha256(String),
}

impl Config {
    /// A configuration in the present format.
    pub const fn new(url: String, trust: Trust, terminal: String, user: String) -> Self {
        Self { version: VERSION, url, trust, terminal, user }
    }
}

/// The device's key and its certificate.
pub struct Device {
    /// PKCS#8, PEM.
    pub key_pem: Zeroizing<String>,
    /// The client certificate, PEM.
    pub certificate_pem: String,
}

/// A session of a user on this terminal. No `Debug`: the token is secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Session {
    /// Bearer token.
    pub token: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

impl State {
    /// The state in `directory`, by default below the user's configuration directory.
    pub fn open(directory: Option<PathBuf>) -> Result<Self, StateError> {
        let directory = directory.or_else(default_directory).ok_or(StateError::NoDirectory)?;
        Ok(Self { directory })
    }

    /// The configuration.
    pub fn config(&self) -> Result<Config, StateError> {
        let path = self.directory.join("config.json");
        let text = read_optional(&path)?.ok_or(StateError::NotLoggedIn)?;
        parse_versioned(&path, &text, VERSION)
    }

    /// Replaces the configuration.
    pub fn put_config(&self, config: &Config) -> Result<(), StateError> {
        self.write("config.json", json(config).as_bytes())
    }

    /// The device key, PEM, if one was made.
    pub fn device_key(&self) -> Result<Option<Zeroizing<String>>, StateError> {
        Ok(read_optional(&self.directory.join("device.key"))?.map(Zeroizing::new))
    }

    /// Keeps a new device key.
    pub fn put_device_key(&self, pem: &str) -> Result<(), StateError> {
        self.write("device.key", pem.as_bytes())
    }

    /// The device's key and certificate, if it was enrolled.
    pub fn device(&self) -> Result<Option<Device>, StateError> {
        let certificate = read_optional(&self.directory.join("device.pem"))?;
        let key = self.device_key()?;
        Ok(key.zip(certificate).map(|(key_pem, certificate_pem)| Device { key_pem, certificate_pem }))
    }

    /// Replaces the device's certificate.
    pub fn put_device_certificate(&self, pem: &str) -> Result<(), StateError> {
        self.write("device.pem", pem.as_bytes())
    }

    /// The session.
    pub fn session(&self) -> Result<Session, StateError> {
        let path = self.directory.join("session.json");
        let text = Zeroizing::new(read_optional(&path)?.ok_or(StateError::NotLoggedIn)?);
        parse(&path, &text)
    }

    /// Replaces the session.
    pub fn put_session(&self, session: &Session) -> Result<(), StateError> {
        self.write("session.json", json(session).as_bytes())
    }

    /// Forgets the session.
    pub fn remove_session(&self) -> Result<(), StateError> {
        let path = self.directory.join("session.json");
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::File { path, source }),
            _ => Ok(()),
        }
    }

    /// Writes beside the file and renames, so that a reader sees the old or the new one.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.directory.join(name);
        let replace = || {
            make_private(&self.directory)?;
            write_private(&path, content)
        };
        replace().map_err(|source| StateError::File { path: path.clone(), source })
    }
}

/// Replaces a file by one with mode 0600, durably.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(parent)?.sync_all()
}

fn default_directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let configuration =
        variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    configuration.map(|directory| directory.join("cardhost-terminal"))
}

fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn read_optional(path: &Path) -> Result<Option<String>, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::File { path: path.into(), source }),
    }
}

/// Parses a file that begins with its format's version, up to the latest that is known.
fn parse_versioned<T: DeserializeOwned>(path: &Path, text: &str, known: u32) -> Result<T, StateError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    match parse(path, text)? {
        Versioned { version } if (1..=known).contains(&version) => parse(path, text),
        Versioned { version: found } => Err(StateError::Version { path: path.into(), found, known }),
    }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, StateError> {
    serde_json::from_str(text).map_err(|_| StateError::Damaged(path.into()))
}

fn json(value: &impl Serialize) -> Zeroizing<String> {
    Zeroizing::new(serde_json::to_string_pretty(value).expect("plain structures are JSON"))
}

#[cfg(test)]
mod tests;
