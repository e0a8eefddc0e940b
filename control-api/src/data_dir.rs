//! The data directory: one daemon owns it, and every file in it has its place here.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The store's database, in the data directory.
pub const DATABASE: &str = "store.db";
/// The anchor, in the data directory unless it stands elsewhere.
pub const ANCHOR: &str = "anchor";
/// The public key of the host's signing key, hexadecimal, in the data directory.
pub const PUBLIC_KEY: &str = "pki/signing.pub";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another daemon has it.
    #[error("the data directory {0} is in use by another cardhost daemon")]
    InUse(PathBuf),
    /// The operating system refused.
    #[error("cannot use {path} in the data directory")]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// A locked data directory (mode 0700). The lock ends with this value, or with the process.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    lock: File,
}

impl DataDir {
    /// Makes the directory if needed and locks it.
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        private_directory(root)?;
        let root = root.canonicalize().map_err(unusable(root))?;
        let path = root.join("lock");
        let lock = private_options().write(true).create(true).open(&path).map_err(unusable(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, lock }),
            Err(fs::TryLockError::WouldBlock) => Err(DataDirError::InUse(root)),
            Err(fs::TryLockError::Error(source)) => Err(DataDirError::Unusable { path, source }),
        }
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store's database.
    pub fn database(&self) -> PathBuf {
        self.root.join(DATABASE)
    }

    /// The anchor, unless it stands elsewhere.
    pub fn anchor(&self) -> PathBuf {
        self.root.join(ANCHOR)
    }

    /// The launcher's host key. The daemon only names it and never opens it.
    pub fn host_key(&self) -> PathBuf {
        self.root.join("host.key")
    }

    /// The key that signs receipts and heads of the audit log.
    pub fn signing_key(&self) -> PathBuf {
        self.pki("signing.key")
    }

    /// Its public key.
    pub fn public_key(&self) -> PathBuf {
        self.root.join(PUBLIC_KEY)
    }

    /// The embedded authority's own directory.
    pub fn authority(&self) -> PathBuf {
        self.root.join("authority")
    }

    /// The administrator made at the first start.
    pub fn administrator(&self) -> PathBuf {
        self.root.join("admin.json")
    }

    /// A file of the host's public key infrastructure.
    pub fn pki(&self, name: &str) -> PathBuf {
        self.root.join("pki").join(name)
    }

    /// Makes the directory of the host's public key infrastructure.
    pub fn make_pki(&self) -> Result<(), DataDirError> {
        private_directory(&self.root.join("pki"))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // A program that is just being started has a copy of the descriptor until it executes: closing ours would not do.
        let _ = self.lock.unlock();
    }
}

/// Writes a file that only its owner can read, whole or not at all, and durably.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), DataDirError> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = private_options().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    write().map_err(unusable(path))
}

/// Reads a file, `None` if it is not there.
pub fn read_optional(path: &Path) -> Result<Option<String>, DataDirError> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError::Unusable { path: path.into(), source }),
    }
}

fn private_directory(path: &Path) -> Result<(), DataDirError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable(path))
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_path_buf();
    move |source| DataDirError::Unusable { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_until_the_first_ends() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDir::open(directory.path()).unwrap();
        assert!(matches!(DataDir::open(directory.path()), Err(DataDirError::InUse(_))));
        drop(first);
        DataDir::open(directory.path()).unwrap();
    }

    #[test]
    fn private_files_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        write_private(&path, b"x").unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
