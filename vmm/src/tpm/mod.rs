//! A TPM 2.0 (TCG Trusted Platform Module Library, Family 2.0), for what has to be kept where no disk is: short values in
//! its non-volatile memory.
//!
//! Needs no library of the system: the bytes are made by a crate. Who may open the TPM may read, replace and remove these
//! values: they are worth something only together with what else their owner has.

mod command;
mod transport;

use std::{io, thread, time::Duration};

use cardhost_wire::custody::Tcti;
use nix::errno::Errno;
use tpm2_protocol::data::TpmRc;
use zeroize::Zeroize;

use crate::launcher::{card_key::erase_stack, secret_pages::SecretPages};
use command::{Area, Command, area, code as code_of};
use transport::Connection;

/// Longest command or response, bytes.
const MAX: usize = 4096;
/// How often a TPM is asked that says that it is busy, and how long it is given first; the time doubles.
const ATTEMPTS: u32 = 9;
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Why a TPM does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It cannot be reached.
    #[error("the TPM {tcti} cannot be reached")]
    Unreachable {
        /// The TPM.
        tcti: Tcti,
        /// What the system said.
        source: io::Error,
    },
    /// It was reached, and is lost.
    #[error("the connection to the TPM is lost; it is made again when the launcher starts again")]
    Lost(#[source] io::Error),
    /// Its answer is none.
    #[error("the TPM sent a malformed answer")]
    Malformed,
    /// There is no such NV index.
    #[error("the TPM has no NV index {0:?}")]
    NotDefined(NvIndex),
    /// The NV index was never written.
    #[error("the TPM's NV index {0:?} is empty")]
    Unwritten(NvIndex),
    /// The NV index is there already.
    #[error("the TPM has an NV index {0:?} already")]
    Defined(NvIndex),
    /// It refused.
    #[error("the TPM refused {command}: {code}")]
    Refused {
        /// The command.
        command: &'static str,
        /// Its response code.
        code: TpmRc,
    },
    /// The system gives no memory for the exchange.
    #[error("no memory for the exchange with the TPM")]
    Memory(#[from] Errno),
}

/// The place of a value in the non-volatile memory (Part 2, 7.4 and 13.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NvIndex(pub u32);

impl std::fmt::Debug for NvIndex {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:#010x}", self.0)
    }
}

/// A TPM that this process is connected to, and stays so whatever namespaces it enters.
pub struct Tpm {
    connection: Connection,
    /// Command and response, which may hold secrets.
    pages: SecretPages,
}

impl Tpm {
    /// Connects to the TPM. One that was just switched on is started up.
    ///
    /// # Errors
    /// It cannot be reached, or does not start.
    pub fn connect(tcti: &Tcti) -> Result<Self, TpmError> {
        let connection =
            Connection::open(tcti).map_err(|source| TpmError::Unreachable { tcti: tcti.clone(), source })?;
        Ok(Self { connection, pages: SecretPages::new(2 * MAX)? })
    }

    /// Makes an NV index of this many bytes that the holder of the owner's authorization, which must be empty, may
    /// remove, and anyone who reaches the TPM may read and write (Part 3, 31.3).
    ///
    /// # Errors
    /// See [`TpmError`].
    pub fn define(&mut self, index: NvIndex, size: u16) -> Result<(), TpmError> {
        self.run(Command::Define { index, size }).map(drop)
    }

    /// Removes an NV index with its value (Part 3, 31.4).
    ///
    /// # Errors
    /// See [`TpmError`].
    pub fn undefine(&mut self, index: NvIndex) -> Result<(), TpmError> {
        self.run(Command::Undefine { index }).map(drop)
    }

    /// Puts a value in the place of the present one, durably (Part 3, 31.7).
    ///
    /// # Errors
    /// See [`TpmError`]. After [`TpmError::Lost`] it may have been done.
    pub fn write(&mut self, index: NvIndex, value: &[u8]) -> Result<(), TpmError> {
        self.run(Command::Write { index, value }).map(drop)
    }

    /// Reads a value as long as `value` (Part 3, 31.13).
    ///
    /// # Errors
    /// See [`TpmError`]; `value` is as it was.
    pub fn read(&mut self, index: NvIndex, value: &mut [u8]) -> Result<(), TpmError> {
        let size = u16::try_from(value.len()).map_err(|_| TpmError::Malformed)?;
        let length = self.run(Command::Read { index, size })?;
        let read =
            command::value_read(&self.pages[MAX..MAX + length]).filter(|read| read.len() == value.len());
        let copied = read.map(|read| value.copy_from_slice(read)).ok_or(TpmError::Malformed);
        self.pages.zeroize();
        copied
    }

    /// Runs a command; its response, of the length returned, stands in the second half of the pages, and is erased with
    /// the next.
    fn run(&mut self, command: Command<'_>) -> Result<usize, TpmError> {
        let result = self.repeated(&command);
        self.pages[..MAX].zeroize();
        erase_stack();
        result
    }

    /// Asks again while the TPM says that it is busy, and starts one up that says that it was not.
    fn repeated(&mut self, command: &Command<'_>) -> Result<usize, TpmError> {
        let (mut pause, mut left) = (FIRST_PAUSE, ATTEMPTS);
        loop {
            left -= 1;
            let (length, code) = self.once(command)?;
            match area(code) {
                Area::Success => return Ok(length),
                Area::NotStarted if left > 0 => drop(self.once(&Command::Startup)?),
                Area::Busy if left > 0 => {
                    thread::sleep(pause);
                    pause *= 2;
                }
                Area::NotStarted | Area::Busy | Area::Error => return Err(command.error(code)),
            }
        }
    }

    fn once(&mut self, command: &Command<'_>) -> Result<(usize, TpmRc), TpmError> {
        let (sent, received) = self.pages.split_at_mut(MAX);
        let length = command.encode(sent).ok_or(TpmError::Malformed)?;
        let length = self.connection.exchange(&sent[..length], received).map_err(TpmError::Lost)?;
        let code = code_of(&received[..length]).ok_or(TpmError::Malformed)?;
        Ok((length, code))
    }
}
