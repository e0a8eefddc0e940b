//! Passwords: argon2id (RFC 9106), with bounded concurrency and the same cost whether a user exists or not.

use std::{
    collections::HashMap,
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString},
};
use cardhost_wire::key::Secret;
use tokio::{sync::Semaphore, task};

/// Computations that may wait for each one that runs; more callers are turned away.
const WAITING_PER_RUNNING: usize = 32;
/// How many of them may be for one name, so that guesses at one user leave room for the others.
const PER_NAME: usize = 8;
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
    names: Arc<Names>,
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
            names: Arc::default(),
            running: Arc::new(Semaphore::new(running)),
            nobody: hash(&Secret(random::<32>().to_vec())).into(),
        }
    }

    /// The password's hash in PHC string format.
    pub async fn hash(&self, password: Secret) -> Result<String, Busy> {
        self.compute(move || hash(&password)).await
    }

    /// True if `stored`, the hash of the user of this name, is there and is this password's.
    pub async fn verify(&self, name: &str, stored: Option<String>, password: Secret) -> Result<bool, Busy> {
        let _admitted = self.names.admit(name).ok_or(Busy)?;
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

/// Names whose passwords are being verified, and how often.
#[derive(Default)]
struct Names(Mutex<HashMap<String, usize>>);

/// A verification under this name; counted until dropped.
struct Admitted {
    names: Arc<Names>,
    name: String,
}

impl Names {
    fn admit(self: &Arc<Self>, name: &str) -> Option<Admitted> {
        let mut names = self.lock();
        let count = names.entry(name.into()).or_default();
        if *count == PER_NAME {
            return None;
        }
        *count += 1;
        Some(Admitted { names: self.clone(), name: name.into() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut names = self.names.lock();
        if let Some(count) = names.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.name);
            }
        }
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
        assert_eq!(passwords.verify("a", Some(stored.clone()), secret("correct horse")).await, Ok(true));
        assert_eq!(passwords.verify("a", Some(stored), secret("wrong horse")).await, Ok(false));
        assert_eq!(passwords.verify("a", None, secret("correct horse")).await, Ok(false));
    }

    async fn flood(passwords: &Passwords, names: impl Iterator<Item = String>) -> (usize, usize) {
        let guesses = names.map(|name| async move { passwords.verify(&name, None, secret("guess")).await });
        let verdicts = futures_util::future::join_all(guesses).await;
        let count = |verdict| verdicts.iter().filter(|given| **given == verdict).count();
        (count(Ok(false)), count(Err(Busy)))
    }

    #[tokio::test]
    async fn a_flood_is_turned_away_and_the_admitted_are_served() {
        let passwords = Passwords::new();
        let places = passwords.admitted.available_permits();
        let names = (0..places + 20).map(|number| number.to_string());
        assert_eq!(flood(&passwords, names).await, (places, 20));
    }

    #[tokio::test]
    async fn guesses_at_one_name_leave_room_for_others() {
        let passwords = Passwords::new();
        let names = std::iter::repeat_n("alice".to_owned(), 100).chain(["bob".to_owned()]);
        assert_eq!(flood(&passwords, names).await, (PER_NAME + 1, 100 - PER_NAME));
        assert!(passwords.names.lock().is_empty());
    }
}
