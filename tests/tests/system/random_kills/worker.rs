//! A terminal that works until something is killed.
//!
//! ```text
//! working ──an answer is lost──▶ in doubt ──recover──▶ looking ──state fits──▶ working
//!    └──told to pause──────────────────────────────────▲
//! ```

use cardhost_tests::{
    channel::Channel,
    client::{Attempt, attempt},
    piv,
    random::Chance,
    terminal::{MANAGEMENT_KEY, PUK, Terminal, wish},
};
use cardhost_wire::{key::KeyReference, tlv};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::sync::watch;

use super::model::{Act, Certificate, Learnt, PINS, State};

const WRONG_PIN: &str = "999999";
/// The channel's answer for a card that does not answer.
const NO_ANSWER: u16 = 0x6F00;

/// What became of an act.
enum Outcome {
    Acknowledged(Learnt),
    /// The card was reset before it.
    NotBegun,
    /// Its answer was lost.
    InDoubt,
}

/// A terminal, what its card must hold, and its channel.
pub struct Worker {
    pub terminal: Terminal,
    /// Its card is never destroyed, so that every reset of it can be told.
    pub stays: bool,
    pub(super) chance: Chance,
    pub(super) state: State,
    pub(super) pin: &'static str,
    pub(super) in_doubt: Option<Act>,
    pub(super) channel: Channel,
    /// The management key is authenticated in the card's present session.
    pub(super) is_ready: bool,
}

impl Worker {
    /// A terminal with its first certificate.
    pub async fn start(terminal: Terminal, stays: bool, chance: Chance) -> Self {
        let channel = terminal.open().await.expect("a channel");
        let (state, pin) = (State::default(), PINS[0]);
        let mut worker =
            Self { terminal, stays, chance, state, pin, in_doubt: None, channel, is_ready: false };
        worker.act(&Act::Create("9A".into())).await;
        worker.channel.until("present").await;
        worker
    }

    /// Works until it is told to pause or an answer is lost, and counts what was acknowledged. False if one was lost.
    pub async fn work(&mut self, pause: &watch::Sender<bool>, acknowledged: &watch::Sender<u64>) -> bool {
        while !*pause.borrow() {
            let act = self.state.choose(&mut self.chance, self.stays);
            if !self.act(&act).await {
                return false;
            }
            acknowledged.send_modify(|count| *count += 1);
        }
        true
    }

