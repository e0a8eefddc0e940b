//! GET STATUS and SET STATUS (GlobalPlatform Card Specification 2.3.1, 11.4 and 11.10).

use alloc::vec::Vec;

use cardhost_wire::{
    aid::Aid,
    apdu::{CommandApdu, ResponseApdu},
    status::Status,
    tlv::{self, Tag, TlvReader, object},
};

use super::{
    domain::Domain,
    malformed,
    registry::{
        CardLifeCycle, DOMAIN_LOAD_FILE, DOMAIN_MODULE, LifeCycle, PIV_LOAD_FILE, PIV_MODULE, Privileges,
        Registered, Registry,
    },
};
use crate::{
    container::SecurityDomains,
    nvm::{Change, Part},
    scp::Authority,
    services::Services,
};

/// Longest response data: with padding and MAC they still fit a short response.
const LONGEST: usize = 208;
/// State of a load file (table 11-3).
const LOADED: u8 = 0x01;
/// Of an executable module, in the same place.
const NO_PRIVILEGES: u8 = 0x00;
const MORE_DATA: Status = Status(0x6310);

/// GET STATUS.
pub struct GetStatus<'a> {
    scope: Scope,
    /// Goes on where the last one ended.
    is_next: bool,
    /// Data objects `E3` rather than the old form.
    is_tlv: bool,
    /// Beginning of the AIDs that are wanted.
    aid: &'a [u8],
    /// What is wanted of each, all without a list (11.4.2.3).
    tags: Option<Vec<Tag>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Issuer,
    Applications,
    LoadFiles,
    LoadFilesAndModules,
}

/// SET STATUS.
pub enum SetStatus<'a> {
    /// P1 80.
    Card(CardLifeCycle),
    /// P1 40 or 60: the lock on an application or security domain.
    Application { aid: &'a [u8], locked: bool },
}

impl<'a> GetStatus<'a> {
    /// Parses the command.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn parse(apdu: &CommandApdu<'a>) -> Result<Self, Status> {
        let scope = match apdu.p1 {
            0x80 => Scope::Issuer,
            0x40 => Scope::Applications,
            0x20 => Scope::LoadFiles,
            0x10 => Scope::LoadFilesAndModules,
            _ => return Err(Status::INCORRECT_P1_P2),
        };
        if apdu.p2 & !0x03 != 0 {
            return Err(Status::INCORRECT_P1_P2);
        }
        let (aid, tags) = Self::wanted(apdu.data)?;
        Ok(Self { scope, is_next: apdu.p2 & 1 != 0, is_tlv: apdu.p2 & 2 != 0, aid, tags })
    }

    /// `4F`, then the tag list `5C` if there is one.
    fn wanted(data: &'a [u8]) -> Result<(&'a [u8], Option<Vec<Tag>>), Status> {
        let mut reader = TlvReader::new(data);
        let Some((0x4F, aid)) = reader.next_object().map_err(malformed)? else {
            return Err(Status::WRONG_DATA);
        };
        match reader.next_object().map_err(malformed)? {
            None => Ok((aid, None)),
            Some((0x5C, list)) if reader.remaining().is_empty() => {
                Ok((aid, Some(tlv::tags(list).map_err(malformed)?)))
            }
            Some(_) => Err(Status::WRONG_DATA),
        }
    }

    fn wants(&self, tag: Tag) -> bool {
        self.tags.as_ref().is_none_or(|tags| tags.contains(&tag))
    }
}

impl<'a> SetStatus<'a> {
    /// Parses the command.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn parse(apdu: &CommandApdu<'a>) -> Result<Self, Status> {
        match (apdu.p1, apdu.p2) {
            (0x80, state) => CardLifeCycle::parse(state).map(Self::Card).ok_or(Status::WRONG_DATA),
            (0x40 | 0x60, state) => Ok(Self::Application { aid: apdu.data, locked: state & 0x80 != 0 }),
            _ => Err(Status::INCORRECT_P1_P2),
        }
    }
}

