//! From a communication protocol and an application identifier to an application.

use alloc::vec::Vec;

use cardhost_wire::{
    aid::Aid,
    apdu::{CommandApdu, ResponseApdu},
    port::Protocol,
    status::Status,
};

use crate::{
    isd::{
        self,
        domain::Domain,
        registry::{CardLifeCycle, Registry},
    },
    nvm::Nvm,
    piv::{self, Piv},
    scp::{Invoker, SecurityLevel},
    services::Context,
    uicc,
};

/// The application selected on a logical channel, with its session.
pub enum Selected {
    /// A security domain of the secure element, mostly the issuer's.
    Isd(isd::Session),
    /// PIV.
    Piv(piv::Session),
    /// The UICC's root.
    Uicc(uicc::Session),
}

impl Selected {
    /// What is selected after a reset of this protocol.
    pub fn root(protocol: Protocol) -> Self {
        if is_secure_element(protocol) {
            Self::Isd(isd::Session::new(Domain::ISSUER))
        } else {
            Self::Uicc(uicc::Session::default())
        }
    }

    /// True if this is what a reset of the protocol selects, and nothing was proved to it since.
    pub fn is_initial(&self, protocol: Protocol) -> bool {
        match self {
            Self::Isd(session) => is_secure_element(protocol) && session.is_initial(),
            Self::Uicc(session) => !is_secure_element(protocol) && *session == uicc::Session::default(),
            Self::Piv(_) => false,
        }
    }

    /// The same application with a session of its own.
    pub fn anew(&self) -> Self {
        match self {
            Self::Isd(session) => Self::Isd(isd::Session::new(session.domain())),
            Self::Piv(_) => Self::Piv(piv::Session::default()),
            Self::Uicc(_) => Self::Uicc(uicc::Session::default()),
        }
    }

    /// Selects the application that a full, partial or empty DF name means on this protocol. Returns the SELECT
    /// response data.
    ///
    /// # Errors
    /// `6A82`: there is none, or it is locked; what was selected stays so.
    pub fn select(&mut self, protocol: Protocol, name: &[u8], nvm: &Nvm) -> Result<Vec<u8>, Status> {
        let registry = Registry::load(nvm)?;
        let next = resolve(protocol, name, &registry).ok_or(Status::NOT_FOUND)?;
        let response = next.select_response(&registry)?;
        // PIV selected again keeps its security status (SP 800-73-5, part 2, 3.1.1).
        if !matches!((&*self, &next), (Self::Piv(_), Self::Piv(_))) {
            *self = next;
        }
        Ok(response)
    }

    /// Executes one whole command: chains reassembled, class bits for chaining and channel cleared, secure messaging
    /// removed; the security level says what it proved.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn execute(
        &mut self,
        command: &CommandApdu<'_>,
        level: SecurityLevel<'_>,
        context: &mut Context<'_>,
    ) -> Result<ResponseApdu, Status> {
        let data = match self {
            Self::Isd(session) => return session.execute(command, level, &mut context.services),
            Self::Piv(session) => context.piv.process(session, &mut context.services, command)?,
            Self::Uicc(session) => session.execute(command)?,
        };
        Ok(ResponseApdu { data, status: Status::SUCCESS })
    }

    /// False for the UICC, which has no secure channel.
    pub const fn has_secure_channel(&self) -> bool {
        !matches!(self, Self::Uicc(_))
    }

    /// What a secure channel to this application needs; the UICC has none.
    ///
    /// # Errors
    /// `6581`: the registry's record is not one of ours.
    pub fn invoker(&self, nvm: &Nvm) -> Result<Option<Invoker>, Status> {
        let registry = Registry::load(nvm)?;
        Ok(match self {
            Self::Isd(session) => {
                let domain = session.domain();
                registry.contains(domain).then(|| Invoker { aid: registry.aid(domain).to_vec(), domain })
            }
            Self::Piv(_) => Some(Invoker { aid: Aid::PIV.as_bytes().to_vec(), domain: registry.piv_domain }),
            Self::Uicc(_) => None,
        })
    }

    fn select_response(&self, registry: &Registry) -> Result<Vec<u8>, Status> {
        match self {
            Self::Isd(session) => Ok(session.select_response(registry)),
            Self::Piv(_) => Ok(Piv::select_response()),
            Self::Uicc(_) => Err(Status::NOT_FOUND),
        }
    }
}

fn resolve(protocol: Protocol, name: &[u8], registry: &Registry) -> Option<Selected> {
    if name.is_empty() {
        return Some(Selected::root(protocol));
    }
    let domain = |domain| Selected::Isd(isd::Session::new(domain));
    if Aid::SHARED_ROOT.matches(name) && is_secure_element(protocol) || Aid::ISD.matches(name) {
        return Some(domain(Domain::ISSUER));
    }
    if matches!(registry.card, CardLifeCycle::CardLocked | CardLifeCycle::Terminated) {
        return None;
    }
    if Aid::PIV.matches(name) && registry.piv.is_selectable() {
        return Some(Selected::Piv(piv::Session::default()));
    }
    registry.select(name).map(domain)
}

/// The default pairing of protocols with containers: ISO/IEC 7816-3 is the UICC's, the rest the secure element's.
const fn is_secure_element(protocol: Protocol) -> bool {
    !matches!(protocol, Protocol::Iso7816T0 | Protocol::Iso7816T1)
}
