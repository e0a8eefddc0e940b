//! What a card holds as far as its terminal can see, and what an act makes of it.
//!
//! An act that was acknowledged has happened. One whose answer was lost has happened or not: what is seen afterwards
//! must be one of the states that the act passes durably, and everything else as it was.

use std::collections::BTreeMap;

use cardhost_tests::random::Chance;

/// Tries of PIN and PUK.
const TRIES: u8 = 3;
/// Slots whose keys are made and certified over REST. A card that stays keeps the first one.
const CERTIFIED: [&str; 3] = ["9A", "9C", "9E"];
/// Retired slots, whose keys are made by APDU.
pub const KEYS: [u8; 3] = [0x82, 0x83, 0x84];
/// Objects: the security object and two of Yubico's range.
pub const OBJECTS: [u32; 3] = [0x5F_C106, 0x5F_FF10, 0x5F_FF11];
/// PINs that take turns; the first is that of a new card.
pub const PINS: [&str; 3] = [cardhost_tests::terminal::PIN, "862044", "73551908"];

/// A certificate as its terminal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// It stays through renewals.
    pub id: String,
    /// The serial number, hexadecimal.
    pub serial: String,
}

/// What a terminal sees of its card; the default is no card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Certificates by slot.
    pub certificates: BTreeMap<String, Certificate>,
    /// Public keys of the keys made by APDU.
    pub keys: BTreeMap<u8, Vec<u8>>,
    /// Contents of the data objects that are there.
    pub objects: BTreeMap<u32, Vec<u8>>,
    /// Tries that remain of the PIN.
    pub pin_tries: u8,
    /// Tries that remain of the PUK.
    pub puk_tries: u8,
}

