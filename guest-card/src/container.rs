//! Who owns records: the software containers of the card, and the card OS itself.
//!
//! A container's code gets [`crate::services::Services`] of its own type only, which take and give nothing but that
//! type's [`crate::nvm::RecordName`]s. So another container's records cannot be named, whatever a command says:
//!
//! ```
//! # use cardhost_guest::{container::SecureElement, nvm::Partition, services::Services};
//! fn own(services: &Services<'_, SecureElement>) -> bool {
//!     services.nvm().read(Partition::PIV.record(0)).is_some()
//! }
//! ```
//!
//! ```compile_fail
//! # use cardhost_guest::{container::Uicc, nvm::Partition, services::Services};
//! fn foreign(services: &Services<'_, Uicc>) -> bool {
//!     services.nvm().read(Partition::PIV.record(0)).is_some()
//! }
//! ```
//!
//! ```compile_fail
//! # use cardhost_guest::{container::SecondSecureElement, nvm::Partition, services::Services};
//! fn of_the_first(services: &Services<'_, SecondSecureElement>) -> bool {
//!     services.nvm().read(Partition::ISD.record(0)).is_some()
//! }
//! ```
//!
//! ```compile_fail
//! # use cardhost_guest::{container::SecureElement, nvm::Partition, services::Services};
//! fn of_the_second(services: &Services<'_, SecureElement>) -> bool {
//!     services.nvm().read(Partition::SECOND.record(0)).is_some()
//! }
//! ```

use crate::{
    nvm::{Part, Partition},
    piv,
};

/// An owner of records.
pub trait Owner: sealed::Sealed {
    /// True if its records may take the last room of a card.
    const TAKES_LAST_ROOM: bool = false;
}

/// The card OS: configuration of the card as a whole.
pub enum CardOs {}

/// The secure element: GlobalPlatform's security domains, PIV.
pub enum SecureElement {}

/// The UICC/eUICC.
pub enum Uicc {}

/// A second secure element: security domains of its own, and nothing else.
pub enum SecondSecureElement {}

/// A full card must still learn what is revoked, and change its configuration.
impl Owner for CardOs {
    const TAKES_LAST_ROOM: bool = true;
}
impl Owner for SecureElement {}
impl Owner for Uicc {}
impl Owner for SecondSecureElement {}

/// A container whose root is an issuer security domain.
pub trait SecurityDomains: Owner + Sized {
    /// Its domains' records.
    const DOMAINS: Partition<Self>;
    /// True for the one that PIV stands in.
    const HAS_PIV: bool;

    /// True if it holds keys for the user.
    fn holds_credentials(nvm: Part<'_, Self>) -> bool;
}

impl SecurityDomains for SecureElement {
    const DOMAINS: Partition<Self> = Partition::ISD;
    const HAS_PIV: bool = true;

    fn holds_credentials(nvm: Part<'_, Self>) -> bool {
        !piv::credentials(nvm).is_empty()
    }
}

impl SecurityDomains for SecondSecureElement {
    const DOMAINS: Partition<Self> = Partition::SECOND;
    const HAS_PIV: bool = false;

    fn holds_credentials(_: Part<'_, Self>) -> bool {
        false
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::CardOs {}
    impl Sealed for super::SecureElement {}
    impl Sealed for super::Uicc {}
    impl Sealed for super::SecondSecureElement {}
}
