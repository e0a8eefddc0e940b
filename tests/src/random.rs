//! Chance that can be repeated: everything random in a test follows from one printed seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// The variable that repeats a run.
pub const SEED: &str = "CARDHOST_TESTS_SEED";

/// The seed of this run: [`SEED`], or a fresh one.
pub fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED} is a number")),
        Err(_) => ring::rand::generate(&ring::rand::SystemRandom::new())
            .map_or(0, |random| u64::from_le_bytes(random.expose())),
    }
}

/// A source of decisions.
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The same seed and number give the same decisions.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        chance.set_stream(number);
        Self(chance)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.0.next_u64() % end as u64) as usize
    }

    /// One of these, which are not none.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
