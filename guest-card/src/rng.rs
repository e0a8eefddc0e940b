//! The card's random generator.
//!
//! It cannot exist before the host has delivered a seed: its only constructor takes the launch message, and every
//! operation that needs randomness takes the generator. A template that many cards are cloned from therefore holds
//! none. ChaCha20 (RFC 8439) is keyed by SHA-256 over seed, card and RDRAND; each draw mixes fresh RDRAND words
//! into the output, so that neither a host that lies about the seed nor a weak RDRAND alone decides a key.

use core::convert::Infallible;

use cardhost_wire::control::Launch;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::platform::Platform;

/// RDRAND words that enter the key: 256 bits.
const KEY_WORDS: usize = 4;
/// Draws after which the generator is keyed anew from its own output and RDRAND.
const RESEED_INTERVAL: u32 = 1024;

/// A seeded generator. Made anew for each command by [`Generator::with`], which lends it the hardware.
pub struct Rng<'a> {
    generator: &'a mut Generator,
    platform: &'a mut dyn Platform,
}

/// The generator's state between commands.
pub struct Generator {
    stream: ChaCha20Rng,
    draws: u32,
}

impl Generator {
    /// Keys the generator from the launch's seed, the card's identity and RDRAND.
    pub fn new(launch: &Launch, platform: &mut dyn Platform) -> Self {
        let mut hash = Sha256::new_with_prefix(b"cardhost generator v1\0");
        hash.update(launch.seed);
        hash.update(launch.card);
        absorb_hardware(&mut hash, platform);
        Self { stream: keyed(hash), draws: 0 }
    }

    /// Lends the generator the hardware for one command.
    pub fn with<'a>(&'a mut self, platform: &'a mut dyn Platform) -> Rng<'a> {
        Rng { generator: self, platform }
    }
}

impl Rng<'_> {
    fn rekey_when_due(&mut self) {
        self.generator.draws += 1;
        if self.generator.draws < RESEED_INTERVAL {
            return;
        }
        let mut previous = Zeroizing::new([0; 32]);
        self.generator.stream.fill_bytes(&mut *previous);
        let mut hash = Sha256::new_with_prefix(b"cardhost generator rekey v1\0");
        hash.update(*previous);
        absorb_hardware(&mut hash, self.platform);
        *self.generator = Generator { stream: keyed(hash), draws: 0 };
    }

    fn mix(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.platform.hardware_random().unwrap_or(0).to_le_bytes();
            chunk.iter_mut().zip(word).for_each(|(byte, fresh)| *byte ^= fresh);
        }
    }
}

fn absorb_hardware(hash: &mut Sha256, platform: &mut dyn Platform) {
    for _ in 0..KEY_WORDS {
        hash.update(platform.hardware_random().unwrap_or(0).to_le_bytes());
    }
}

fn keyed(hash: Sha256) -> ChaCha20Rng {
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(hash.finalize().into());
    ChaCha20Rng::from_seed(*key)
}

impl TryRng for Rng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = Zeroizing::new([0; 4]);
        self.try_fill_bytes(&mut *bytes)?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = Zeroizing::new([0; 8]);
        self.try_fill_bytes(&mut *bytes)?;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.rekey_when_due();
        self.generator.stream.fill_bytes(bytes);
        self.mix(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Rng<'_> {}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use cardhost_wire::control::Commit;

    use super::*;
    use crate::{
        platform::NotCommitted,
        testing::{Host, launch},
    };

    /// A processor without RDRAND.
    struct Bare;

    impl Platform for Bare {
        fn commit(&mut self, _: Commit) -> Result<(), NotCommitted> {
            Err(NotCommitted)
        }

        fn hardware_random(&mut self) -> Option<u64> {
            None
        }
    }

    fn draws(launch: &Launch, platform: &mut dyn Platform, count: usize) -> Vec<u64> {
        let mut generator = Generator::new(launch, platform);
        (0..count).map(|_| generator.with(platform).next_u64()).collect()
    }

    #[test]
    fn seed_card_and_hardware_each_change_every_draw() {
        let mut other_seed = launch();
        other_seed.seed[31] ^= 1;
        let mut other_card = launch();
        other_card.card[0] ^= 1;
        let first = draws(&launch(), &mut Bare, 8);
        assert_eq!(first, draws(&launch(), &mut Bare, 8));
        for other in [
            draws(&other_seed, &mut Bare, 8),
            draws(&other_card, &mut Bare, 8),
            draws(&launch(), &mut Host::default(), 8),
        ] {
            assert!(first.iter().zip(other).all(|(first, other)| *first != other));
        }
    }

    #[test]
    fn draws_before_and_after_the_generator_is_keyed_anew_differ() {
        let drawn = draws(&launch(), &mut Bare, 3 * RESEED_INTERVAL as usize);
        let mut distinct = drawn.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), drawn.len());
    }
}
