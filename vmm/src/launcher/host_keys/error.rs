//! Why a host's wrapping keys cannot be had, or do not change.

use std::{
    io,
    path::{Path, PathBuf},
};

use cardhost_wire::wrapping::Bucket;

use crate::{launcher::sealed_file::SealError, tpm::TpmError};

/// The wrapping keys cannot be had; without them no card can be opened.
#[derive(Debug, thiserror::Error)]
pub enum HostKeysError {
    /// The file cannot be read, made or replaced.
    #[error("host key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not one of ours, or was changed.
    #[error("host key {path} is damaged, or of a later version")]
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
    /// A TPM sealed the file, and none is given.
    #[error("host key {path} is sealed by a TPM: start with --host-key tpm:…")]
    Sealed {
        /// The file.
        path: PathBuf,
    },
    /// The file is not sealed though it should be: somebody may have put an old one back.
    #[error(
        "host key {path} is not sealed by a TPM: to have it sealed start once with --host-key into-tpm:…"
    )]
    NotSealed {
        /// The file.
        path: PathBuf,
    },
    /// The TPM has no key for the file.
    #[error(
        "this TPM has no key for host key {path}: it is another TPM than the one that sealed it, or it was cleared"
    )]
    OtherTpm {
        /// The file.
        path: PathBuf,
    },
    /// The TPM's key is not the file's.
    #[error(
        "the key in the TPM does not open host key {path}: the file is an older copy, damaged, or of another host; put \
         the newest back"
    )]
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// The TPM.
    #[error("host key {path}")]
    Tpm {
        /// The file.
        path: PathBuf,
        /// What the TPM, or the way to it, said.
        source: TpmError,
    },
}

impl HostKeysError {
    pub(super) fn of(path: &Path, error: SealError) -> Self {
        let path = path.into();
        match error {
            SealError::File(source) => Self::File { path, source },
            SealError::Memory(source) => Self::File { path, source: source.into() },
            SealError::Exposed => Self::Exposed { path },
            SealError::Closed => Self::Closed { path },
            SealError::Tpm(TpmError::NotDefined(_) | TpmError::Unwritten(_)) => Self::OtherTpm { path },
            SealError::Tpm(source) => Self::Tpm { path, source },
        }
    }
}

/// Why keys do not change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such bucket, or it cannot be rotated.
    #[error("no bucket {0:?} to rotate")]
    NoSuchBucket(Bucket),
    /// The bucket has two generations already.
    #[error("the rotation of bucket {0:?} is not finished")]
    UnderWay(Bucket),
    /// The file cannot be replaced.
    #[error("the host key's file")]
    File(#[source] io::Error),
    /// The TPM does not take another key.
    #[error("the host key's TPM")]
    Tpm(#[source] SealError),
    /// The system gives no memory or randomness, or the generations are used up.
    #[error("no resources for another key")]
    Resources(#[source] io::Error),
}

impl ChangeError {
    pub(super) fn of(error: SealError) -> Self {
        match error {
            SealError::File(error) => Self::File(error),
            SealError::Memory(error) => Self::Resources(error.into()),
            error => Self::Tpm(error),
        }
    }
}
