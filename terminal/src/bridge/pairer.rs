//! Who pairs the cards that are put in: the terminal's certified key, its pairings, and the card holder's PIN.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{
    input::{self, InputError},
    pairing::{
        certificate::Identity,
        flow::{self, Link, PairingError, Pairings},
        scp03::{DIVERSIFICATION, KeySet},
        session::Session,
    },
    state::{State, StateError},
};

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
    one_at_a_time: Mutex<()>,
}

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
        let _only = self.one_at_a_time.lock().await;
        flow::insert(link, &self.identity()?, &mut Kept(self)).await
    }
}

/// The pairings in the state directory.
struct Kept<'a>(&'a Pairer);

impl Pairings for Kept<'_> {
    fn find(&self, card: &[u8; DIVERSIFICATION]) -> Result<Option<KeySet>, PairingError> {
        Ok(self.0.state.pairings()?.find(card).cloned())
    }

    fn keep(&mut self, card: &[u8; DIVERSIFICATION], set: &KeySet) -> Result<(), PairingError> {
        let mut pairings = self.0.state.pairings()?;
        pairings.keep(card, set.clone());
        Ok(self.0.state.put_pairings(&pairings)?)
    }

    fn forget(&mut self, card: &[u8; DIVERSIFICATION]) -> Result<(), PairingError> {
        let mut pairings = self.0.state.pairings()?;
        pairings.forget(card);
        Ok(self.0.state.put_pairings(&pairings)?)
    }

    async fn ask_pin(&mut self) -> Result<Zeroizing<String>, PairingError> {
        let asked = match &self.0.pin {
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
