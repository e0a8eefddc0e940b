//! The PC/SC bridge: remote cards in the reader slots of pcscd's vpcd driver.
//!
//! ```text
//! application ── pcscd ── vpcd ◀─TCP─ reader ◀─▶ channel ─TLS, WebSocket─▶ host
//!                        (slot)       (one task per reader slot)
//! ```
//!
//! Each reader follows its channel: a card is in the slot exactly while the host says that one is present. What
//! breaks is tried again for ever, with growing pauses; every wait for the host is bounded.
//!
//! With `--secure` each reader's line puts every command and response into a pairing session with the card.

mod access;
mod atr;
mod backoff;
mod channel;
mod line;
mod pairer;
mod reader;
mod status;
mod vpcd;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use cardhost_wire::port::Protocol;
use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use self::{
    access::Access,
    pairer::{Pairer, PinSource},
    reader::Reader,
};
use crate::{error::Error, input, output::Output, state::State};

/// Show the card to this computer's PC/SC applications, until SIGTERM or SIGINT.
///
/// Needs pcscd with the vpcd driver (Debian: pcscd, vsmartcard-vpcd). The card appears in the first reader slot as
/// secure element, in the second one as UICC. It appears when the first certificate makes it and goes with the
/// last one. Prints a line when a reader changes: offline (no host), empty (no card), waiting (no vpcd), inserted.
///
/// When the session ends, `cardhost-terminal login` in another shell is enough: the bridge takes the new session.
/// With --password-file it logs in again by itself.
///
/// With --secure nobody between this computer and the card sees a command, an answer or a PIN, the host included.
/// The first time, the card asks for its PIN to pair with this terminal; from then on the two know each other. A
/// card that cannot be paired is not shown to applications: the reader is `unpaired`, with the reason.
#[derive(Args)]
pub struct Bridge {
    /// vpcd's address; further reader slots use the next ports.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:35963")]
    vpcd: SocketAddr,
    /// The protocol of each reader slot, in their order. Readers offer applications T=1; that of iso7816-t0 offers T=0
    /// too, for those that ask for nothing else, as lpac does.
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', default_values = ["apdu-gate", "iso7816-t1"])]
    protocol: Vec<Protocol>,
    /// Longest wait for one answer of the card; then the application gets the status word 6F00.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    deadline: u64,
    /// Log in again by itself with the password in this file when the session ends.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Pair with the card, and put every command and answer under secure messaging.
    #[arg(long)]
    secure: bool,
    /// To pair: run this program and take the first line of its output as the card's PIN (as SSH_ASKPASS).
    #[arg(long, value_name = "PROGRAM", env = "CARDHOST_ASKPASS", requires = "secure")]
    askpass: Option<PathBuf>,
    /// To pair: read the card's PIN from this open file descriptor. Without it and --askpass you are asked.
    #[arg(long, value_name = "NUMBER", requires = "secure", conflicts_with = "askpass")]
    pin_fd: Option<u32>,
}

impl Bridge {
    /// Serves the reader slots until a signal.
    pub async fn run(self, state: State, output: Output) -> Result<(), Error> {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
        let mut readers = self.start(state, output)?;
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        readers.shutdown().await;
        Ok(())
    }

    fn start(&self, state: State, output: Output) -> Result<JoinSet<()>, Error> {
        state.config()?;
        let password =
            self.password_file.as_deref().map(|file| input::secret("Password", Some(file))).transpose()?;
        let pairer = self.secure.then(|| Pairer::new(state.clone(), self.pin_source())).transpose()?;
        let pairer = pairer.map(Arc::new);
        let access = Arc::new(Access::new(state, password));
        let deadline = Duration::from_secs(self.deadline);
        let mut readers = JoinSet::new();
        for (slot, &protocol) in self.protocol.iter().enumerate() {
            let vpcd = self.slot_address(slot)?;
            let reader = Reader { protocol, vpcd, deadline, output, pairer: pairer.clone() };
            readers.spawn(reader.run(access.clone()));
        }
        Ok(readers)
    }

    fn pin_source(&self) -> PinSource {
        match (self.pin_fd, &self.askpass) {
            (Some(number), _) => PinSource::Descriptor(number),
            (None, Some(program)) => PinSource::Askpass(program.clone()),
            (None, None) => PinSource::Prompt,
        }
    }

    fn slot_address(&self, slot: usize) -> Result<SocketAddr, Error> {
        let offset = u16::try_from(slot).ok();
        let port = offset.and_then(|offset| self.vpcd.port().checked_add(offset));
        Ok(SocketAddr::new(self.vpcd.ip(), port.ok_or(Error::Port(self.vpcd.port()))?))
    }
}
