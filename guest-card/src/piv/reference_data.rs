//! PIN and PUK (SP 800-73-5, part 2, 3.2.1 to 3.2.3).
//!
//! A try is counted before it is judged: the decremented counter is durable before the comparison starts, so that
//! no power cut gives a try back. Only a right value then writes the full counter.

use cardhost_wire::{key::Secret, status::Status};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{
    command::Verify,
    record,
    session::{PinVerified, Session},
};
use crate::{
    nvm::{Change, Part},
    services::Services,
};

/// Length of a PIN or PUK as sent and stored, padded with FF.
pub(crate) const LENGTH: usize = 8;
const SHORTEST: usize = 6;
const DEFAULT_TRIES: u8 = 3;
const DEFAULT_PIN: [u8; LENGTH] = *b"123456\xFF\xFF";
const DEFAULT_PUK: [u8; LENGTH] = *b"12345678";

/// A PIN or PUK as it stands in a command.
pub(crate) type Value = [u8; LENGTH];

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The PIV Card Application PIN, key reference 80.
    Pin,
    /// The PIN unblocking key, key reference 81.
    Puk,
}

/// PIN and PUK with their counters.
#[derive(Serialize, Deserialize)]
pub(super) struct ReferenceData {
    pin: Guarded,
    puk: Guarded,
}

#[derive(Serialize, Deserialize)]
struct Guarded {
    value: Secret,
    tries: u8,
    remaining: u8,
}

/// What metadata tell of a PIN or PUK.
pub(super) struct Counters {
    pub(super) is_default: bool,
    pub(super) tries: u8,
    pub(super) remaining: u8,
}

/// A right PIN or PUK was presented. Holds the full counter again, which is not durable yet.
#[must_use = "the full counter is not durable before it is committed"]
pub(super) struct Presented(ReferenceData);

/// VERIFY.
pub(super) fn verify(
    session: &mut Session,
    services: &mut Services<'_>,
    verify: Verify<'_>,
) -> Result<(), Status> {
    match verify {
        Verify::Status if session.pin().is_some() => Ok(()),
        Verify::Status => Err(ReferenceData::load(services.nvm())?.pin.status()),
        Verify::Reset => {
            session.forget_pin();
            Ok(())
        }
        Verify::Pin(presented) => {
            session.forget_pin();
            let proof = verify_pin(services, presented)?;
            session.pin_verified(proof);
            Ok(())
        }
    }
}

/// Checks the PIN; a wrong one counts.
pub(crate) fn verify_pin(services: &mut Services<'_>, presented: &Value) -> Result<PinVerified, Status> {
    let Presented(data) = present(services, Reference::Pin, presented)?;
    data.commit(services)?;
    Ok(PinVerified::new())
}

/// CHANGE REFERENCE DATA.
pub(super) fn change(
    session: &mut Session,
    services: &mut Services<'_>,
    which: Reference,
    old: &Value,
    new: &Value,
) -> Result<(), Status> {
    let presented = present(services, which, old);
    if presented.is_err() && which == Reference::Pin {
        session.forget_pin();
    }
    replace(services, presented?, which, new)
}

/// RESET RETRY COUNTER: a new PIN by the PUK.
pub(super) fn unblock(
    session: &mut Session,
    services: &mut Services<'_>,
    puk: &Value,
    pin: &Value,
) -> Result<(), Status> {
    session.forget_pin();
    let presented = present(services, Reference::Puk, puk)?;
    replace(services, presented, Reference::Pin, pin)
}

/// Counts the try durably, compares, and answers the data with the full counter restored.
fn present(services: &mut Services<'_>, which: Reference, presented: &Value) -> Result<Presented, Status> {
    let mut data = ReferenceData::load(services.nvm())?;
    let guarded = data.guarded(which);
    guarded.remaining = guarded.remaining.checked_sub(1).ok_or(Status::AUTHENTICATION_BLOCKED)?;
    data.commit(services)?;
    let guarded = data.guarded(which);
    if guarded.matches(presented) {
        guarded.remaining = guarded.tries;
        Ok(Presented(data))
    } else {
        Err(Status::retries_remaining(guarded.remaining))
    }
}

