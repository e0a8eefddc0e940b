//! Passwords: argon2id (RFC 9106), with bounded concurrency and the same cost whether a user exists or not.

use std::{num::NonZero, sync::Arc, thread};

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString},
};
use cardhost_wire::key::Secret;
use tokio::{sync::Semaphore, task};

/// Computations that may wait for each one that runs; more callers are turned away.
const WAITING_PER_RUNNING: usize = 8;
/// Shortest password, bytes.
pub const MIN_LENGTH: usize = 8;
/// Longest password, bytes.
pub const MAX_LENGTH: usize = 1024;

/// Too many logins at once: try again after a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many logins at once")]
pub struct Busy;

/// Hashes and verifies passwords, at most half of the processors' worth at a time.
pub struct Passwords {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// Hash of a password that nobody has, verified for users who do not exist.
    nobody: Arc<str>,
}

impl Passwords {
    /// Sized for this machine.
    pub fn new() -> Self {
        let running = (thread::available_parallelism().map_or(1, NonZero::get) / 2).max(1);
        Self {
            admitted: Arc::new(Semaphore::new(running * (1 + WAITING_PER_RUNNING))),
            running: Arc::new(Semaphore::new(running)),
            nobody: hash(&Secret(random::<32>().to_vec())).into(),
        }
    }

    /// The password's hash in PHC string format.
    pub async fn hash(&self, password: Secret) -> Result<String, Busy> {
        self.compute(move || hash(&password)).await
    }

    /// True if `stored` is there and is this password's hash.
    pub async fn verify(&self, stored: Option<String>, password: Secret) -> Result<bool, Busy> {
        let nobody = self.nobody.clone();
        self.compute(move || {
            let matches = verify(stored.as_deref().unwrap_or(&nobody), &password);
            matches && stored.is_some()
        })
        .await
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _admitted = self.admitted.try_acquire().map_err(|_| Busy)?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| Busy)?;
        // The permit moves into the work: a caller who goes away does not make room before the work ends.
        let work = task::spawn_blocking(move || {
            let _running = running;
            work()
        });
        work.await.map_err(|_| Busy)
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

/// `N` bytes from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("getrandom(2) works on every supported kernel");
    bytes
}

fn hash(password: &Secret) -> String {
    let salt = SaltString::encode_b64(&random::<16>()).expect("16 bytes are a valid salt");
    let hash = Argon2::default().hash_password(&password.0, &salt);
    hash.expect("the default parameters are valid").to_string()
}

fn verify(stored: &str, password: &Secret) -> bool {
    PasswordHash::new(stored)
        .is_ok_and(|stored| Argon2::default().verify_password(&password.0, &stored).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn only_the_right_password_of_an_existing_user_verifies() {
        let passwords = Passwords::new();
        let stored = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(passwords.verify(Some(stored.clone()), secret("correct horse")).await, Ok(true));
        assert_eq!(passwords.verify(Some(stored), secret("wrong horse")).await, Ok(false));
        assert_eq!(passwords.verify(None, secret("correct horse")).await, Ok(false));
    }

    #[tokio::test]
    async fn a_flood_is_turned_away_and_the_admitted_are_served() {
        let passwords = Arc::new(Passwords::new());
        let places = passwords.admitted.available_permits();
        let all = (0..places + 20).map(|_| {
            let passwords = passwords.clone();
            async move { passwords.verify(None, secret("guess")).await }
        });
        let verdicts = futures_util::future::join_all(all).await;
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Ok(false)).count(), places);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Err(Busy)).count(), 20);
    }
}
