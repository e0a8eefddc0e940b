//! The host key: 32 random bytes in a file that only the launcher reads.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Bytes of the key: AES-256.
pub const LENGTH: usize = 32;
/// Readable by its owner alone.
const MODE: u32 = 0o600;

/// The key.
pub type HostKey = Zeroizing<[u8; LENGTH]>;

/// The host key cannot be had; without it no card can be opened.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// The file cannot be read or made.
    #[error("host key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not 32 bytes long.
    #[error("host key {path} is damaged: it must have {LENGTH} bytes")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the file.
    #[error("host key {path} is readable by others: chmod 600 it, and consider it known")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the host key, or makes it durably if there is none.
///
/// # Errors
/// See [`HostKeyError`].
pub fn open(path: &Path) -> Result<HostKey, HostKeyError> {
    match File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Ok(file) => read(file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(path).map_err(|source| failed(path, source))
        }
        Err(source) => Err(failed(path, source)),
    }
}

fn failed(path: &Path, source: io::Error) -> HostKeyError {
    HostKeyError::File { path: path.to_owned(), source }
}

fn read(mut file: File, path: &Path) -> Result<HostKey, HostKeyError> {
    let metadata = file.metadata().map_err(|source| failed(path, source))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(HostKeyError::Exposed { path: path.to_owned() });
    }
    if metadata.len() != LENGTH as u64 {
        return Err(HostKeyError::Damaged { path: path.to_owned() });
    }
    let mut key = HostKey::default();
    file.read_exact(&mut *key).map_err(|source| failed(path, source))?;
    Ok(key)
}

/// Written aside, synced and linked into place: a crash leaves the whole key or none.
fn create(path: &Path) -> io::Result<HostKey> {
    let mut key = HostKey::default();
    getrandom::fill(&mut *key)?;
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&aside)?;
    file.write_all(&*key)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.key");
        let made = open(&path).unwrap();
        assert_eq!(*open(&path).unwrap(), *made);
        assert_ne!(*made, [0; LENGTH]);
    }

    #[test]
    fn an_exposed_or_damaged_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.key");
        std::fs::write(&path, [1; LENGTH]).unwrap();
        assert!(matches!(open(&path), Err(HostKeyError::Exposed { .. })));
        std::fs::remove_file(&path).unwrap();
        OpenOptions::new()
            .write(true)
            .create(true)
            .mode(MODE)
            .open(&path)
            .unwrap()
            .write_all(&[1; 5])
            .unwrap();
        assert!(matches!(open(&path), Err(HostKeyError::Damaged { .. })));
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.key");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(matches!(open(&path), Err(HostKeyError::File { .. })));
    }
}