/// Sets a new value. One of bad format is refused only now, after the old one was judged: clients that block a
/// card on purpose send such values and expect them to count.
fn replace(
    services: &mut Services<'_>,
    Presented(mut data): Presented,
    which: Reference,
    new: &Value,
) -> Result<(), Status> {
    if !is_well_formed(new) {
        data.commit(services)?;
        return Err(Status::WRONG_DATA);
    }
    let guarded = data.guarded(which);
    guarded.value = Secret(new.to_vec());
    guarded.remaining = guarded.tries;
    data.commit(services)
}

impl ReferenceData {
    /// PIN and PUK as a personalised card begins.
    pub(super) fn new(pin: &Value, puk: &Value) -> Self {
        Self { pin: Guarded::new(pin, DEFAULT_TRIES), puk: Guarded::new(puk, DEFAULT_TRIES) }
    }

    /// The well-known PIN 123456 and PUK 12345678.
    pub(super) fn well_known() -> Self {
        Self::with_tries(DEFAULT_TRIES, DEFAULT_TRIES)
    }

    /// The well-known values with other counters (Yubico's SET PIN RETRIES).
    pub(super) fn with_tries(pin: u8, puk: u8) -> Self {
        Self { pin: Guarded::new(&DEFAULT_PIN, pin), puk: Guarded::new(&DEFAULT_PUK, puk) }
    }

    /// Reads them; a card that was never personalised has none.
    pub(super) fn load(nvm: Part<'_>) -> Result<Self, Status> {
        record::load(nvm, record::REFERENCE_DATA)?.ok_or(Status::REFERENCE_DATA_NOT_USABLE)
    }

    /// Adds them to a change.
    pub(super) fn put(&self, change: Change) -> Change {
        change.put(record::REFERENCE_DATA, record::encode(self))
    }

    /// Makes them durable by themselves.
    pub(super) fn commit(&self, services: &mut Services<'_>) -> Result<(), Status> {
        services.commit(self.put(Change::new()))
    }

    /// True if neither has a try left.
    pub(super) const fn is_blocked(&self) -> bool {
        self.pin.remaining == 0 && self.puk.remaining == 0
    }

    /// What metadata tell.
    pub(super) fn counters(&mut self, which: Reference) -> Counters {
        let default = if which == Reference::Pin { DEFAULT_PIN } else { DEFAULT_PUK };
        let guarded = self.guarded(which);
        Counters { is_default: guarded.matches(&default), tries: guarded.tries, remaining: guarded.remaining }
    }

    const fn guarded(&mut self, which: Reference) -> &mut Guarded {
        match which {
            Reference::Pin => &mut self.pin,
            Reference::Puk => &mut self.puk,
        }
    }
}

impl Guarded {
    fn new(value: &Value, tries: u8) -> Self {
        Self { value: Secret(value.to_vec()), tries, remaining: tries }
    }

    fn matches(&self, presented: &Value) -> bool {
        self.value.0.ct_eq(presented).into()
    }

    const fn status(&self) -> Status {
        match self.remaining {
            0 => Status::AUTHENTICATION_BLOCKED,
            remaining => Status::retries_remaining(remaining),
        }
    }
}

/// Six to eight bytes other than FF, then only FF.
pub(super) fn is_well_formed(value: &Value) -> bool {
    let length = value.iter().position(|&byte| byte == 0xFF).unwrap_or(LENGTH);
    length >= SHORTEST && value.iter().skip(length).all(|&byte| byte == 0xFF)
}

/// Pads a value of six to eight bytes.
pub(super) fn padded(value: &[u8]) -> Option<Value> {
    let mut padded = [0xFF; LENGTH];
    padded.get_mut(..value.len())?.copy_from_slice(value);
    is_well_formed(&padded).then_some(padded)
}
