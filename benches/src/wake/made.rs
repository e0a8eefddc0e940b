//! A card with a key, made by the card OS in this process as a guest would make it.

use anyhow::{Context, Result, bail};
use cardhost_guest::{
    Card,
    platform::{NotCommitted, Platform},
};
use cardhost_wire::{
    control::{Answer, CardId, Command, Commit, GuestMessage, HostMessage, Launch, VERSION},
    key::Algorithm,
    port::Port,
};
use der::Decode;
use x509_cert::request::CertReq;

use crate::card::{SUBJECT, personalisation};

/// All that the store gets of a card, and its public key.
pub struct Made {
    /// Its identity.
    pub card: CardId,
    /// The key of its sealed state.
    pub card_key: [u8; 32],
    /// Its answer to reset.
    pub atr: Vec<u8>,
    /// What it committed, in order.
    pub commits: Vec<Commit>,
    /// The key of slot 9E: an uncompressed point.
    pub public_key: Vec<u8>,
}

/// Makes the card of the terminal whose name has this SHA-256.
pub fn make(owner: [u8; 32]) -> Result<Made> {
    let launch = launch(owner)?;
    let (card, card_key) = (launch.card, launch.card_key);
    let mut guest = Guest(Card::new(Kept::default()));
    guest.send(HostMessage::Launch(launch));
    let Some(GuestMessage::Started(started)) = guest.send(HostMessage::Start(None)) else {
        bail!("the card does not start");
    };
    guest.command(personalisation())?;
    let generate = Command::GenerateKey {
        key_reference: super::KEY,
        algorithm: Algorithm::P256,
        subject: SUBJECT.to_vec(),
    };
    let Answer::CertificationRequest(request) = guest.command(generate)? else { bail!("no key") };
    let public_key = public_key(&request)?;
    let commits = std::mem::take(&mut guest.0.platform_mut().0);
    Ok(Made { card, card_key, atr: started.atr, commits, public_key })
}

fn launch(owner: [u8; 32]) -> Result<Launch> {
    let (mut seed, mut card, mut card_key) = ([0; 32], [0; 16], [0; 32]);
    getrandom::fill(&mut seed)?;
    getrandom::fill(&mut card)?;
    getrandom::fill(&mut card_key)?;
    let image_policy = cardhost_image::GUEST_SHA256;
    Ok(Launch { version: VERSION, seed, card, owner, image_policy, card_key, default_keys: false })
}

fn public_key(request: &[u8]) -> Result<Vec<u8>> {
    let request = CertReq::from_der(request)?;
    let key = request.info.public_key.subject_public_key;
    Ok(key.as_bytes().context("a public key of whole bytes")?.to_vec())
}

/// The card OS without a machine.
struct Guest(Card<Kept>);

impl Guest {
    fn send(&mut self, message: HostMessage) -> Option<GuestMessage> {
        let answer = self.0.transmit(Port::Control, &message.encode())?;
        GuestMessage::decode(&answer).ok()
    }

    fn command(&mut self, command: Command) -> Result<Answer> {
        match self.send(HostMessage::Command(1, command)) {
            Some(GuestMessage::Answer(_, Ok(answer))) => Ok(answer),
            other => bail!("the card answers {other:?}"),
        }
    }
}

/// What the card committed.
#[derive(Default)]
struct Kept(Vec<Commit>);

impl Platform for Kept {
    fn commit(&mut self, commit: Commit) -> Result<(), NotCommitted> {
        self.0.push(commit);
        Ok(())
    }

    fn hardware_random(&mut self) -> Option<u64> {
        None
    }
}
