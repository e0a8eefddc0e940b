//! What a card's failure means for a caller.

use cardhost_wire::control::Failure;

use super::problem::{Fault, Kind};
use crate::card::CardError;

/// When to ask again if too many cards are live, seconds.
const TOO_MANY_LIVE: u32 = 5;

impl From<CardError> for Fault {
    fn from(error: CardError) -> Self {
        match error {
            CardError::Absent => Self::new(Kind::CARD_ABSENT, "the terminal has no card"),
            CardError::ChannelInUse => Self::new(Kind::CHANNEL_IN_USE, error.to_string()),
            CardError::TooManyLive => {
                Self::new(Kind::TOO_MANY_LIVE_CARDS, error.to_string()).retry_after(TOO_MANY_LIVE)
            }
            CardError::InSession => Self::new(Kind::CARD_BUSY, error.to_string()),
            CardError::Refused(_) => Self::new(Kind::CARD_REFUSED, error.to_string()).because(error),
            CardError::NotRolledBack => Self::new(Kind::CONFLICT, error.to_string()),
            CardError::ImageSettled => Self::new(Kind::ALREADY_ADOPTED, error.to_string()),
            CardError::ImageLeftBehind => Self::new(Kind::IMAGE_LEFT_BEHIND, error.to_string()),
            CardError::Anchor(_) => Self::new(Kind::UNAVAILABLE, error.to_string()).because(error),
            CardError::Declined(failure) => declined(failure),
            CardError::TooLong => Self::new(Kind::INVALID_VALUE, error.to_string()),
            CardError::Store(error) => error.into(),
            CardError::Launcher(_)
            | CardError::Stopped
            | CardError::TimedOut
            | CardError::Misbehaved(_)
            | CardError::Busy
            | CardError::Resources(_) => {
                Self::new(Kind::CARD_UNAVAILABLE, error.to_string()).retry_after(1).because(error)
            }
        }
    }
}

fn declined(failure: Failure) -> Fault {
    match failure {
        Failure::PinRequired => Fault::new(Kind::PIN_REQUIRED, "this key needs the PIN"),
        Failure::PinWrong(tries) => {
            Fault::new(Kind::PIN_WRONG, format!("the PIN is wrong, {tries} tries remain"))
        }
        Failure::PinBlocked => Fault::new(Kind::PIN_BLOCKED, "the PIN is blocked: unblock it with the PUK"),
        Failure::SlotOccupied => Fault::new(Kind::KEY_REFERENCE_OCCUPIED, "the slot holds a key"),
        Failure::NoKey | Failure::NoCertificate => Fault::not_found("certificate"),
        Failure::NoSecrets => Fault::not_found("pending secret"),
        Failure::AlreadyPersonalised => Fault::new(
            Kind::CONFLICT,
            "the card has its PIN, PUK and management key already: leave them out, or change them in the card",
        ),
        Failure::Policy => Fault::new(Kind::CARD_POLICY, "the card's policy forbids it"),
        Failure::Malformed => Fault::new(Kind::INVALID_VALUE, "the card does not take these values"),
        Failure::CertificateMismatch => {
            Fault::new(Kind::AUTHORITY_REFUSED, "the authority's certificate is not for the card's key")
        }
        Failure::NotCommitted => Fault::new(Kind::CARD_UNAVAILABLE, "the card's change could not be stored"),
        Failure::NoMemory => Fault::new(Kind::CONFLICT, "the card has no room"),
        Failure::NotAuthentic => {
            Fault::new(Kind::AUTHORITY_REFUSED, "the card knows another authority, or none yet")
        }
        Failure::ProfileExists => Fault::new(Kind::PROFILE_EXISTS, "the card has a profile with this ICCID"),
        Failure::NoProfile => Fault::not_found("profile"),
        Failure::Outdated => Fault::new(Kind::CONFLICT, "the card has a newer revocation list"),
    }
}
