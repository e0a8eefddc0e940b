//! A terminal that pairs itself with its card, by the terminal's own code over a test's channel.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cardhost_terminal::pairing::{
    certificate::Identity,
    flow::{self, Known, Link, PairingError, Pairings},
    scp03::DIVERSIFICATION,
    session::{Session, SessionError},
};
use cardhost_wire::{
    apdu::CommandApdu,
    pairing::{AUTHORITY_KID, CARD_KID, CERTIFIED_KVN, PAIRING_DOMAIN},
    tlv::{self, object},
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{channel::Channel, client::Client, terminal::Terminal};

/// A device of a terminal: its certified pairing key, what it shares with the card, and the PIN that its user says.
pub struct PairingDevice {
    /// Its id at the host.
    pub id: String,
    /// Its certified key.
    pub identity: Identity,
    /// The pairing, if there is one.
    pub kept: Option<Known>,
    /// The card was seen revoked.
    pub revoked: bool,
    /// What the user answers.
    pub pin: String,
    /// How often the user was asked.
    pub asked: usize,
    /// By which it asks the host about its card.
    client: Client,
    terminal: String,
}

impl PairingDevice {
    /// Enrols a device with a pairing key, beside the terminal's own.
    pub async fn enrol(terminal: &Terminal, pin: &str) -> Self {
        let (key, csr) = request(&terminal.name);
        let (_, device_csr) = request(&terminal.name);
        let wish = json!({ "csr": device_csr, "pairing_csr": csr });
        let enrolled = terminal.client.post(&terminal.path("devices"), wish).await.expect("a device");
        let pem = |name: &str| enrolled["pairing"][name].as_str().expect("PEM").to_owned();
        let identity = Identity::from_pem(&key.serialize_pem(), &pem("pem"), &pem("authority_pem"));
        let id = enrolled["id"].as_str().expect("an id").into();
        Self {
            id,
            identity: identity.expect("usable PEM"),
            kept: None,
            revoked: false,
            pin: pin.into(),
            asked: 0,
            client: terminal.client.clone(),
            terminal: terminal.name.clone(),
        }
    }

    /// What happens at insertion.
    pub async fn insert(&mut self, channel: &mut Channel) -> Result<Session, PairingError> {
        let Self { identity, kept, revoked, pin, asked, client, terminal, .. } = self;
        let mut kept = Kept { kept, revoked, pin, asked, client, terminal };
        flow::insert(&mut Way(channel), identity, &mut kept).await
    }
}

/// One command through a session; the card's response.
pub async fn through(
    session: &mut Session,
    channel: &mut Channel,
    command: &[u8],
) -> Result<Vec<u8>, SessionError> {
    let envelope = session.wrap(command)?;
    Ok(session.unwrap(&channel.transmit(&envelope).await)?.to_vec())
}

/// The certificate of the card's pairing key, which it shows to everybody.
pub async fn card_certificate(channel: &mut Channel) -> Vec<u8> {
    channel.expect(&command([0x00, 0xA4, 0x04, 0x00], &PAIRING_DOMAIN), 0x9000).await;
    let name = object(0xA6, &object(0x83, &[CARD_KID, CERTIFIED_KVN]));
    let answer = channel.expect(&command([0x80, 0xCA, 0xBF, 0x21], &name), 0x9000).await;
    tlv::only(&answer, 0xBF21).expect("a certificate").to_vec()
}

/// PERFORM SECURITY OPERATION with this certificate.
pub fn present_as_terminal(certificate: &[u8]) -> Vec<u8> {
    command([0x80, 0x2A, CERTIFIED_KVN, AUTHORITY_KID], certificate)
}

fn command([cla, ins, p1, p2]: [u8; 4], data: &[u8]) -> Vec<u8> {
    CommandApdu { cla, ins, p1, p2, data, le: Some(65_536), extended: true }.to_bytes()
}

/// A P-256 key and its certification request for this name.
pub fn request(name: &str) -> (KeyPair, String) {
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    let csr = parameters.serialize_request(&key).and_then(|csr| csr.pem()).expect("a certification request");
    (key, csr)
}

struct Way<'a>(&'a mut Channel);

/// The channel was closed.
#[derive(Debug, thiserror::Error)]
#[error("the channel is closed")]
struct Closed;

impl Link for Way<'_> {
    type Error = Closed;

    async fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, Closed> {
        self.0.attempt(command).await.ok_or(Closed)
    }
}

struct Kept<'a> {
    kept: &'a mut Option<Known>,
    revoked: &'a mut bool,
    pin: &'a str,
    asked: &'a mut usize,
    client: &'a Client,
    terminal: &'a str,
}

impl Pairings for Kept<'_> {
    fn find(&self, _: &[u8; DIVERSIFICATION]) -> Result<Option<Known>, PairingError> {
        Ok(self.kept.clone())
    }

    fn keep(&mut self, _: &[u8; DIVERSIFICATION], known: &Known) -> Result<(), PairingError> {
        *self.kept = Some(known.clone());
        Ok(())
    }

    fn is_revoked(&self, _: &[u8; DIVERSIFICATION], _: Option<&[u8]>) -> Result<bool, PairingError> {
        Ok(*self.revoked)
    }

    fn revoke(&mut self, _: &[u8; DIVERSIFICATION], _: &[u8]) -> Result<(), PairingError> {
        (*self.kept, *self.revoked) = (None, true);
        Ok(())
    }

    async fn status(&mut self, serial: &[u8]) -> Option<Vec<u8>> {
        let path = format!("/v1/cards/{}/certification/{}", self.terminal, hex::encode(serial));
        let answer = self.client.get(&path).await.ok()?;
        STANDARD.decode(answer["ocsp_response"].as_str()?).ok()
    }

    fn forget(&mut self, _: &[u8; DIVERSIFICATION]) -> Result<(), PairingError> {
        *self.kept = None;
        Ok(())
    }

    async fn ask_pin(&mut self) -> Result<Zeroizing<String>, PairingError> {
        *self.asked += 1;
        Ok(Zeroizing::new(self.pin.to_owned()))
    }
}
