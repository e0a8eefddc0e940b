//! INSTALL (GlobalPlatform Card Specification 2.3.1, 11.5). What can be installed is built into the image: further
//! security domains. Nothing is loaded, so that the measured image says all that a card can run.

use alloc::vec::Vec;

use cardhost_wire::{
    aid::Aid,
    apdu::CommandApdu,
    status::Status,
    tlv::{self, TlvReader},
};

use super::{
    domain::Domain,
    malformed,
    registry::{DOMAIN_LOAD_FILE, DOMAIN_MODULE, LifeCycle, Privileges, Registered, Registry},
};
use crate::{
    container::SecurityDomains,
    nvm::Change,
    scp::{
        Authority,
        scp03::{Implementation, PROTOCOL},
    },
    services::Services,
};

/// Answer of each: no confirmation.
const NO_CONFIRMATION: u8 = 0x00;

/// INSTALL, by what for.
pub enum Install<'a> {
    /// P1 04 or, to make it selectable as well, 0C.
    Instance(Instance<'a>),
    /// P1 08.
    Selectable(&'a [u8]),
    /// P1 10: associates an application with another domain.
    Extradition { target: &'a [u8], application: &'a [u8] },
    /// P1 20: STORE DATA that follow are for this application.
    Personalization(&'a [u8]),
    /// P1 40: other privileges.
    RegistryUpdate { application: &'a [u8], privileges: Privileges },
}

/// A security domain to make.
pub struct Instance<'a> {
    aid: &'a [u8],
    privileges: Privileges,
    life_cycle: LifeCycle,
    implementation: Implementation,
}

impl<'a> Install<'a> {
    /// Parses the command.
    ///
    /// # Errors
    /// A status word for the terminal: `6985` for "load".
    pub fn parse(apdu: &CommandApdu<'a>) -> Result<Self, Status> {
        if apdu.p2 != 0 {
            return Err(Status::INCORRECT_P1_P2);
        }
        match apdu.p1 {
            0x02 => Err(Status::CONDITIONS_NOT_SATISFIED),
            0x04 => instance(apdu.data, LifeCycle::Installed).map(Self::Instance),
            0x0C => instance(apdu.data, LifeCycle::Selectable).map(Self::Instance),
            0x08 => selectable(apdu.data),
            0x10 => extradition(apdu.data),
            0x20 => personalization(apdu.data),
            0x40 => registry_update(apdu.data),
            _ => Err(Status::INCORRECT_P1_P2),
        }
    }
}

/// Exactly so many values, each after its length in one byte.
fn fields<const COUNT: usize>(mut data: &[u8]) -> Result<[&[u8]; COUNT], Status> {
    let mut fields = [&data[..0]; COUNT];
    for field in &mut fields {
        let (&length, rest) = data.split_first().ok_or(Status::WRONG_DATA)?;
        (*field, data) = rest.split_at_checked(length.into()).ok_or(Status::WRONG_DATA)?;
    }
    if data.is_empty() { Ok(fields) } else { Err(Status::WRONG_DATA) }
}

fn instance(data: &[u8], life_cycle: LifeCycle) -> Result<Instance<'_>, Status> {
    let [load_file, module, aid, privileges, parameters, token] = fields(data)?;
    if load_file != DOMAIN_LOAD_FILE || module != DOMAIN_MODULE {
        return Err(Status::REFERENCED_DATA_NOT_FOUND);
    }
    let privileges = domain_privileges(privileges)?;
    let aid = if aid.is_empty() { module } else { aid };
    if !token.is_empty() || !matches!(aid.len(), 5..=16) {
        return Err(Status::WRONG_DATA);
    }
    Ok(Instance { aid, privileges, life_cycle, implementation: implementation(parameters)? })
}

/// Those of a security domain; a domain beside the issuer's gets no more here.
fn domain_privileges(bytes: &[u8]) -> Result<Privileges, Status> {
    let privileges = Privileges::parse(bytes).ok_or(Status::WRONG_DATA)?;
    if privileges == Privileges::SECURITY_DOMAIN { Ok(privileges) } else { Err(Status::WRONG_DATA) }
}

/// In the application's parameters `C9`, `81` names protocol and "i" (GlobalPlatform UICC Configuration, 9.1).
fn implementation(parameters: &[u8]) -> Result<Implementation, Status> {
    let mut implementation = Implementation::PseudoRandomS8;
    let own = tlv::find(parameters, 0xC9).map_err(malformed)?.unwrap_or_default();
    let mut reader = TlvReader::new(own);
    while let Some(parameter) = reader.next_object().map_err(malformed)? {
        match parameter {
            (0x81, &[PROTOCOL, i]) => implementation = Implementation::parse(i).ok_or(Status::WRONG_DATA)?,
            _ => return Err(Status::WRONG_DATA),
        }
    }
    Ok(implementation)
}

fn selectable(data: &[u8]) -> Result<Install<'_>, Status> {
    let [[], [], application, _, _, []] = fields(data)? else { return Err(Status::WRONG_DATA) };
    Ok(Install::Selectable(application))
}

