//! The client of the authority: enrolment by EST (RFC 7030), challenges, verification, revocation.
//!
//! The reference authority (`cardhost-authority`) verifies and revokes. A foreign EST server only issues: then
//! this daemon verifies against that CA and its CRL ([`foreign`]), and revocation is left to an operator.
//!
//! Every error says whether the request may have had an effect: what the life cycle does next hangs on it.

mod est;
pub mod foreign;
mod pairing;
mod service;
mod status;
mod transport;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

pub use pairing::{PairingAuthorities, PairingCa};
pub use service::{Challenge, Verdict};
pub use status::CardStatus;

use foreign::Foreign;
use transport::Transport;

/// How the authority is reached.
pub struct Config {
    /// Its base address, for example `https://127.0.0.1:8444`.
    pub url: String,
    /// What its TLS certificate must chain to.
    pub trusted: Vec<CertificateDer<'static>>,
    /// The host's client certificate, if it authenticates by mutual TLS.
    pub identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// User and password, if it authenticates by HTTP Basic.
    pub basic: Option<(String, Zeroizing<String>)>,
    /// What it offers.
    pub kind: Kind,
}

/// What an authority offers.
pub enum Kind {
    /// The reference authority's whole interface.
    Cardhost,
    /// EST only.
    ForeignEst(foreign::Config),
}

/// Why the authority did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The authority decided against it; nothing was done.
    #[error("the authority refused with status {status}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said, for people.
        detail: String,
    },
    /// The request never reached the authority; nothing was done.
    #[error("the authority cannot be reached")]
    NotSent(#[source] reqwest::Error),
    /// No whole answer came; the request may have been carried out.
    #[error("the authority's answer was lost")]
    AnswerLost(#[source] reqwest::Error),
    /// The authority failed; the request may have been carried out.
    #[error("the authority failed with status {0}")]
    Failed(u16),
    /// The authority took the request and has not decided yet (RFC 7030, 4.2.3).
    #[error("the authority has not decided yet")]
    Undecided,
    /// The answer is not what the interface defines; the request may have been carried out.
    #[error("the authority's answer is malformed")]
    Malformed,
    /// This authority offers no such thing; nothing was done.
    #[error("the authority offers no such service")]
    Unsupported,
}

impl AuthorityError {
    /// True if the authority itself decided against the request.
    pub fn is_refusal(&self) -> bool {
        // 401, 403, 408, 429: about who asks or when, not about what is asked.
        matches!(self, Self::Refused { status, .. } if !matches!(status, 401 | 403 | 408 | 429))
    }

    /// True if the request may have been carried out, now or later.
    pub fn may_have_had_effect(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::NotSent(_) | Self::Unsupported => false,
            Self::AnswerLost(_) | Self::Failed(_) | Self::Undecided | Self::Malformed => true,
        }
    }
}

/// Why a client of the authority cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityConfigError {
    /// The address is not an `https` URL.
    #[error("{0} is not an https address")]
    Address(String),
    /// A certificate or key is not usable for TLS.
    #[error("certificate or key for the authority is unusable")]
    Tls(#[from] rustls::Error),
    /// The HTTP client refuses its configuration.
    #[error("the client of the authority cannot be made")]
    Client(#[from] reqwest::Error),
}

/// A client of one authority.
pub struct Authority {
    transport: Transport,
    foreign: Option<Foreign>,
}

impl Authority {
    /// A client; nothing is sent yet.
    pub fn new(config: Config) -> Result<Self, AuthorityConfigError> {
        let transport = Transport::new(&config)?;
        let foreign = match config.kind {
            Kind::Cardhost => None,
            Kind::ForeignEst(config) => Some(Foreign::new(config)?),
        };
        Ok(Self { transport, foreign })
    }

    /// True if the authority itself revokes.
    pub fn revokes(&self) -> bool {
        self.foreign.is_none()
    }

    /// True if enrolling the same request again gives the same certificate.
    pub fn is_idempotent(&self) -> bool {
        self.foreign.is_none()
    }
}
