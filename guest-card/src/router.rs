//! From a communication protocol and an application identifier to an application.

use alloc::vec::Vec;

use cardhost_wire::{aid::Aid, apdu::CommandApdu, port::Protocol, status::Status};

use crate::{
    isd,
    piv::{self, Piv},
    services::Context,
    uicc,
};

/// The application selected on a logical channel, with its session.
pub enum Selected {
    /// The secure element's issuer security domain.
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
            Self::Isd(isd::Session::default())
        } else {
            Self::Uicc(uicc::Session::default())
        }
    }

    /// True if this is what a reset of the protocol selects, and nothing was proved to it since.
    pub fn is_initial(&self, protocol: Protocol) -> bool {
        match self {
            Self::Isd(session) => is_secure_element(protocol) && *session == isd::Session::default(),
            Self::Uicc(session) => !is_secure_element(protocol) && *session == uicc::Session::default(),
            Self::Piv(_) => false,
        }
    }

    /// The same application with a session of its own.
    pub fn anew(&self) -> Self {
        match self {
            Self::Isd(_) => Self::Isd(isd::Session::default()),
            Self::Piv(_) => Self::Piv(piv::Session::default()),
            Self::Uicc(_) => Self::Uicc(uicc::Session::default()),
        }
    }

    /// Selects the application that a full, partial or empty DF name means on this protocol. Returns the SELECT
    /// response data.
    ///
    /// # Errors
    /// `6A82`: there is none; what was selected stays so.
    pub fn select(&mut self, protocol: Protocol, name: &[u8]) -> Result<Vec<u8>, Status> {
        let next = resolve(protocol, name).ok_or(Status::NOT_FOUND)?;
        let response = next.select_response()?;
        // PIV selected again keeps its security status (SP 800-73-5, part 2, 3.1.1).
        if !matches!((&*self, &next), (Self::Piv(_), Self::Piv(_))) {
            *self = next;
        }
        Ok(response)
    }

    /// Executes one whole command: chains reassembled, class bits for chaining and channel cleared.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn execute(
        &mut self,
        command: &CommandApdu<'_>,
        context: &mut Context<'_>,
    ) -> Result<Vec<u8>, Status> {
        match self {
            Self::Isd(session) => session.execute(command),
            Self::Piv(session) => context.piv.process(session, &mut context.services, command),
            Self::Uicc(session) => session.execute(command),
        }
    }

    fn select_response(&self) -> Result<Vec<u8>, Status> {
        match self {
            Self::Isd(_) => Ok(isd::Session::select_response()),
            Self::Piv(_) => Ok(Piv::select_response()),
            Self::Uicc(_) => Err(Status::NOT_FOUND),
        }
    }
}

fn resolve(protocol: Protocol, name: &[u8]) -> Option<Selected> {
    if name.is_empty() {
        return Some(Selected::root(protocol));
    }
    if Aid::SHARED_ROOT.matches(name) && is_secure_element(protocol) || Aid::ISD.matches(name) {
        return Some(Selected::Isd(isd::Session::default()));
    }
    Aid::PIV.matches(name).then(|| Selected::Piv(piv::Session::default()))
}

/// The default pairing of protocols with containers: ISO/IEC 7816-3 is the UICC's, the rest the secure element's.
const fn is_secure_element(protocol: Protocol) -> bool {
    !matches!(protocol, Protocol::Iso7816T0 | Protocol::Iso7816T1)
}
