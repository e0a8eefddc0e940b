//! What an application may use while it executes one command, and the applications themselves.

use cardhost_wire::{
    control::{CardId, Commit},
    status::Status,
};

use crate::{
    nvm::{Change, Nvm},
    piv::{self, Piv},
    platform::Platform,
    rng::{Generator, Rng},
};

/// Everything a command may reach: the applications and the services they share.
pub struct Context<'a> {
    pub(crate) piv: &'a mut Piv,
    pub(crate) services: Services<'a>,
}

/// The card's services, lent to an application for one command.
pub struct Services<'a> {
    pub(crate) nvm: &'a mut Nvm,
    pub(crate) generator: &'a mut Generator,
    pub(crate) platform: &'a mut dyn Platform,
    pub(crate) card: CardId,
}

impl Services<'_> {
    /// The card's non-volatile memory, to read.
    pub fn nvm(&self) -> &Nvm {
        self.nvm
    }

    /// The seeded generator.
    pub fn rng(&mut self) -> Rng<'_> {
        self.generator.with(self.platform)
    }

    /// The card's identity.
    pub fn card(&self) -> CardId {
        self.card
    }

    /// Makes a change durable; returns only once it is.
    ///
    /// # Errors
    /// [`Status::NOT_ENOUGH_MEMORY`] or [`Status::MEMORY_FAILURE`]: nothing has changed, in memory or at the host.
    pub fn commit(&mut self, change: Change) -> Result<(), Status> {
        let applied = self.nvm.apply(change)?;
        let (commit, head) = self.nvm.seal(&applied, &mut self.generator.with(self.platform));
        let commit = Commit { credentials: piv::credentials(self.nvm), ..commit };
        match self.platform.commit(commit) {
            Ok(()) => self.nvm.confirm(head),
            Err(_) => {
                self.nvm.revert(applied);
                return Err(Status::MEMORY_FAILURE);
            }
        }
        Ok(())
    }
}
