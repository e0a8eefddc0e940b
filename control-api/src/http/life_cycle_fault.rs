//! What a failure of the life cycle means for a caller.

use super::problem::{Fault, Kind};
use crate::{authority::AuthorityError, lifecycle::LifeCycleError};

impl From<LifeCycleError> for Fault {
    fn from(error: LifeCycleError) -> Self {
        match error {
            LifeCycleError::NoCertificate => Self::not_found("certificate"),
            LifeCycleError::NoSecrets => Self::not_found("pending secret"),
            LifeCycleError::SlotOccupied(_) => Self::new(Kind::KEY_REFERENCE_OCCUPIED, error.to_string()),
            LifeCycleError::TooManyCards(_) => Self::new(Kind::TOO_MANY_CARDS, error.to_string()),
            LifeCycleError::TooManyCardsOfUser(_) => Self::new(Kind::USER_QUOTA_REACHED, error.to_string()),
            LifeCycleError::AlreadyPersonalised => Self::new(Kind::CONFLICT, error.to_string()),
            LifeCycleError::MalformedSubject => Self::new(Kind::INVALID_VALUE, error.to_string()),
            LifeCycleError::PinRequired => Self::new(Kind::PIN_REQUIRED, error.to_string()),
            LifeCycleError::PinWrong(_) => Self::new(Kind::PIN_WRONG, error.to_string()),
            LifeCycleError::PinBlocked => Self::new(Kind::PIN_BLOCKED, error.to_string()),
            LifeCycleError::RevokeElsewhere => Self::new(Kind::REVOKE_ELSEWHERE, error.to_string()),
            LifeCycleError::Authority(error) => error.into(),
            LifeCycleError::Card(error) => error.into(),
            LifeCycleError::Store(error) => error.into(),
            LifeCycleError::Wrapping(_) => {
                Self::new(Kind::CARD_UNAVAILABLE, error.to_string()).retry_after(1).because(error)
            }
            LifeCycleError::CarriedForward(_) => carried_forward(error),
            LifeCycleError::Abandoned => Self::internal(error),
        }
    }
}

impl From<AuthorityError> for Fault {
    fn from(error: AuthorityError) -> Self {
        match &error {
            AuthorityError::Refused { .. } | AuthorityError::Unsupported => {
                Self::new(Kind::AUTHORITY_REFUSED, error.to_string())
            }
            AuthorityError::Undecided => {
                Self::new(Kind::AUTHORITY_UNDECIDED, error.to_string()).retry_after(30)
            }
            AuthorityError::NotSent(_)
            | AuthorityError::AnswerLost(_)
            | AuthorityError::Failed(_)
            | AuthorityError::Malformed => {
                Self::new(Kind::AUTHORITY_UNREACHABLE, error.to_string()).retry_after(5).because(error)
            }
        }
    }
}

fn carried_forward(error: LifeCycleError) -> Fault {
    let detail = "begun, and carried forward by the host until it is done: ask again later";
    Fault::new(Kind::CARRIED_FORWARD, detail).retry_after(5).because(error)
}
