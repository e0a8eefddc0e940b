//! What is on the card: its life cycle, its applications and security domains (GlobalPlatform Card Specification
//! 2.3.1, 5 and 6.4). A card whose registry was never written is as it was born.

use alloc::vec::Vec;

use cardhost_wire::{aid::Aid, status::Status};
use serde::{Deserialize, Serialize};

use super::domain::{Domain, MOST_DOMAINS, registry_record};
use crate::{
    container::SecurityDomains,
    nvm::{Change, Part, structure},
    scp::scp03::Implementation,
};

/// AID of the load file that security domains are made from (the one that the card specification reserves).
pub const DOMAIN_LOAD_FILE: &[u8] = &[0xA0, 0x00, 0x00, 0x01, 0x51, 0x53, 0x50];
/// Its only module.
pub const DOMAIN_MODULE: &[u8] = &[0xA0, 0x00, 0x00, 0x01, 0x51, 0x53, 0x50, 0x41];
/// AID of the load file that PIV is made from.
pub const PIV_LOAD_FILE: &[u8] = &[0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10];
/// Its only module.
pub const PIV_MODULE: &[u8] = &[0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00];
/// Issuer: security domain, card lock, card terminate, card reset; authorised management, global delete, global
/// lock, global registry (table 11-7).
const ISSUER_PRIVILEGES: Privileges = Privileges([0x9C, 0x5C, 0x00]);

/// Three bytes of privileges (tables 11-7 to 11-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privileges(pub [u8; 3]);

impl Privileges {
    /// Of an application.
    pub const NONE: Self = Self([0; 3]);
    /// Of a security domain without any more.
    pub const SECURITY_DOMAIN: Self = Self([0x80, 0, 0]);

    /// Reads one byte or three.
    pub const fn parse(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [first] => Some(Self([first, 0, 0])),
            [first, second, third] => Some(Self([first, second, third])),
            _ => None,
        }
    }
}

/// The card's life cycle state (table 11-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CardLifeCycle {
    /// 01.
    OpReady,
    /// 07.
    Initialized,
    /// 0F.
    Secured,
    /// 7F: only security domains can be selected.
    CardLocked,
    /// FF: the end; only data are read.
    Terminated,
}

impl CardLifeCycle {
    /// Reads P2 of SET STATUS.
    pub const fn parse(value: u8) -> Option<Self> {
        match value {
            0x01 => Some(Self::OpReady),
            0x07 => Some(Self::Initialized),
            0x0F => Some(Self::Secured),
            0x7F => Some(Self::CardLocked),
            0xFF => Some(Self::Terminated),
            _ => None,
        }
    }

    /// The state's value.
    pub const fn value(self) -> u8 {
        match self {
            Self::OpReady => 0x01,
            Self::Initialized => 0x07,
            Self::Secured => 0x0F,
            Self::CardLocked => 0x7F,
            Self::Terminated => 0xFF,
        }
    }

    /// True if the card may go from here to there (5.1.1): forward, and back from a lock only to SECURED.
    pub const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::OpReady, Self::Initialized)
            | (Self::OpReady | Self::Initialized, Self::Secured)
            | (Self::Secured, Self::CardLocked)
            | (Self::CardLocked, Self::Secured) => true,
            (Self::Terminated, _) => false,
            (_, Self::Terminated) => true,
            _ => false,
        }
    }
}

/// The life cycle state of an application or security domain (tables 11-4 and 11-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LifeCycle {
    /// 03: not selectable yet.
    Installed,
    /// 07.
    Selectable,
    /// 0F: a security domain with keys of its own.
    Personalized,
}

/// A life cycle state with the lock that may lie on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationState {
    /// The state below the lock.
    pub life_cycle: LifeCycle,
    /// 80.
    pub locked: bool,
}

impl ApplicationState {
    const SELECTABLE: Self = Self { life_cycle: LifeCycle::Selectable, locked: false };

    /// The state's value.
    pub const fn value(self) -> u8 {
        let state = match self.life_cycle {
            LifeCycle::Installed => 0x03,
            LifeCycle::Selectable => 0x07,
            LifeCycle::Personalized => 0x0F,
        };
        if self.locked { state | 0x80 } else { state }
    }

    /// True if SELECT finds it.
    pub const fn is_selectable(self) -> bool {
        !self.locked && !matches!(self.life_cycle, LifeCycle::Installed)
    }
}

/// A security domain beside the issuer's.
#[derive(Clone, Serialize, Deserialize)]
pub struct FurtherDomain {
    /// Its number and generation.
    pub domain: Domain,
    /// Its instance's AID.
    pub aid: Vec<u8>,
    /// Its privileges.
    pub privileges: Privileges,
    /// Its state.
    pub state: ApplicationState,
    /// The parameter "i" of its key sets.
    i: u8,
}