    /// True if its last act was in doubt.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.is_some()
    }

    async fn act(&mut self, act: &Act) -> bool {
        match self.perform(act).await {
            Outcome::Acknowledged(learnt) => {
                self.state = self.state.after(act, &learnt);
                if self.state.is_absent() {
                    (self.pin, self.is_ready) = (PINS[0], false);
                } else if let Act::ChangePin(pin) | Act::Unblock(pin) = act {
                    self.pin = pin;
                }
                true
            }
            Outcome::NotBegun => false,
            Outcome::InDoubt => {
                self.in_doubt = Some(act.clone());
                false
            }
        }
    }

    async fn perform(&mut self, act: &Act) -> Outcome {
        match act {
            Act::Create(slot) => self.create(slot).await,
            Act::Renew(slot) => {
                let path = format!("certificates/{}/renewal", self.state.certificates[slot].id);
                self.rest(self.request(Method::POST, &path)).await
            }
            Act::Delete(slot) => {
                let path = format!("certificates/{}", self.state.certificates[slot].id);
                self.rest(self.request(Method::DELETE, &path)).await
            }
            act => self.by_apdu(act).await,
        }
    }

    async fn create(&self, slot: &str) -> Outcome {
        let mut wish = wish(slot);
        if self.state.is_absent() {
            wish["pin"] = PINS[0].into();
            wish["puk"] = PUK.into();
            wish["management_key"] = hex::encode(MANAGEMENT_KEY).into();
        }
        self.rest(self.request(Method::POST, "certificates").json(&wish)).await
    }

    fn request(&self, method: Method, what: &str) -> RequestBuilder {
        self.terminal.client.request(method, &self.terminal.path(what))
    }

    async fn rest(&self, request: RequestBuilder) -> Outcome {
        match attempt(request).await {
            Attempt::Done(answer) => Outcome::Acknowledged(match answer["pem"].as_str() {
                Some(pem) => {
                    Learnt::Certificate(Certificate { id: text(&answer, "id"), serial: serial(pem) })
                }
                None => Learnt::Nothing,
            }),
            Attempt::Refused(refusal) if refusal.status < 500 => {
                panic!("{}: refused {refusal:?} in {:?}", self.terminal.name, self.state)
            }
            Attempt::Refused(_) | Attempt::Lost => Outcome::InDoubt,
        }
    }

    async fn by_apdu(&mut self, act: &Act) -> Outcome {
        if !self.is_ready && !self.make_ready().await {
            return Outcome::NotBegun;
        }
        let (command, expected) = self.command(act);
        let Some((data, status)) = self.exchange(&command).await else { return Outcome::InDoubt };
        match (act, status) {
            (Act::Generate(_), 0x9000) => Outcome::Acknowledged(Learnt::PublicKey(point(&data))),
            (_, status) if status == expected => Outcome::Acknowledged(Learnt::Nothing),
            // Without PIV selected or the key authenticated: the card was reset underneath.
            (_, 0x6D00 | 0x6E00 | 0x6982 | 0x6985 | 0x6A82) => Outcome::NotBegun,
            (act, status) => panic!("{}: {act:?} answered {status:04X}", self.terminal.name),
        }
    }

    /// An act's command and the status word that acknowledges it.
    fn command(&self, act: &Act) -> (Vec<u8>, u16) {
        match act {
            Act::WrongPin => (piv::verify(WRONG_PIN), 0x63C0 + u16::from(self.state.pin_tries) - 1),
            Act::RightPin => (piv::verify(self.pin), 0x9000),
            Act::ChangePin(pin) => (piv::change(self.pin, pin), 0x9000),
            Act::Unblock(pin) => (piv::reset_retry_counter(PUK, pin), 0x9000),
            Act::Put(object, content) => (piv::put(*object, content), 0x9000),
            Act::Generate(key) => (piv::generate(KeyReference(*key)), 0x9000),
            Act::Erase(key) => (piv::erase(KeyReference(*key)), 0x9000),
            Act::Create(_) | Act::Renew(_) | Act::Delete(_) => unreachable!("{act:?} goes over REST"),
        }
    }

    /// Selects PIV and authenticates the management key, which writes nothing.
    pub(super) async fn make_ready(&mut self) -> bool {
        let Some((_, 0x9000)) = self.exchange(&piv::select()).await else { return false };
        let Some((challenge, 0x9000)) = self.exchange(&piv::management_challenge()).await else {
            return false;
        };
        let response = piv::management_response(&challenge, &MANAGEMENT_KEY);
        self.is_ready = matches!(self.exchange(&response).await, Some((_, 0x9000)));
        self.is_ready
    }

    /// Data and status word; `None` if the card gave no answer.
    pub(super) async fn exchange(&mut self, command: &[u8]) -> Option<(Vec<u8>, u16)> {
        let mut data = self.channel.attempt(command).await?;
        let status = data.split_off(data.len() - 2);
        let status = u16::from_be_bytes([status[0], status[1]]);
        (status != NO_ANSWER).then_some((data, status))
    }

    /// Its card was reset underneath the channel, which must tell.
    pub async fn was_reset(&mut self) {
        self.channel.until_reset().await;
    }

    /// The daemon was killed: the channel must end, and another be possible.
    pub async fn reconnect(&mut self) {
        self.channel.closed().await;
        self.channel = self.terminal.open().await.expect("a channel");
    }

    /// Erases every key and certificate, and the card with the last one.
    pub async fn clear(&mut self) {
        for key in self.state.keys.clone().into_keys() {
            assert!(self.act(&Act::Erase(key)).await, "nothing is killed any more");
        }
        for slot in self.state.certificates.clone().into_keys() {
            assert!(self.act(&Act::Delete(slot)).await, "nothing is killed any more");
        }
    }
}

pub(super) fn text(entry: &Value, member: &str) -> String {
    entry[member].as_str().expect("text").into()
}

/// The serial number as listings write it.
fn serial(pem: &str) -> String {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
    let certificate = pem.parse_x509().expect("a certificate");
    hex::encode(certificate.raw_serial())
}

/// The point in a new public key's objects.
fn point(data: &[u8]) -> Vec<u8> {
    let objects = tlv::only(data, 0x7F49).expect("a public key");
    tlv::only(objects, 0x86).expect("a point").to_vec()
}
