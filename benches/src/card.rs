//! A card as the daemon sees it, whichever way its streams go.

use anyhow::{Context, Result, bail};
use cardhost_wire::{
    control::{Answer, Command, GuestMessage, HostMessage},
    key::{Algorithm, KeyReference, Secret},
    port::{Port, Protocol},
    tlv,
};

/// PIN of every card that is measured.
pub const PIN: &[u8; 6] = b"123456";
/// A command of 20 bytes that costs the card nothing but its way: the instruction does not exist.
pub const TWENTY_BYTES: [u8; 20] =
    [0x00, 0x01, 0x00, 0x00, 0x0E, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0x00];
const APDU_PORT: Port = Port::Apdu(Protocol::ApduGate);
/// A distinguished name: CN=A.
pub const SUBJECT: [u8; 14] =
    [0x30, 0x0C, 0x31, 0x0A, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0C, 0x01, 0x41];

/// A way to a guest's streams.
pub trait Streams {
    /// Opens the control stream, sends the start on it and opens the stream of `port`.
    fn begin(&mut self, start: &[u8], port: Port) -> Result<()>;
    /// Sends a message.
    fn send(&mut self, port: Port, message: &[u8]) -> Result<()>;
    /// Waits for the next message of any port.
    fn receive(&mut self) -> Result<(Port, Vec<u8>)>;
}

/// A started card. What it commits is acknowledged and forgotten.
pub struct Card<S> {
    streams: S,
    commands: u32,
}

impl<S: Streams> Card<S> {
    /// Starts a new card; its launch has been sent.
    pub fn start(mut streams: S) -> Result<Self> {
        streams.begin(&HostMessage::Start(None).encode(), APDU_PORT)?;
        let mut card = Self { streams, commands: 0 };
        match card.control()? {
            GuestMessage::Started(_) => Ok(card),
            other => bail!("the card does not start: {other:?}"),
        }
    }

    /// One APDU exchange.
    pub fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        self.streams.send(APDU_PORT, command)?;
        loop {
            match self.streams.receive()? {
                (Port::Control, message) => self.acknowledge(&message)?,
                (_, response) => return Ok(response),
            }
        }
    }

    /// Gives the card its PIN and a key without certificate in each of these slots.
    pub fn personalise(&mut self, keys: &[(KeyReference, Algorithm)]) -> Result<()> {
        self.command(personalisation())?;
        keys.iter().try_for_each(|key| self.generate(*key))
    }

    /// Generates a key without certificate in an empty slot.
    pub fn generate(&mut self, (key_reference, algorithm): (KeyReference, Algorithm)) -> Result<()> {
        let subject = SUBJECT.to_vec();
        self.command(Command::GenerateKey { key_reference, algorithm, subject }).map(drop)
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: KeyReference) -> Result<()> {
        self.command(Command::DeleteCredential(key)).map(drop)
    }

    fn command(&mut self, command: Command) -> Result<Answer> {
        self.commands += 1;
        self.streams.send(Port::Control, &HostMessage::Command(self.commands, command).encode())?;
        match self.control()? {
            GuestMessage::Answer(_, answer) => {
                answer.map_err(|why| anyhow::anyhow!("the card refuses: {why:?}"))
            }
            other => bail!("unexpected {other:?}"),
        }
    }

    /// The next message of the control stream that is no commit.
    fn control(&mut self) -> Result<GuestMessage> {
        loop {
            let (port, message) = self.streams.receive()?;
            if port != Port::Control {
                continue;
            }
            match GuestMessage::decode(&message).context("the guest's message")? {
                GuestMessage::Commit(commit) => self.committed(commit.epoch)?,
                other => return Ok(other),
            }
        }
    }

    fn acknowledge(&mut self, message: &[u8]) -> Result<()> {
        match GuestMessage::decode(message).context("the guest's message")? {
            GuestMessage::Commit(commit) => self.committed(commit.epoch),
            other => bail!("unexpected {other:?}"),
        }
    }

    fn committed(&mut self, epoch: u64) -> Result<()> {
        self.streams.send(Port::Control, &HostMessage::Committed(epoch).encode())
    }
}

/// Gives a new card [`PIN`]; the rest it makes itself.
pub fn personalisation() -> Command {
    Command::Personalise { pin: Some(Secret(PIN.to_vec())), puk: None, management_key: None }
}

/// SELECT of the PIV application.
pub fn select_piv() -> Vec<u8> {
    let aid = [0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00];
    [&[0x00, 0xA4, 0x04, 0x00, aid.len() as u8][..], &aid, &[0x00]].concat()
}

/// VERIFY of the PIN.
pub fn verify_pin() -> Vec<u8> {
    [&[0x00, 0x20, 0x00, 0x80, 0x08][..], PIN, &[0xFF, 0xFF]].concat()
}

/// GENERAL AUTHENTICATE (SP 800-73-5, part 2, 3.2.4): signs `input`, in extended length.
pub fn general_authenticate(algorithm: u8, key: KeyReference, input: &[u8]) -> Vec<u8> {
    let template = [tlv::object(0x82, &[]), tlv::object(0x81, input)].concat();
    let data = tlv::object(0x7C, &template);
    let length = (data.len() as u16).to_be_bytes();
    [&[0x00, 0x87, algorithm, key.0, 0x00][..], &length, &data, &[0x00, 0x00]].concat()
}

/// Checks that a response ends with `9000`.
pub fn succeeded(response: &[u8]) -> Result<()> {
    match response {
        [.., 0x90, 0x00] => Ok(()),
        [.., sw1, sw2] => bail!("the card answers {sw1:02X}{sw2:02X}"),
        _ => bail!("the card answers nothing"),
    }
}
