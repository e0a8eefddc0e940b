//! What an application may use while it executes one command, and the applications themselves.

use alloc::vec::Vec;
use core::marker::PhantomData;

use cardhost_wire::{
    control::{CardId, Commit, Credential},
    protocols::ProtocolPairing,
    status::Status,
};

use crate::{
    container::{CardOs, Owner, SecondSecureElement, SecureElement, Uicc},
    nvm::{Change, Nvm, Part},
    pairing::Ended,
    piv::{self, Piv},
    platform::Platform,
    rng::{Generator, Rng},
    uicc,
};

/// Everything that a command may reach. The router and the host's commands lend each container what is its own.
pub struct Context<'a> {
    pub(crate) piv: &'a mut Piv,
    pub(crate) pairing: &'a mut ProtocolPairing,
    pub(crate) ended: &'a mut Ended,
    pub(crate) shared: Shared<'a>,
}

/// What all containers use, each through [`Services`] of its own type.
pub(crate) struct Shared<'a> {
    pub(crate) nvm: &'a mut Nvm,
    pub(crate) generator: &'a mut Generator,
    pub(crate) platform: &'a mut dyn Platform,
    pub(crate) card: CardId,
}

impl Context<'_> {
    /// What the secure element reads.
    pub fn nvm(&self) -> Part<'_> {
        self.shared.nvm.part()
    }

    /// The secure element's services.
    pub fn secure_element(&mut self) -> Services<'_> {
        self.shared.lend()
    }

    /// What the second secure element reads.
    pub fn second_nvm(&self) -> Part<'_, SecondSecureElement> {
        self.shared.nvm.part()
    }

    /// The second secure element's services.
    pub fn second_secure_element(&mut self) -> Services<'_, SecondSecureElement> {
        self.shared.lend()
    }

    /// What the UICC reads.
    pub fn uicc_nvm(&self) -> Part<'_, Uicc> {
        self.shared.nvm.part()
    }

    /// The UICC's services.
    pub fn uicc(&mut self) -> Services<'_, Uicc> {
        self.shared.lend()
    }

    /// The PIV application with its container's services.
    pub fn piv(&mut self) -> (&mut Piv, Services<'_>) {
        (self.piv, self.shared.lend())
    }

    /// The pairing of protocols with containers, and the services of the card OS, whose configuration it is.
    pub fn configuration(&mut self) -> (&mut ProtocolPairing, Services<'_, CardOs>) {
        (self.pairing, self.shared.lend())
    }

    /// The services of the card OS, whose the pairings with terminals are.
    pub fn card_os(&mut self) -> Services<'_, CardOs> {
        self.shared.lend()
    }

    /// The same, and where to note what a command ends.
    pub(crate) fn pairings(&mut self) -> (&mut Ended, Services<'_, CardOs>) {
        (self.ended, self.shared.lend())
    }
}

impl Shared<'_> {
    fn lend<C>(&mut self) -> Services<'_, C> {
        let Self { nvm, generator, platform, card } = self;
        Services { nvm, generator, platform: *platform, card: *card, owner: PhantomData }
    }
}

/// The card's services, lent to one of `C`'s applications for one command.
pub struct Services<'a, C = SecureElement> {
    nvm: &'a mut Nvm,
    generator: &'a mut Generator,
    platform: &'a mut dyn Platform,
    card: CardId,
    owner: PhantomData<C>,
}

impl<C: Owner> Services<'_, C> {
    /// The container's non-volatile memory, to read.
    pub fn nvm(&self) -> Part<'_, C> {
        self.nvm.part()
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
    pub fn commit(&mut self, change: Change<C>) -> Result<(), Status> {
        let applied = self.nvm.apply(change)?;
        let (commit, head) = self.nvm.seal(&applied, &mut self.generator.with(self.platform));
        let commit = Commit { credentials: credentials(self.nvm), ..commit };
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

/// What is provisioned for the user, in all containers: the host keeps the card as long as there is any.
pub(crate) fn credentials(nvm: &Nvm) -> Vec<Credential> {
    let mut credentials = piv::credentials(nvm.part());
    credentials.extend(uicc::credentials(nvm.part()));
    credentials
}
