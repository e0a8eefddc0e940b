//! Who pairs the cards that are put in: the terminal's certified key, its pairings, what the host says of revoked cards, and
//! the card holder's PIN.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

use super::status;
use crate::{
    input::{self, InputError},
    pairing::{
        certificate::Identity,
        flow::{self, Known, Link, PairingError, Pairings},
        scp03::DIVERSIFICATION,
        session::Session,
    },
    state::{self, State, StateError},
};

/// The host is asked about a card's revocation again after this time.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// Longest wait for its answer.
const STATUS_DEADLINE: Duration = Duration::from_secs(10);

/// Where the PIN comes from when a card has to be paired.
pub enum PinSource {
    /// A prompt on the terminal.
    Prompt,
    /// The standard output of a program.
    Askpass(PathBuf),
    /// What an open file descriptor gives.
    Descriptor(u32),
}

/// Pairs cards with this terminal, one at a time: two readers with the same card pair it once.
pub struct Pairer {
    state: State,
    pin: PinSource,
    one_at_a_time: Mutex<Statuses>,
}

/// What the host said of cards' certificates, by serial number, and when.
type Statuses = HashMap<Vec<u8>, (Instant, Vec<u8>)>;

impl Pairer {
    /// With the identity that the login left in `state`.
    ///
    /// # Errors
    /// [`StateError::NoPairingIdentity`]: there is none.
    pub fn new(state: State, pin: PinSource) -> Result<Self, StateError> {
        let pairer = Self { state, pin, one_at_a_time: Mutex::default() };
        pairer.identity().map(|_| pairer)
    }

    /// As it stands now: what another process renewed counts at once.
    fn identity(&self) -> Result<Identity, StateError> {
        self.state.pairing_identity()?.ok_or(StateError::NoPairingIdentity)
    }

    /// Opens a session with the card at the end of the link.
    ///
    /// # Errors
    /// See [`flow::insert`].
    pub async fn insert(&self, link: &mut impl Link) -> Result<Session, PairingError> {
        let mut statuses = self.one_at_a_time.lock().await;
        let mut kept = Kept { pairer: self, statuses: &mut statuses };
        flow::insert(link, &self.identity()?, &mut kept).await
    }
}

/// The pairings in the state directory.
struct Kept<'a> {
    pairer: &'a Pairer,
    statuses: &'a mut Statuses,
}

impl Kept<'_> {
    fn change(&self, change: impl FnOnce(&mut state::pairing::Pairings)) -> Result<(), PairingError> {
        let mut pairings = self.pairer.state.pairings()?;
        change(&mut pairings);
        Ok(self.pairer.state.put_pairings(&pairings)?)
    }
}

impl Pairings for Kept<'_> {
    fn find(&self, card: &[u8; DIVERSIFICATION]) -> Result<Option<Known>, PairingError> {
        Ok(self.pairer.state.pairings()?.find(card))
    }

    fn keep(&mut self, card: &[u8; DIVERSIFICATION], known: &Known) -> Result<(), PairingError> {
        self.change(|pairings| pairings.keep(card, known))
    }

    fn forget(&mut self, card: &[u8; DIVERSIFICATION]) -> Result<(), PairingError> {
        self.change(|pairings| pairings.forget(card))
    }

    fn is_revoked(&self, card: &[u8; DIVERSIFICATION], serial: Option<&[u8]>) -> Result<bool, PairingError> {
        Ok(self.pairer.state.pairings()?.is_revoked(card, serial))
    }

    fn revoke(&mut self, card: &[u8; DIVERSIFICATION], serial: &[u8]) -> Result<(), PairingError> {
        self.change(|pairings| pairings.revoke(card, serial))
    }

    async fn status(&mut self, serial: &[u8]) -> Option<Vec<u8>> {
        self.statuses.retain(|_, (at, _)| at.elapsed() < FRESH);
        if let Some((_, response)) = self.statuses.get(serial) {
            return Some(response.clone());
        }
        let answer = timeout(STATUS_DEADLINE, status::ask(&self.pairer.state, serial)).await;
        let error = match answer {
            Ok(Ok(response)) => {
                self.statuses.insert(serial.into(), (Instant::now(), response.clone()));
                return Some(response);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".into(),
        };
        tracing::warn!(%error, "whether the card is revoked is not known");
        None
    }

    async fn ask_pin(&mut self) -> Result<Zeroizing<String>, PairingError> {
        let asked = match &self.pairer.pin {
            PinSource::Prompt => blocking(prompt).await,
            PinSource::Askpass(program) => {
                let program = program.clone();
                blocking(move || run(&program)).await
            }
            PinSource::Descriptor(number) => {
                let path = PathBuf::from(format!("/dev/fd/{number}"));
                blocking(move || input::secret("", Some(&path)).map_err(|error| error.to_string())).await
            }
        };
        asked.map_err(PairingError::NoPin)
    }
}

async fn blocking(
    ask: impl FnOnce() -> Result<Zeroizing<String>, String> + Send + 'static,
) -> Result<Zeroizing<String>, String> {
    tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())?
}

fn prompt() -> Result<Zeroizing<String>, String> {
    input::secret("PIN of the card", None).map_err(|error| match error {
        InputError::NoTerminal => "there is no terminal to ask on: name --askpass or --pin-fd".into(),
        error => error.to_string(),
    })
}

/// Runs an askpass program as ssh does: the question is its argument, the first line of its output the answer.
fn run(program: &Path) -> Result<Zeroizing<String>, String> {
    let output = Command::new(program)
        .arg("PIN of the card: ")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    let text = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(format!("{} ended with {}", program.display(), output.status));
    }
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let pin = std::str::from_utf8(line).map_err(|_| format!("{} printed no text", program.display()))?;
    Ok(Zeroizing::new(pin.trim_end_matches('\r').to_owned()))
}