/// What one entry of the registry says.
struct Entry<'a> {
    aid: &'a [u8],
    state: u8,
    privileges: Option<Privileges>,
    load_file: Option<&'static [u8]>,
    domain: Option<&'a [u8]>,
    module: Option<&'static [u8]>,
}

/// GET STATUS. `listed` is how many entries the last one ended after, and becomes that of this one. A further domain
/// tells only of itself and what is associated with it.
///
/// # Errors
/// `6A88`: nothing fits; `6985`: nothing is left to go on with.
pub fn read<C: SecurityDomains>(
    _: Authority<'_>,
    nvm: Part<'_, C>,
    domain: Domain,
    listed: &mut usize,
    command: &GetStatus<'_>,
) -> Result<ResponseApdu, Status> {
    let registry = Registry::load(nvm)?;
    let entries = entries::<C>(&registry, domain, command.scope).into_iter();
    let wanted = entries.filter(|entry| entry.aid.starts_with(command.aid)).map(|entry| entry.bytes(command));
    let first = core::mem::take(listed);
    if command.is_next && first == 0 {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    let rest: Vec<Vec<u8>> = wanted.skip(if command.is_next { first } else { 0 }).collect();
    let fit = number_that_fits(&rest);
    if rest.is_empty() {
        return Err(Status::REFERENCED_DATA_NOT_FOUND);
    }
    let more = fit < rest.len();
    *listed = if more { first * usize::from(command.is_next) + fit } else { 0 };
    let data = rest[..fit].concat();
    Ok(ResponseApdu { data, status: if more { MORE_DATA } else { Status::SUCCESS } })
}

fn number_that_fits(entries: &[Vec<u8>]) -> usize {
    let ends = entries.iter().scan(0, |end, entry| {
        *end += entry.len();
        Some(*end)
    });
    ends.take_while(|&end| end <= LONGEST).count()
}

fn entries<C: SecurityDomains>(registry: &Registry, domain: Domain, scope: Scope) -> Vec<Entry<'_>> {
    match scope {
        Scope::Issuer if domain.is_issuer() => Vec::from([issuer(registry)]),
        Scope::Issuer => Vec::new(),
        Scope::Applications => applications::<C>(registry, domain),
        Scope::LoadFiles if domain.is_issuer() => load_files::<C>(false),
        Scope::LoadFilesAndModules if domain.is_issuer() => load_files::<C>(true),
        Scope::LoadFiles | Scope::LoadFilesAndModules => Vec::new(),
    }
}

fn issuer(registry: &Registry) -> Entry<'_> {
    Entry {
        aid: Aid::SHARED_ROOT.as_bytes(),
        state: registry.card.value(),
        privileges: Some(registry.privileges(None)),
        load_file: Some(DOMAIN_LOAD_FILE),
        domain: None,
        module: None,
    }
}

fn applications<C: SecurityDomains>(registry: &Registry, domain: Domain) -> Vec<Entry<'_>> {
    let piv = Entry {
        aid: Aid::PIV.as_bytes(),
        state: registry.piv.value(),
        privileges: Some(registry.privileges(Some(Registered::Piv))),
        load_file: Some(PIV_LOAD_FILE),
        domain: Some(registry.aid(registry.piv_domain)),
        module: None,
    };
    let further = registry.domains().iter().filter(|further| domain.is_issuer() || further.domain == domain);
    let further = further.map(|further| Entry {
        aid: &further.aid,
        state: further.state.value(),
        privileges: Some(further.privileges),
        load_file: Some(DOMAIN_LOAD_FILE),
        domain: Some(Aid::SHARED_ROOT.as_bytes()),
        module: None,
    });
    let has_piv = C::HAS_PIV && (domain.is_issuer() || registry.piv_domain == domain);
    let piv = has_piv.then_some(piv);
    piv.into_iter().chain(further).collect()
}

