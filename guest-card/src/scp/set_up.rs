//! The commands that set a secure channel up, from the selected application's security domain.

use alloc::{boxed::Box, vec::Vec};

use cardhost_wire::{
    apdu::{CommandApdu, ResponseApdu},
    key::Algorithm,
    status::Status,
};

use super::{
    SecureChannel,
    chain::Chain,
    messaging::{Channel, OffCardEntity},
    scp03::{self, CardChallenge, HostChallenge, Initiated},
    scp11::{self, Agreement, CardKeys},
};
use crate::{
    container::SecurityDomains,
    crypto::PrivateKey,
    isd::{
        diversification,
        domain::Domain,
        ec_key::{self, KeyName, Purpose, Variant},
        key_set::{self, Found},
    },
    nvm::Part,
    services::Services,
};

/// P2 of PERFORM SECURITY OPERATION: more certificates follow.
const MORE: u8 = 0x80;
/// The class that these commands have.
const GLOBAL_PLATFORM: u8 = 0x80;

/// A command that begins, or goes on with, the set-up of a secure channel.
pub enum SetUp<'a> {
    /// 50: SCP03 with the key set of this version, 0 for any.
    InitializeUpdate { kvn: u8, kid: u8, host_challenge: &'a [u8] },
    /// 2A: a certificate for SCP11a or SCP11c, the first by this authority's key.
    PerformSecurityOperation { authority: KeyName, more: bool, certificate: &'a [u8] },
    /// 82: SCP11a or SCP11c. 88: SCP11b.
    Authenticate { mutual: bool, key: KeyName, data: &'a [u8] },
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
        let CommandApdu { cla, ins, p1: kvn, p2: kid, data, .. } = *command;
        match (cla, ins) {
            (GLOBAL_PLATFORM, 0x50) => Some(Self::InitializeUpdate { kvn, kid, host_challenge: data }),
            (GLOBAL_PLATFORM, 0x2A) => {
                let authority = KeyName { kid: kid & !MORE, kvn };
                Some(Self::PerformSecurityOperation { authority, more: kid & MORE != 0, certificate: data })
            }
            (GLOBAL_PLATFORM, 0x82 | 0x88) => {
                Some(Self::Authenticate { mutual: ins == 0x82, key: KeyName { kid, kvn }, data })
            }
            _ => None,
        }
    }
}

impl SecureChannel {
    /// Takes a step of a set-up. What was open before is closed.
    ///
    /// # Errors
    /// A status word for the terminal; the channel is closed then.
    pub fn set_up<C: SecurityDomains>(
        &mut self,
        command: &SetUp<'_>,
        invoker: &Invoker,
        services: &mut Services<'_, C>,
    ) -> Result<ResponseApdu, Status> {
        let before = core::mem::take(self);
        let (next, data) = match command {
            SetUp::InitializeUpdate { kvn, kid: 0, host_challenge } => {
                let (initiated, data) = initialize_update(*kvn, host_challenge, invoker, services)?;
                (Self::Initiated(Box::new(initiated)), data)
            }
            SetUp::InitializeUpdate { .. } => return Err(Status::INCORRECT_P1_P2),
            SetUp::PerformSecurityOperation { authority, more, certificate } => {
                let chain = match before.into_chain(*authority) {
                    Some(chain) => chain,
                    None => Chain::begin(services.nvm(), invoker.domain, *authority)?,
                };
                (Self::Certified(Box::new(chain.extend(services.nvm(), certificate, *more)?)), Vec::new())
            }
            SetUp::Authenticate { mutual, key, data } => {
                let chain = if *mutual { before.into_any_chain() } else { None };
                let (channel, data) = authenticate(*mutual, *key, data, chain.as_ref(), invoker, services)?;
                (Self::Open(Box::new(channel)), data)
            }
        };
        *self = next;
        Ok(ResponseApdu { data, status: Status::SUCCESS })
    }

    /// The chain that has begun with this authority and goes on.
    fn into_chain(self, authority: KeyName) -> Option<Chain> {
        self.into_any_chain().filter(|chain| chain.goes_on(authority))
    }

    fn into_any_chain(self) -> Option<Chain> {
        match self {
            Self::Certified(chain) => Some(*chain),
            _ => None,
        }
    }
}

/// MUTUAL or INTERNAL AUTHENTICATE.
fn authenticate<C: SecurityDomains>(
    mutual: bool,
    name: KeyName,
    data: &[u8],
    chain: Option<&Chain>,
    invoker: &Invoker,
    services: &mut Services<'_, C>,
) -> Result<(Channel, Vec<u8>), Status> {
    let domain = owner(services.nvm(), invoker.domain)?;
    let stored = ec_key::find(services.nvm(), domain, name)?.key;
    let fixed = stored.agreement_key()?;
    let agreement = Agreement::parse(data)?;
    let variant = agreement.variant();
    if Purpose::of(name.kid) != Some(Purpose::KeyAgreement(variant)) || mutual != (variant != Variant::B) {
        return Err(Status::WRONG_DATA);
    }
    let (certified, entity) = if mutual {
        let leaf = chain.and_then(|chain| chain.leaf_for(domain)).ok_or(Status::CONDITIONS_NOT_SATISFIED)?;
        (Some(&leaf.point[..]), OffCardEntity::Authenticated(name.kvn))
    } else {
        (None, OffCardEntity::Anonymous)
    };
    let ephemeral = if variant == Variant::C {
        stored.private_key()?
    } else {
        PrivateKey::generate(Algorithm::P256, &mut services.rng()).map_err(|_| Status::UNSPECIFIED)?
    };
    scp11::agree(&agreement, &CardKeys { fixed: &fixed, ephemeral: &ephemeral }, certified, entity)
}

/// Whose keys serve a domain: a domain that has no key set yet uses the issuer's (Card Specification, 7.3.3).
pub(super) fn owner<C: SecurityDomains>(nvm: Part<'_, C>, domain: Domain) -> Result<Domain, Status> {
    Ok(if key_set::find(nvm, domain, 0)?.is_some() { domain } else { Domain::ISSUER })
}

fn initialize_update<C: SecurityDomains>(
    kvn: u8,
    host_challenge: &[u8],
    invoker: &Invoker,
    services: &mut Services<'_, C>,
) -> Result<(Initiated, Vec<u8>), Status> {
    let owner = owner(services.nvm(), invoker.domain)?;
    let found = key_set::find(services.nvm(), owner, kvn)?;
    let Found { slot, set } = found.ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
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