fn extradition(data: &[u8]) -> Result<Install<'_>, Status> {
    let [target, [], application, [], _, []] = fields(data)? else { return Err(Status::WRONG_DATA) };
    Ok(Install::Extradition { target, application })
}

fn personalization(data: &[u8]) -> Result<Install<'_>, Status> {
    let [[], [], application, [], [], []] = fields(data)? else { return Err(Status::WRONG_DATA) };
    Ok(Install::Personalization(application))
}

fn registry_update(data: &[u8]) -> Result<Install<'_>, Status> {
    let [_, [], application, privileges, _, []] = fields(data)? else { return Err(Status::WRONG_DATA) };
    Ok(Install::RegistryUpdate { application, privileges: domain_privileges(privileges)? })
}

/// INSTALL, by the issuer's domain only. `personalised` becomes the domain that STORE DATA are for.
///
/// # Errors
/// A status word for the terminal; nothing has changed.
pub fn install<C: SecurityDomains>(
    _: Authority<'_>,
    services: &mut Services<'_, C>,
    domain: Domain,
    personalised: &mut Option<Domain>,
    command: &Install<'_>,
) -> Result<Vec<u8>, Status> {
    if !domain.is_issuer() {
        return Err(Status::SECURITY_STATUS_NOT_SATISFIED);
    }
    let mut registry = Registry::load(services.nvm())?;
    match command {
        Install::Personalization(aid) => *personalised = Some(domain_with::<C>(&registry, aid)?),
        Install::Instance(instance) => make::<C>(&mut registry, instance)?,
        Install::Selectable(aid) => make_selectable::<C>(&mut registry, aid)?,
        Install::Extradition { target, application } => extradite::<C>(&mut registry, target, application)?,
        Install::RegistryUpdate { application, privileges } => {
            let updated = domain_with::<C>(&registry, application)?;
            registry.further(updated)?.privileges = *privileges;
        }
    }
    if !matches!(command, Install::Personalization(_)) {
        services.commit(registry.put(Change::new()))?;
    }
    Ok(Vec::from([NO_CONFIRMATION]))
}

/// The further domain with this AID. PIV is personalised and managed by its own commands.
fn domain_with<C: SecurityDomains>(registry: &Registry, aid: &[u8]) -> Result<Domain, Status> {
    match registry.find::<C>(aid) {
        Some(Registered::Domain(domain)) => Ok(domain),
        Some(Registered::Piv) => Err(Status::CONDITIONS_NOT_SATISFIED),
        None => Err(Status::REFERENCED_DATA_NOT_FOUND),
    }
}

fn make<C: SecurityDomains>(registry: &mut Registry, instance: &Instance<'_>) -> Result<(), Status> {
    let Instance { aid, privileges, life_cycle, implementation } = instance;
    let built_in = [Aid::SHARED_ROOT, Aid::ISD, Aid::PIV].iter().any(|built_in| built_in.matches(aid));
    if built_in || registry.find::<C>(aid).is_some() {
        return Err(Status::WRONG_DATA);
    }
    registry.add(aid, *privileges, *life_cycle, *implementation)
}

fn make_selectable<C: SecurityDomains>(registry: &mut Registry, aid: &[u8]) -> Result<(), Status> {
    let domain = domain_with::<C>(registry, aid)?;
    let state = &mut registry.further(domain)?.state;
    if state.life_cycle != LifeCycle::Installed {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    state.life_cycle = LifeCycle::Selectable;
    Ok(())
}

/// PIV may go to another domain, whose keys then open its secure channels; domains stay where they are.
fn extradite<C: SecurityDomains>(
    registry: &mut Registry,
    target: &[u8],
    application: &[u8],
) -> Result<(), Status> {
    let target = if target == Aid::SHARED_ROOT.as_bytes() {
        Domain::ISSUER
    } else {
        domain_with::<C>(registry, target)?
    };
    match registry.find::<C>(application) {
        Some(Registered::Piv) => registry.piv_domain = target,
        Some(Registered::Domain(_)) => return Err(Status::CONDITIONS_NOT_SATISFIED),
        None => return Err(Status::REFERENCED_DATA_NOT_FOUND),
    }
    Ok(())
}
