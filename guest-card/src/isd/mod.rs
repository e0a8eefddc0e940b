//! The secure element's security domains (GlobalPlatform Card Specification 2.3.1): the issuer's, and further ones that
//! its owner installs. Each holds keys that open secure channels, and manages itself through them; the issuer's manages
//! the card.
//!
//! ```text
//! CommandApdu ─▶ command::Command (parsed once) ─▶ one handler ─▶ response or a status word
//!                        │
//!        data · public   │   put_key · delete · store_data · install · status · only with scp::Authority
//! ```

mod command;
mod data;
mod delete;
pub mod domain;
pub mod ec_key;
mod install;
pub mod key_set;
pub mod personalisation;
pub mod put_key;
pub mod registry;
mod status;
mod store_data;

use alloc::vec::Vec;
use core::marker::PhantomData;

use cardhost_wire::{
    aid::Aid,
    apdu::{CommandApdu, ResponseApdu},
    status::Status,
    tlv,
};

use crate::{
    blocks::Blocks,
    container::{SecureElement, SecurityDomains},
    scp::SecurityLevel,
    services::Services,
};
use command::{Command, Management};
pub use data::diversification;
use domain::Domain;
use ec_key::KeyName;
use registry::{CardLifeCycle, Registry};

/// One selection of a security domain; dropping it ends all of it.
pub struct Session<C = SecureElement> {
    domain: Domain,
    /// The name that it was selected by, if not its own.
    alias: Option<Aid>,
    /// Whom STORE DATA are for, if not the domain itself.
    personalised: Option<Domain>,
    blocks: Blocks,
    /// Entries of GET STATUS that were told, while more are to come.
    listed: usize,
    owner: PhantomData<C>,
}

impl<C: SecurityDomains> Session<C> {
    /// Nothing proved or begun.
    pub fn new(domain: Domain) -> Self {
        let blocks = Blocks::default();
        Self { domain, alias: None, personalised: None, blocks, listed: 0, owner: PhantomData }
    }

    /// The issuer's domain, selected by another name than its own.
    pub fn issuer_as(alias: Aid) -> Self {
        Self { alias: Some(alias), ..Self::new(Domain::ISSUER) }
    }

    /// The same domain by the same name, with nothing proved or begun.
    pub fn anew(&self) -> Self {
        Self { alias: self.alias, ..Self::new(self.domain) }
    }

    /// The domain that is selected.
    pub const fn domain(&self) -> Domain {
        self.domain
    }

    /// The AID that a terminal knows it by: what challenges of a secure channel are derived from (Amendment D,
    /// 6.2.2.1) must be the same to both.
    pub fn aid<'a>(&'a self, registry: &'a Registry) -> &'a [u8] {
        match &self.alias {
            Some(alias) => alias.as_bytes(),
            None => registry.aid(self.domain),
        }
    }

    /// True if this is the issuer's domain by its own name, and losing the session loses nothing.
    pub fn is_initial(&self) -> bool {
        let is_root = self.domain.is_issuer() && self.alias.is_none();
        is_root && self.personalised.is_none() && self.blocks.is_empty() && self.listed == 0
    }

    /// File control information (11.9.3.1).
    pub fn select_response(&self, registry: &Registry) -> Vec<u8> {
        data::select_response(registry, self.domain)
    }

    /// Executes one whole command that came with this security level.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn execute(
        &mut self,
        command: &CommandApdu<'_>,
        level: SecurityLevel<'_>,
        services: &mut Services<'_, C>,
    ) -> Result<ResponseApdu, Status> {
        match Command::parse(command)? {
            Command::GetData(get) => {
                data::read(services.nvm(), &services.card(), self.domain, &get).map(success)
            }
            Command::GetStatus(get) => {
                status::read(level.authority()?, services.nvm(), self.domain, &mut self.listed, &get)
            }
            Command::Manage(command) => self.manage(&command, level, services).map(success),
        }
    }

    /// What changes the card. A terminated one changes no more, and a domain that was deleted while it was selected
    /// neither.
    fn manage(
        &mut self,
        command: &Management<'_>,
        level: SecurityLevel<'_>,
        services: &mut Services<'_, C>,
    ) -> Result<Vec<u8>, Status> {
        let authority = level.authority()?;
        let domain = self.domain;
        let registry = Registry::load(services.nvm())?;
        if registry.card == CardLifeCycle::Terminated || !registry.contains(domain) {
            return Err(Status::CONDITIONS_NOT_SATISFIED);
        }
        match command {
            Management::SetStatus(set) => status::write(authority, services, domain, set).map(nothing),
            Management::PutKey(put) => put_key::put_key(authority, services, domain, put),
            Management::GenerateKey { replaced, kid, kvn } => {
                let name = KeyName { kid: *kid, kvn: *kvn };
                put_key::generate_key(authority, services, domain, *replaced, name)
            }
            Management::Delete(delete) => delete::delete(authority, services, domain, delete),
            Management::StoreData { last, number, block } => {
                let target = self.personalised.unwrap_or(domain);
                if !registry.contains(target) {
                    return Err(Status::CONDITIONS_NOT_SATISFIED);
                }
                let block = (*last, *number, *block);
                store_data::store_data(authority, services, target, &mut self.blocks, block).map(nothing)
            }
            Management::Install(install) => {
                install::install(authority, services, domain, &mut self.personalised, install)
            }
        }
    }
}

fn success(data: Vec<u8>) -> ResponseApdu {
    ResponseApdu { data, status: Status::SUCCESS }
}

const fn nothing((): ()) -> Vec<u8> {
    Vec::new()
}

/// A malformed template in the data field.
fn malformed(_: tlv::MalformedTlv) -> Status {
    Status::WRONG_DATA
}
