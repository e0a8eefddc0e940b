//! The commands that set a secure channel up, from the selected application's security domain.

use alloc::{boxed::Box, vec::Vec};

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    status::Status,
};

use super::{
    SecureChannel,
    scp03::{self, CardChallenge, HostChallenge, Initiated},
};
use crate::{
    isd::{
        diversification,
        domain::Domain,
        key_set::{self, Found},
    },
    nvm::Nvm,
    services::Services,
};

/// The class that these commands have.
const GLOBAL_PLATFORM: u8 = 0x80;

/// A command that begins, or goes on with, the set-up of a secure channel.
pub enum SetUp<'a> {
    /// 50: SCP03 with the key set of this version, 0 for any.
    InitializeUpdate { kvn: u8, kid: u8, host_challenge: &'a [u8] },
}

/// The application that a secure channel is for.
pub struct Invoker {
    /// Its AID.
    pub aid: Vec<u8>,
    /// Whose keys open the channel.
    pub domain: Domain,
}

impl<'a> SetUp<'a> {
    /// Reads a whole command in plain, if it is such a one.
    pub fn parse(command: &CommandApdu<'a>) -> Option<Self> {
        match (command.cla, command.ins) {
            (GLOBAL_PLATFORM, 0x50) => Some(Self::InitializeUpdate {
                kvn: command.p1,
                kid: command.p2,
                host_challenge: command.data,
            }),
            _ => None,
        }
    }
}

impl SecureChannel {
    /// Takes a step of a set-up. What was open before is closed.
    ///
    /// # Errors
    /// A status word for the terminal; the channel is closed then.
    pub fn set_up(
        &mut self,
        command: &SetUp<'_>,
        invoker: &Invoker,
        services: &mut Services<'_>,
    ) -> Result<ResponseApdu, Status> {
        self.close();
        let (next, data) = match command {
            SetUp::InitializeUpdate { kvn, kid: 0, host_challenge } => {
                let (initiated, data) = initialize_update(*kvn, host_challenge, invoker, services)?;
                (Self::Initiated(Box::new(initiated)), data)
            }
            SetUp::InitializeUpdate { .. } => return Err(Status::INCORRECT_P1_P2),
        };
        *self = next;
        Ok(ResponseApdu { data, status: Status::SUCCESS })
    }
}

fn initialize_update(
    kvn: u8,
    host_challenge: &[u8],
    invoker: &Invoker,
    services: &mut Services<'_>,
) -> Result<(Initiated, Vec<u8>), Status> {
    let (owner, Found { slot, set }) = key_set(services.nvm(), invoker.domain, kvn)?;
    let set = set.ready()?;
    let host_challenge = HostChallenge::parse(set.implementation, host_challenge)?;
    let card_challenge = if set.implementation.is_pseudo_random() {
        let counter = key_set::take_counter(services, owner, slot)?;
        CardChallenge::PseudoRandom { counter, aid: &invoker.aid }
    } else {
        scp03::random_challenge(&mut services.rng())
    };
    let diversification = diversification(&services.card());
    Ok(scp03::initialize_update(set, &diversification, host_challenge, &card_challenge))
}

/// A domain's key set, and whose it is: a domain that has none yet uses the issuer's (Card Specification, 7.3.3).
fn key_set(nvm: &Nvm, domain: Domain, kvn: u8) -> Result<(Domain, Found), Status> {
    let owner = if key_set::find(nvm, domain, 0)?.is_some() { domain } else { Domain::ISSUER };
    let found = key_set::find(nvm, owner, kvn)?;
    found.map(|found| (owner, found)).ok_or(Status::REFERENCED_DATA_NOT_FOUND)
}
