//! Outstanding challenges: fresh, single use, short-lived, bounded. They live in memory: one that is lost with a
//! restart only fails its authentication.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a challenge may be answered.
pub const LIFETIME: Duration = Duration::from_secs(60);
/// Outstanding challenges at a time.
const MAX_OUTSTANDING: usize = 65_536;

/// Why a challenge is not to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Never given, or answered already.
    Unknown,
    /// Given too long ago.
    Expired,
}

/// There are too many outstanding challenges, or no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// A challenge and its name.
pub struct Challenge {
    /// Its name: 128 random bits.
    pub id: String,
    /// What is to be signed.
    pub bytes: [u8; 32],
}

/// The outstanding challenges.
#[derive(Default)]
pub struct Challenges {
    outstanding: Mutex<HashMap<String, ([u8; 32], Instant)>>,
}

impl Challenges {
    /// A fresh challenge.
    pub fn give(&self, now: Instant) -> Result<Challenge, Exhausted> {
        let (mut id, mut bytes) = ([0; 16], [0; 32]);
        getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut bytes)).map_err(|_| Exhausted)?;
        let id = hex::encode(id);
        let mut outstanding = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
        if outstanding.len() >= MAX_OUTSTANDING {
            outstanding.retain(|_, (_, given)| now.duration_since(*given) < LIFETIME);
        }
        if outstanding.len() >= MAX_OUTSTANDING {
            return Err(Exhausted);
        }
        outstanding.insert(id.clone(), (bytes, now));
        Ok(Challenge { id, bytes })
    }

    /// Takes a challenge to judge its answer; it cannot be answered again.
    pub fn take(&self, id: &str, now: Instant) -> Result<[u8; 32], Unusable> {
        let taken = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let (bytes, given) = taken.ok_or(Unusable::Unknown)?;
        if now.duration_since(given) < LIFETIME { Ok(bytes) } else { Err(Unusable::Expired) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_once_and_in_time() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        let first = challenges.give(now).unwrap();
        assert_eq!(challenges.take(&first.id, now), Ok(first.bytes));
        assert_eq!(challenges.take(&first.id, now), Err(Unusable::Unknown));
        let late = challenges.give(now).unwrap();
        assert_eq!(challenges.take(&late.id, now + LIFETIME), Err(Unusable::Expired));
        assert_ne!(first.bytes, late.bytes);
    }

    #[test]
    fn outstanding_challenges_are_bounded_and_make_room_as_they_expire() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        (0..MAX_OUTSTANDING).for_each(|_| drop(challenges.give(now).unwrap()));
        assert!(challenges.give(now).is_err());
        assert!(challenges.give(now + LIFETIME).is_ok());
    }
}
