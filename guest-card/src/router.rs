//! The routing agent: from an identifier, and the container that its protocol is paired with, to an application.

use alloc::vec::Vec;

use cardhost_wire::{
    aid::Aid,
    apdu::{CommandApdu, ResponseApdu},
    protocols::Container,
    status::Status,
};

use crate::{
    isd::{
        self,
        domain::Domain,
        registry::{CardLifeCycle, Registry},
    },
    nvm::Part,
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
    /// The UICC.
    Uicc(uicc::Session),
}

impl Selected {
    /// What is selected after a reset of a protocol that this container is paired with.
    pub fn root(container: Container) -> Self {
        match container {
            Container::SecureElement => Self::Isd(isd::Session::new(Domain::ISSUER)),
            Container::Uicc => Self::Uicc(uicc::Session::default()),
        }
    }

    /// True if this is the container's root, and nothing was proved to it since.
    pub fn is_initial(&self, container: Container) -> bool {
        match (self, container) {
            (Self::Isd(session), Container::SecureElement) => session.is_initial(),
            (Self::Uicc(session), Container::Uicc) => session.is_initial(),
            _ => false,
        }
    }

    /// The same application with a session of its own.
    pub fn anew(&self) -> Self {
        match self {
            Self::Isd(session) => Self::Isd(isd::Session::new(session.domain())),
            Self::Piv(_) => Self::Piv(piv::Session::default()),
            Self::Uicc(session) => Self::Uicc(session.anew()),
        }
    }

    /// Selects the application that a full, partial or empty DF name means on a protocol that this container is paired
    /// with. Returns the SELECT response data.
    ///
    /// # Errors
    /// `6A82`: there is none, or it is locked; what was selected stays so.
    pub fn select(
        &mut self,
        container: Container,
        name: &[u8],
        context: &Context<'_>,
    ) -> Result<Vec<u8>, Status> {
        let registry = Registry::load(context.nvm())?;
        let uicc = uicc::Session::resolve(name, context.uicc_nvm())?;
        let next = resolve(container, name, &registry, uicc).ok_or(Status::NOT_FOUND)?;
        let response = next.select_response(&registry);
        // PIV selected again keeps its security status (SP 800-73-5, part 2, 3.1.1).
        if !matches!((&*self, &next), (Self::Piv(_), Self::Piv(_))) {
            *self = next;
        }
        Ok(response)
    }

    /// Selects a file whose identifier the containers share, in the one that the protocol is paired with. Returns the
    /// SELECT response data.
    ///
    /// # Errors
    /// `6A82`: it has no such file; what was selected stays so.
    pub fn select_file(
        &mut self,
        container: Container,
        command: &CommandApdu<'_>,
        context: &Context<'_>,
    ) -> Result<Vec<u8>, Status> {
        let (Container::Uicc, &[high, low]) = (container, command.data) else {
            return Err(Status::NOT_FOUND);
        };
        let mut session = uicc::Session::default();
        let file = u16::from_be_bytes([high, low]);
        let response = session.select_file(file, command.p2, context.uicc_nvm())?;
        *self = Self::Uicc(session);
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
            Self::Isd(session) => return session.execute(command, level, &mut context.secure_element()),
            Self::Piv(session) => {
                let (piv, mut services) = context.piv();
                piv.process(session, &mut services, command)?
            }
            Self::Uicc(session) => session.execute(command, &mut context.uicc())?,
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
    pub fn invoker(&self, nvm: Part<'_>) -> Result<Option<Invoker>, Status> {
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

    fn select_response(&self, registry: &Registry) -> Vec<u8> {
        match self {
            Self::Isd(session) => session.select_response(registry),
            Self::Piv(_) => Piv::select_response(),
            Self::Uicc(session) => session.select_response(),
        }
    }
}

/// The routing agent: the container counts for the shared identifier only. `uicc` is what the name means there.
fn resolve(
    container: Container,
    name: &[u8],
    registry: &Registry,
    uicc: Option<uicc::Session>,
) -> Option<Selected> {
    let domain = |domain| Selected::Isd(isd::Session::new(domain));
    if name.is_empty() {
        return Some(Selected::root(container));
    }
    if Aid::SHARED_ROOT.matches(name) {
        return Some(match container {
            Container::SecureElement => domain(Domain::ISSUER),
            Container::Uicc => Selected::Uicc(uicc::Session::root()),
        });
    }
    if Aid::ISD.matches(name) {
        return Some(domain(Domain::ISSUER));
    }
    if let Some(session) = uicc {
        return Some(Selected::Uicc(session));
    }
    if matches!(registry.card, CardLifeCycle::CardLocked | CardLifeCycle::Terminated) {
        return None;
    }
    if Aid::PIV.matches(name) && registry.piv.is_selectable() {
        return Some(Selected::Piv(piv::Session::default()));
    }
    registry.select(name).map(domain)
}