/// All of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Registry {
    /// The card's state.
    pub card: CardLifeCycle,
    /// The PIV instance's state.
    pub piv: ApplicationState,
    /// The security domain that the PIV instance is associated with.
    pub piv_domain: Domain,
    domains: Vec<FurtherDomain>,
    /// Of the next domain.
    generation: u32,
}

/// One of the registered applications, the issuer's domain apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The PIV instance.
    Piv,
    /// A security domain.
    Domain(Domain),
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            card: CardLifeCycle::OpReady,
            piv: ApplicationState::SELECTABLE,
            piv_domain: Domain::ISSUER,
            domains: Vec::new(),
            generation: 1,
        }
    }
}

impl Registry {
    /// Reads it.
    ///
    /// # Errors
    /// `6581`: the record is not one of ours.
    pub fn load<C: SecurityDomains>(nvm: Part<'_, C>) -> Result<Self, Status> {
        Ok(structure::load(nvm, registry_record())?.unwrap_or_default())
    }

    /// Adds it to a change.
    pub fn put<C: SecurityDomains>(&self, change: Change<C>) -> Change<C> {
        change.put(registry_record(), structure::encode(self))
    }

    /// The further domains, in the order of their making.
    pub fn domains(&self) -> &[FurtherDomain] {
        &self.domains
    }

    /// A further domain.
    ///
    /// # Errors
    /// `6A88`: it was deleted.
    pub fn further(&mut self, domain: Domain) -> Result<&mut FurtherDomain, Status> {
        let found = self.domains.iter_mut().find(|further| further.domain == domain);
        found.ok_or(Status::REFERENCED_DATA_NOT_FOUND)
    }

    fn further_at(&self, domain: Domain) -> Option<&FurtherDomain> {
        self.domains.iter().find(|further| further.domain == domain)
    }

    /// True if the domain still is there.
    pub fn contains(&self, domain: Domain) -> bool {
        domain.is_issuer() || self.further_at(domain).is_some()
    }

    /// The application with exactly this AID.
    pub fn find<C: SecurityDomains>(&self, aid: &[u8]) -> Option<Registered> {
        if C::HAS_PIV && aid == Aid::PIV.as_bytes() {
            return Some(Registered::Piv);
        }
        let further = self.domains.iter().find(|further| further.aid == aid)?;
        Some(Registered::Domain(further.domain))
    }

    /// The first selectable domain that a full or partial DF name means.
    pub fn select(&self, name: &[u8]) -> Option<Domain> {
        let means = |further: &&FurtherDomain| further.state.is_selectable() && further.aid.starts_with(name);
        (name.len() >= 5).then(|| self.domains.iter().find(means))?.map(|further| further.domain)
    }

    /// The domain's AID.
    pub fn aid(&self, domain: Domain) -> &[u8] {
        self.further_at(domain).map_or(Aid::SHARED_ROOT.as_bytes(), |further| &further.aid)
    }

    /// The state of an application.
    ///
    /// # Errors
    /// `6A88`.
    pub fn state(&mut self, application: Registered) -> Result<&mut ApplicationState, Status> {
        match application {
            Registered::Piv => Ok(&mut self.piv),
            Registered::Domain(domain) => Ok(&mut self.further(domain)?.state),
        }
    }

    /// The privileges of an application.
    pub fn privileges(&self, application: Option<Registered>) -> Privileges {
        match application {
            None => ISSUER_PRIVILEGES,
            Some(Registered::Piv) => Privileges::NONE,
            Some(Registered::Domain(domain)) => {
                self.further_at(domain).map_or(Privileges::NONE, |further| further.privileges)
            }
        }
    }

    /// The parameter "i" of a domain's new key sets.
    pub fn implementation(&self, domain: Domain) -> Implementation {
        self.further_at(domain)
            .and_then(|further| Implementation::parse(further.i))
            .unwrap_or(Implementation::PseudoRandomS8)
    }

    /// Adds a security domain.
    ///
    /// # Errors
    /// `6A84`: the card holds no more.
    pub fn add(
        &mut self,
        aid: &[u8],
        privileges: Privileges,
        life_cycle: LifeCycle,
        implementation: Implementation,
    ) -> Result<(), Status> {
        let is_free = |&number: &u8| self.domains.iter().all(|further| further.domain.number() != number);
        let number = (1..=MOST_DOMAINS).find(is_free).ok_or(Status::NOT_ENOUGH_MEMORY)?;
        let domain = Domain::further(number, self.generation);
        self.generation = self.generation.checked_add(1).ok_or(Status::NOT_ENOUGH_MEMORY)?;
        let state = ApplicationState { life_cycle, locked: false };
        let aid = aid.to_vec();
        self.domains.push(FurtherDomain { domain, aid, privileges, state, i: implementation.value() });
        Ok(())
    }

    /// Removes a security domain.
    pub fn remove(&mut self, domain: Domain) {
        self.domains.retain(|further| further.domain != domain);
    }
}