/// Something that a terminal asks of its card, made durable by one answer.
#[derive(Clone, Debug)]
pub enum Act {
    /// POST of a certificate.
    Create(String),
    /// POST of its renewal.
    Renew(String),
    /// DELETE of it.
    Delete(String),
    /// VERIFY of a PIN that it never had.
    WrongPin,
    /// VERIFY of its PIN.
    RightPin,
    /// CHANGE REFERENCE DATA.
    ChangePin(&'static str),
    /// RESET RETRY COUNTER by the PUK.
    Unblock(&'static str),
    /// PUT DATA.
    Put(u32, Vec<u8>),
    /// GENERATE ASYMMETRIC KEY PAIR.
    Generate(u8),
    /// MOVE KEY to nowhere.
    Erase(u8),
}

/// What an answer tells beside that it is done.
#[derive(Clone, Debug)]
pub enum Learnt {
    /// Nothing.
    Nothing,
    /// The certificate.
    Certificate(Certificate),
    /// The new public key.
    PublicKey(Vec<u8>),
}

impl State {
    /// True if there is no card.
    pub fn is_absent(&self) -> bool {
        *self == Self::default()
    }

    /// An act that this state allows. A card that `stays` never loses its first certificate.
    pub fn choose(&self, chance: &mut Chance, stays: bool) -> Act {
        match (self.pin_tries, self.puk_tries) {
            _ if self.is_absent() => Act::Create(CERTIFIED[0].into()),
            (0, 0) => self.remove(chance, false),
            (0, _) => Act::Unblock(chance.pick(&PINS)),
            (1, _) => Act::RightPin,
            _ => self.choose_freely(chance, stays),
        }
    }

    fn choose_freely(&self, chance: &mut Chance, stays: bool) -> Act {
        match chance.below(12) {
            0 | 1 => Act::WrongPin,
            2 => Act::RightPin,
            // Only from the full counter, so that finding out which PIN holds never blocks it.
            3 if self.pin_tries == TRIES => Act::ChangePin(chance.pick(&PINS)),
            4 => Act::Unblock(chance.pick(&PINS)),
            5 => Act::Generate(chance.pick(&KEYS)),
            6 | 7 => self.certify(chance),
            8 => self.renew(chance),
            9 => self.remove(chance, stays),
            _ => {
                let length = chance.below(3) * chance.below(900);
                Act::Put(chance.pick(&OBJECTS), chance.bytes(length))
            }
        }
    }

    fn certify(&self, chance: &mut Chance) -> Act {
        let free = CERTIFIED.into_iter().find(|slot| !self.certificates.contains_key(*slot));
        free.map_or_else(|| self.renew(chance), |slot| Act::Create(slot.into()))
    }

    fn renew(&self, chance: &mut Chance) -> Act {
        let slots: Vec<_> = self.certificates.keys().cloned().collect();
        if slots.is_empty() { self.certify(chance) } else { Act::Renew(chance.pick(&slots)) }
    }

    fn remove(&self, chance: &mut Chance, stays: bool) -> Act {
        let keys = self.keys.keys().map(|key| Act::Erase(*key));
        let slots = self.certificates.keys().filter(|slot| !(stays && *slot == CERTIFIED[0]));
        let acts: Vec<_> = slots.map(|slot| Act::Delete(slot.clone())).chain(keys).collect();
        if acts.is_empty() { Act::RightPin } else { chance.pick(&acts) }
    }

    /// The state when the act was acknowledged.
    pub fn after(&self, act: &Act, learnt: &Learnt) -> Self {
        let mut after = self.clone();
        match (act, learnt) {
            (Act::Create(slot), Learnt::Certificate(certificate)) => {
                if self.is_absent() {
                    (after.pin_tries, after.puk_tries) = (TRIES, TRIES);
                }
                after.certificates.insert(slot.clone(), certificate.clone());
            }
            (Act::Renew(slot), Learnt::Certificate(Certificate { serial, .. })) => {
                if let Some(renewed) = after.certificates.get_mut(slot) {
                    renewed.serial.clone_from(serial);
                }
            }
            (Act::Generate(key), Learnt::PublicKey(public)) => drop(after.keys.insert(*key, public.clone())),
            (Act::Delete(slot), _) => drop(after.certificates.remove(slot)),
            (Act::Erase(key), _) => drop(after.keys.remove(key)),
            (Act::WrongPin, _) => after.pin_tries -= 1,
            (Act::RightPin | Act::ChangePin(_), _) => after.pin_tries = TRIES,
            (Act::Unblock(_), _) => (after.pin_tries, after.puk_tries) = (TRIES, TRIES),
            (Act::Put(object, content), _) if content.is_empty() => drop(after.objects.remove(object)),
            (Act::Put(object, content), _) => drop(after.objects.insert(*object, content.clone())),
            (act, learnt) => panic!("{act:?} does not tell {learnt:?}"),
        }
        // With the last credential the card goes.
        if after.certificates.is_empty() && after.keys.is_empty() { Self::default() } else { after }
    }

    /// Panics unless `seen` is this state or one that the act, whose answer was lost, passes.
    pub fn assert_passed(&self, act: Option<&Act>, seen: &Self) {
        let passed = act.map_or_else(Vec::new, |act| self.passed(act, seen));
        assert!(seen == self || passed.contains(seen), "{act:?} in doubt\nbefore {self:#?}\nseen {seen:#?}");
    }

    fn passed(&self, act: &Act, seen: &Self) -> Vec<Self> {
        let learnt = match act {
            Act::Create(slot) | Act::Renew(slot) => {
                seen.certificates.get(slot).cloned().map(Learnt::Certificate)
            }
            Act::Generate(key) => seen.keys.get(key).map(|public| Learnt::PublicKey(public.clone())),
            _ => Some(Learnt::Nothing),
        };
        let done = learnt.map(|learnt| self.after(act, &learnt));
        self.counted(act).into_iter().chain(done).collect()
    }

    /// A try is durable before it is judged.
    fn counted(&self, act: &Act) -> Option<Self> {
        let mut counted = self.clone();
        let tries = match act {
            Act::RightPin | Act::ChangePin(_) => &mut counted.pin_tries,
            Act::Unblock(_) => &mut counted.puk_tries,
            _ => return None,
        };
        *tries = tries.checked_sub(1)?;
        Some(counted)
    }

    /// The PINs that may hold when `seen` followed on the act in doubt, the likelier first.
    pub fn pins(&self, act: Option<&Act>, pin: &'static str, seen: &Self) -> Vec<&'static str> {
        let Some(act @ (Act::ChangePin(new) | Act::Unblock(new))) = act else { return vec![pin] };
        let mut pins = Vec::new();
        if self.after(act, &Learnt::Nothing) == *seen {
            pins.push(*new);
        }
        if self == seen || self.counted(act).as_ref() == Some(seen) {
            pins.push(pin);
        }
        pins
    }
}
