//! What a command ended, for the sessions of all protocols to be told.

use super::{certification::Terminal, kvn::Kvn, revocation::Revocations};

/// Pairings that are no more, and certificates that serve no more.
#[derive(Default)]
pub struct Ended {
    /// A bit for each place.
    pairings: u16,
    revoked: Option<Revocations>,
}

impl Ended {
    /// True if nothing ended.
    pub const fn is_empty(&self) -> bool {
        self.pairings == 0 && self.revoked.is_none()
    }

    /// The pairing with this key version number was deleted or replaced.
    pub const fn pairing(&mut self, kvn: Kvn) {
        self.pairings |= 1 << kvn.slot();
    }

    /// This list is the newest from now on.
    pub fn revoked(&mut self, list: Revocations) {
        self.revoked = Some(list);
    }

    /// True if this pairing ended.
    pub const fn has_pairing(&self, kvn: Kvn) -> bool {
        self.pairings & 1 << kvn.slot() != 0
    }

    /// True if this terminal's certificate was revoked.
    pub fn has_terminal(&self, terminal: &Terminal) -> bool {
        self.revoked.as_ref().is_some_and(|list| list.contains(&terminal.serial))
    }
}