fn load_files<'a, C: SecurityDomains>(with_modules: bool) -> Vec<Entry<'a>> {
    let piv = C::HAS_PIV.then_some((PIV_LOAD_FILE, PIV_MODULE));
    [(DOMAIN_LOAD_FILE, DOMAIN_MODULE)]
        .into_iter()
        .chain(piv)
        .map(|(aid, module)| Entry {
            aid,
            state: LOADED,
            privileges: None,
            load_file: None,
            domain: Some(Aid::SHARED_ROOT.as_bytes()),
            module: with_modules.then_some(module),
        })
        .collect()
}

impl Entry<'_> {
    fn bytes(&self, command: &GetStatus<'_>) -> Vec<u8> {
        if command.is_tlv { self.object(command) } else { self.old_form() }
    }

    /// Table 11-36.
    fn object(&self, command: &GetStatus<'_>) -> Vec<u8> {
        let state = [self.state];
        let members = [
            (0x4F, Some(self.aid)),
            (0x9F70, Some(&state[..])),
            (0xC5, self.privileges.as_ref().map(|privileges| &privileges.0[..])),
            (0xC4, self.load_file),
            (0x84, self.module),
            (0xCC, self.domain),
        ];
        let told = members.into_iter().filter(|(tag, _)| command.wants(*tag));
        let content: Vec<u8> = told.filter_map(|(tag, value)| Some(object(tag, value?))).flatten().collect();
        object(0xE3, &content)
    }

    /// Tables 11-34 and 11-35: length, AID, state, one byte of privileges, and the modules with their number.
    fn old_form(&self) -> Vec<u8> {
        let privileges = self.privileges.map_or(NO_PRIVILEGES, |Privileges([first, ..])| first);
        let mut bytes = prefixed(self.aid);
        bytes.extend([self.state, privileges]);
        if let Some(module) = self.module {
            bytes.push(1);
            bytes.extend(prefixed(module));
        }
        bytes
    }
}

fn prefixed(aid: &[u8]) -> Vec<u8> {
    [&[aid.len() as u8], aid].concat()
}

/// SET STATUS.
///
/// # Errors
/// `6985`: the life cycle does not go there from here, or user's keys would be lost; `6A88`: no such application;
/// `6982`: the domain may not.
pub fn write<C: SecurityDomains>(
    _: Authority<'_>,
    services: &mut Services<'_, C>,
    domain: Domain,
    command: &SetStatus<'_>,
) -> Result<(), Status> {
    let mut registry = Registry::load(services.nvm())?;
    match command {
        SetStatus::Card(next) => set_card(services.nvm(), &mut registry, domain, *next)?,
        SetStatus::Application { aid, locked } => set_lock::<C>(&mut registry, domain, aid, *locked)?,
    }
    services.commit(registry.put(Change::new()))
}

/// A terminated card loses its keys for the user, so none may be left in it: whoever means to destroy them deletes
/// them first, and the host learns of it.
fn set_card<C: SecurityDomains>(
    nvm: Part<'_, C>,
    registry: &mut Registry,
    domain: Domain,
    next: CardLifeCycle,
) -> Result<(), Status> {
    if !domain.is_issuer() {
        return Err(Status::SECURITY_STATUS_NOT_SATISFIED);
    }
    let loses_keys = next == CardLifeCycle::Terminated && C::holds_credentials(nvm);
    if loses_keys || !registry.card.may_become(next) {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    registry.card = next;
    Ok(())
}

/// The issuer's domain locks and unlocks all, a further one may lock itself and what is associated with it.
fn set_lock<C: SecurityDomains>(
    registry: &mut Registry,
    domain: Domain,
    aid: &[u8],
    locked: bool,
) -> Result<(), Status> {
    let application = registry.find::<C>(aid).ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
    let own = application == Registered::Domain(domain)
        || application == Registered::Piv && registry.piv_domain == domain;
    if !(domain.is_issuer() || own && locked) {
        return Err(Status::SECURITY_STATUS_NOT_SATISFIED);
    }
    let state = registry.state(application)?;
    if state.life_cycle == LifeCycle::Installed && locked {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    state.locked = locked;
    Ok(())
}
