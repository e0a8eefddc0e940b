//! What can go wrong, what the user can do about it, and the exit code.

use crate::{host::HostError, input::InputError, problem::Problem, state::StateError, tls::TlsError};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// Trust anchor or device key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host refused or does not answer.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A secret could not be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A file that the user named cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The card holds no certificate with this id or key reference.
    #[error("there is no certificate {0}")]
    NoSuchCertificate(String),
    /// Authentication was refused by the authority or failed in the card.
    #[error("authentication: failure{}", reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    NotAuthenticated {
        /// As the host gives it.
        reason: Option<String>,
    },
    /// More readers than ports.
    #[error("port {0} is too high for so many readers")]
    Port(u16),
    /// The process cannot start its runtime or signal handlers.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
    /// The device key cannot be made.
    #[error("cannot make the device key: {0}")]
    DeviceKey(#[from] rcgen::Error),
}

impl Error {
    /// The process's exit code, see the help text.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAuthenticated { .. } => 1,
            Self::Port(_) => 2,
            Self::State(StateError::NotLoggedIn) | Self::Host(HostError::SessionEnded(_)) => 3,
            Self::Host(HostError::Refused(_)) | Self::NoSuchCertificate(_) => 4,
            Self::Host(_) => 5,
            Self::State(_) | Self::Tls(_) | Self::Input(_) | Self::Write { .. } => 6,
            Self::Runtime(_) | Self::DeviceKey(_) => 6,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::State(error) => error.hint(),
            Self::Host(error) => error.hint(),
            Self::Input(InputError::NoTerminal) => {
                Some("name a file: --password-file, --pin-file; `-` is standard input")
            }
            Self::NoSuchCertificate(_) => Some("`cardhost-terminal certificate list` shows what there is"),
            _ => None,
        }
    }

    /// The host's problem details, if it sent some.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Host(HostError::Refused(problem) | HostError::SessionEnded(problem)) => Some(problem),
            _ => None,
        }
    }
}
