//! The host key: 32 random bytes in a file that only the launcher reads.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::secret_page::SecretPage;

/// Bytes of the key: AES-256.
pub const LENGTH: usize = 32;
/// Readable by its owner alone.
const MODE: u32 = 0o600;

/// The key, in the one place where it stands.
pub type HostKey = SecretPage;

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
    let mut key = HostKey::new().map_err(|error| failed(path, error.into()))?;
    file.read_exact(&mut *key).map_err(|source| failed(path, source))?;
    Ok(key)
}

/// Written aside, synced and linked into place: a crash leaves the whole key or none, and a key that is there by
/// then stays.
fn create(path: &Path) -> io::Result<HostKey> {
    let mut key = HostKey::new()?;
    getrandom::fill(&mut *key)?;
    let aside = path.with_extension("new");
    remove(&aside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&aside)?;
    file.write_all(&*key)?;
    file.sync_all()?;
    fs::hard_link(&aside, path)?;
    remove(&aside)?;
    File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()?;
    Ok(key)
}

/// Removes what a crash may have left.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_left_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.key");
        fs::write(path.with_extension("new"), [1; 7]).unwrap();
        assert_ne!(*open(&path).unwrap(), [0; LENGTH]);
    }

    #[test]
    fn an_exposed_or_damaged_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.key");
        fs::write(&path, [1; LENGTH]).unwrap();
        assert!(matches!(open(&path), Err(HostKeyError::Exposed { .. })));
        fs::remove_file(&path).unwrap();
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
