//! The routing agent: from an identifier, and the container that its protocol is paired with, to an application.

use alloc::vec::Vec;

use cardhost_wire::{
    aid::Aid,
    apdu::{CommandApdu, ResponseApdu},
    protocols::Container,
    status::Status,
};

use crate::{
    container::{SecondSecureElement, SecurityDomains},
    isd::{
        self,
        domain::Domain,
        registry::{CardLifeCycle, Registry},
    },
    piv::{self, Piv},
    scp::{Invoker, SecureChannel, SecurityLevel, SetUp},
    services::Context,
    uicc,
};

/// The application selected on a logical channel, with its session.
pub enum Selected {
    /// A security domain of the secure element, mostly the issuer's.
    Isd(isd::Session),
    /// A security domain of the second secure element.
    Second(isd::Session<SecondSecureElement>),
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
            Container::SecondSecureElement => Self::Second(isd::Session::new(Domain::ISSUER)),
        }
    }

    /// True if this is the container's root, and nothing was proved to it since.
    pub fn is_initial(&self, container: Container) -> bool {
        match (self, container) {
            (Self::Isd(session), Container::SecureElement) => session.is_initial(),
            (Self::Second(session), Container::SecondSecureElement) => session.is_initial(),
            (Self::Uicc(session), Container::Uicc) => session.is_initial(),
            _ => false,
        }
    }

    /// The same application with a session of its own.
    pub fn anew(&self) -> Self {
        match self {
            Self::Isd(session) => Self::Isd(session.anew()),
            Self::Second(session) => Self::Second(session.anew()),
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
        let registries = Registries::load(context)?;
        let uicc = uicc::Session::resolve(name, context.uicc_nvm())?;
        let next = registries.resolve(container, name, uicc).ok_or(Status::NOT_FOUND)?;
        let response = next.select_response(&registries);
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
            Self::Second(session) => {
                return session.execute(command, level, &mut context.second_secure_element());
            }
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
    /// `6581`: a registry's record is not one of ours.
    pub fn invoker(&self, context: &Context<'_>) -> Result<Option<Invoker>, Status> {
        let Registries { first, second } = Registries::load(context)?;
        Ok(match self {
            Self::Isd(session) => of_domain(&first, session),
            Self::Second(session) => of_domain(&second, session),
            Self::Piv(_) => Some(Invoker { aid: Aid::PIV.as_bytes().to_vec(), domain: first.piv_domain }),
            Self::Uicc(_) => None,
        })
    }

    /// Takes a step of the set-up of a secure channel, with the keys of the container that the application is of.
    ///
    /// # Errors
    /// See [`SecureChannel::set_up`].
    pub fn set_up(
        &self,
        secure: &mut SecureChannel,
        set_up: &SetUp<'_>,
        invoker: &Invoker,
        context: &mut Context<'_>,
    ) -> Result<ResponseApdu, Status> {
        match self {
            Self::Second(_) => secure.set_up(set_up, invoker, &mut context.second_secure_element()),
            _ => secure.set_up(set_up, invoker, &mut context.secure_element()),
        }
    }

    fn select_response(&self, registries: &Registries) -> Vec<u8> {
        match self {
            Self::Isd(session) => session.select_response(&registries.first),
            Self::Second(session) => session.select_response(&registries.second),
            Self::Piv(_) => Piv::select_response(),
            Self::Uicc(session) => session.select_response(),
        }
    }
}

fn of_domain<C: SecurityDomains>(registry: &Registry, session: &isd::Session<C>) -> Option<Invoker> {
    let domain = session.domain();
    registry.contains(domain).then(|| Invoker { aid: session.aid(registry).to_vec(), domain })
}

/// Those of the two secure elements.
struct Registries {
    first: Registry,
    second: Registry,
}

impl Registries {
    fn load(context: &Context<'_>) -> Result<Self, Status> {
        Ok(Self { first: Registry::load(context.nvm())?, second: Registry::load(context.second_nvm())? })
    }

    /// The routing agent: the container counts for identifiers that are shared only. `uicc` is what the name means
    /// there.
    fn resolve(&self, container: Container, name: &[u8], uicc: Option<uicc::Session>) -> Option<Selected> {
        if name.is_empty() {
            return Some(Selected::root(container));
        }
        if Aid::SHARED_ROOT.matches(name) {
            return Some(match container {
                Container::SecureElement | Container::SecondSecureElement => Selected::root(container),
                Container::Uicc => Selected::Uicc(uicc::Session::root()),
            });
        }
        if name == Aid::ISD.as_bytes() {
            return Some(Selected::Isd(isd::Session::issuer_as(Aid::ISD)));
        }
        if Aid::ISD.matches(name) {
            return Some(Selected::root(Container::SecureElement));
        }
        if let Some(session) = uicc {
            return Some(Selected::Uicc(session));
        }
        // Both may have installed a domain with the same AID: then it is shared as the roots' is.
        match container {
            Container::SecondSecureElement => self.in_second(name).or_else(|| self.in_first(name)),
            _ => self.in_first(name).or_else(|| self.in_second(name)),
        }
    }

    fn in_first(&self, name: &[u8]) -> Option<Selected> {
        if is_locked(&self.first) {
            return None;
        }
        if Aid::PIV.matches(name) && self.first.piv.is_selectable() {
            return Some(Selected::Piv(piv::Session::default()));
        }
        self.first.select(name).map(|domain| Selected::Isd(isd::Session::new(domain)))
    }

    fn in_second(&self, name: &[u8]) -> Option<Selected> {
        let found = self.second.select(name).filter(|_| !is_locked(&self.second));
        found.map(|domain| Selected::Second(isd::Session::new(domain)))
    }
}

const fn is_locked(registry: &Registry) -> bool {
    matches!(registry.card, CardLifeCycle::CardLocked | CardLifeCycle::Terminated)
}
