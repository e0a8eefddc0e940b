//! What operators decide about a daemon.

use std::{net::SocketAddr, path::PathBuf};

use cardhost_wire::{
    custody::Custody,
    launch::{Isolation, UserIds},
};

use super::OtherAuthority;
use crate::{card::Settings, server::Limits, store::quotas::Quotas};

/// What operators decide about a daemon.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// The anchor's file, if not in the data directory.
    pub anchor: Option<PathBuf>,
    /// An operator states that the store is right though its anchor is missing or does not fit.
    pub accept_new_anchor: bool,
    /// Where the host's wrapping keys are kept.
    pub host_key: Custody,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The operator's own TLS identity instead of the host CA's.
    pub tls: Option<TlsFiles>,
    /// The authority, if not the embedded one.
    pub authority: Option<OtherAuthority>,
    /// Whom cards' processes become, if the daemon may make them somebody else.
    pub card_users: UserIds,
    /// The guest image that cards run, if not the embedded one.
    pub guest_image: Option<PathBuf>,
    /// What keeps cards apart: microVMs, unless the operator accepts less.
    pub isolation: Isolation,
    /// The parent of the cards' control groups; without it cards have none.
    pub control_group: Option<PathBuf>,
    /// Development only: new cards have the well-known PIN and keys. Refused with a public listener.
    pub default_keys: bool,
    /// When cards park, how many may be live, how fast they take APDUs, whether a new guest image takes them over.
    pub cards: Settings,
    /// How many cards there may be.
    pub quotas: Quotas,
    /// Bounds of the server.
    pub limits: Limits,
}

/// Files of an operator's own TLS identity.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain, PEM, the server's first.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}
