//! PIN and PUK (SP 800-73-5, part 2, 3.2.1 to 3.2.3).
//!
//! A try is judged in constant time, and its outcome, the counter one lower or full again, is durable before anything
//! of it is told: one commit of one length, whether the value was right or wrong.
//!
//! To count first and to compare then would not be safer. Between comparison and commit nothing outside of the card
//! depends on the outcome: who cuts the power there, or does not store, has learnt nothing from the try, and the same
//! happens after a right value as after a wrong one. A commit of its own for the full counter would tell the host, which
//! counts commits, what a terminal is told in secrecy.

use cardhost_wire::{key::Secret, status::Status};
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

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

/// A well-formed value that takes the place of another.
#[derive(Clone, Copy)]
struct Replacement<'a> {
    which: Reference,
    value: &'a Value,
}

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
    present(services, Reference::Pin, presented, None)?;
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
    let new = Replacement::parse(which, new);
    let judged = present(services, which, old, new.ok());
    if judged.is_err() && which == Reference::Pin {
        session.forget_pin();
    }
    judged.and(new.map(drop))
}

/// RESET RETRY COUNTER: a new PIN by the PUK.
pub(super) fn unblock(
    session: &mut Session,
    services: &mut Services<'_>,
    puk: &Value,
    pin: &Value,
) -> Result<(), Status> {
    session.forget_pin();
    let new = Replacement::parse(Reference::Pin, pin);
    present(services, Reference::Puk, puk, new.ok()).and(new.map(drop))
}

/// Judges a try, makes its outcome durable together with the new value that a right one brings, and only then tells.
fn present(
    services: &mut Services<'_>,
    which: Reference,
    presented: &Value,
    new: Option<Replacement<'_>>,
) -> Result<(), Status> {
    let mut data = ReferenceData::load(services.nvm())?;
    let is_right = data.guarded(which).judge(presented)?;
    if let Some(Replacement { which, value }) = new {
        data.guarded(which).replace_if(is_right, value);
    }
    data.commit(services)?;
    if is_right.into() { Ok(()) } else { Err(Status::retries_remaining(data.guarded(which).remaining)) }
}

impl<'a> Replacement<'a> {
    /// One of bad format is refused only after the old value was judged: clients that block a card on purpose send
    /// such values and expect them to count.
    fn parse(which: Reference, value: &'a Value) -> Result<Self, Status> {
        if is_well_formed(value) { Ok(Self { which, value }) } else { Err(Status::WRONG_DATA) }
    }
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
        Counters {
            is_default: guarded.matches(&default).into(),
            tries: guarded.tries,
            remaining: guarded.remaining,
        }
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

    /// Compares, and sets the counter to what follows. A blocked value is not compared.
    fn judge(&mut self, presented: &Value) -> Result<Choice, Status> {
        let lower = self.remaining.checked_sub(1).ok_or(Status::AUTHENTICATION_BLOCKED)?;
        let is_right = self.matches(presented);
        self.remaining = u8::conditional_select(&lower, &self.tries, is_right);
        Ok(is_right)
    }

    fn matches(&self, presented: &Value) -> Choice {
        self.value.0.ct_eq(presented)
    }

    /// A new value with the full counter, if the choice says so.
    fn replace_if(&mut self, choice: Choice, new: &Value) {
        for (byte, new) in self.value.0.iter_mut().zip(new) {
            byte.conditional_assign(new, choice);
        }
        self.remaining.conditional_assign(&self.tries, choice);
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
