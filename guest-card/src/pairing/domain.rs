//! The pairing security domain as it answers in plain, on the basic channel.
//!
//! ```text
//! Selected ─┬─ INITIALIZE UPDATE ─────────▶ Initiated ── EXTERNAL AUTHENTICATE ─▶ Paired
//!           └─ PERFORM SECURITY OPERATION ▶ Certified ── MUTUAL AUTHENTICATE ───▶ SetUp
//! ```
//!
//! Any other command but GET DATA, and each that fails, goes back to `Selected`.

use alloc::{boxed::Box, vec::Vec};

use cardhost_wire::{
    apdu::CommandApdu,
    control::CardId,
    key::Algorithm,
    pairing::{AUTHORITY_KID, CARD_KID, CERTIFIED_KVN, PAIRING_DOMAIN},
    status::Status,
    tlv::{self, object},
};

use super::{
    Ended, Part, Protected, Services,
    certification::Terminal,
    kvn::Kvn,
    pairings,
    record::{CardKey, Certification},
};
use crate::{
    crypto::PrivateKey,
    isd::{diversification, ec_key::Variant},
    scp::{
        messaging::OffCardEntity,
        scp03::{self, HostChallenge, Initiated},
        scp11::{self, Agreement, CardKeys, FULL_AES_128},
    },
};

/// Everything protected: the only level of a pairing session.
const FULL: u8 = 0x33;
const CARD_KEY: [u8; 2] = [CARD_KID, CERTIFIED_KVN];

/// One selection of the pairing security domain.
#[derive(Default)]
pub struct Domain {
    step: Step,
}

#[derive(Default)]
enum Step {
    /// Nothing has begun.
    #[default]
    Selected,
    /// INITIALIZE UPDATE was answered.
    Initiated(Box<Initiated>, Kvn),
    /// The terminal's certificate has come.
    Certified(Box<Terminal>),
}

/// What a command came to.
pub enum Outcome {
    /// Response data.
    Answer(Vec<u8>),
    /// A session begins, after this response.
    Begun(Box<Protected>, Vec<u8>),
}

/// A command of the domain in plain.
enum Command<'a> {
    /// CA: the certificate that this template names.
    Certificate(&'a [u8]),
    /// 50.
    InitializeUpdate { kvn: u8, host_challenge: &'a [u8] },
    /// 82, secured.
    ExternalAuthenticate,
    /// 2A: the terminal's certificate.
    PerformSecurityOperation(&'a [u8]),
    /// 82.
    MutualAuthenticate(&'a [u8]),
}

impl<'a> Command<'a> {
    fn parse(command: &CommandApdu<'a>) -> Result<Self, Status> {
        let CommandApdu { cla, ins, p1, p2, data, .. } = *command;
        match (cla, ins, [p1, p2]) {
            (0x80, 0xCA, [0xBF, 0x21]) => Ok(Self::Certificate(data)),
            (0x80, 0x50, [kvn, 0]) => Ok(Self::InitializeUpdate { kvn, host_challenge: data }),
            (0x84, 0x82, [FULL, 0]) => Ok(Self::ExternalAuthenticate),
            (0x80, 0x2A, [CERTIFIED_KVN, AUTHORITY_KID]) => Ok(Self::PerformSecurityOperation(data)),
            (0x80, 0x82, [CERTIFIED_KVN, CARD_KID]) => Ok(Self::MutualAuthenticate(data)),
            (0x80, 0xCA | 0x2A | 0x82, _) => Err(Status::REFERENCED_DATA_NOT_FOUND),
            (0x80, 0x50, _) | (0x84, 0x82, _) => Err(Status::INCORRECT_P1_P2),
            _ => Err(Status::INSTRUCTION_NOT_SUPPORTED),
        }
    }
}

impl Domain {
    /// File control information: AID, and the data by which a terminal knows the card again.
    pub fn select_response(card: &CardId) -> Vec<u8> {
        let proprietary = object(0xA5, &object(0xCF, &diversification(card)));
        object(0x6F, &[object(0x84, &PAIRING_DOMAIN), proprietary].concat())
    }

    /// Executes one whole command.
    ///
    /// # Errors
    /// A status word for the terminal.
    pub fn execute(
        &mut self,
        command: &CommandApdu<'_>,
        services: &mut Services<'_>,
    ) -> Result<Outcome, Status> {
        let before = core::mem::take(&mut self.step);
        let answer = match (Command::parse(command)?, before) {
            (Command::Certificate(template), before) => {
                self.step = before;
                certificate(services.nvm(), template)?
            }
            (Command::InitializeUpdate { kvn, host_challenge }, _) => {
                let (step, answer) = initialize_update(kvn, host_challenge, services)?;
                self.step = step;
                answer
            }
            (Command::ExternalAuthenticate, Step::Initiated(initiated, kvn)) => {
                let channel = initiated.external_authenticate(command)?;
                return Ok(Outcome::Begun(Box::new(Protected::paired(channel, kvn)), Vec::new()));
            }
            (Command::PerformSecurityOperation(certificate), _) => {
                self.step = Step::Certified(Box::new(Terminal::verify(services.nvm(), certificate)?));
                Vec::new()
            }
            (Command::MutualAuthenticate(data), Step::Certified(terminal)) => {
                return mutual_authenticate(data, *terminal, services);
            }
            (Command::ExternalAuthenticate | Command::MutualAuthenticate(_), _) => {
                return Err(Status::CONDITIONS_NOT_SATISFIED);
            }
        };
        Ok(Outcome::Answer(answer))
    }

    /// Gives up what rests on something that ended.
    pub fn end_if(&mut self, ended: &Ended) {
        let is_over = match &self.step {
            Step::Selected => false,
            Step::Initiated(_, kvn) => ended.has_pairing(*kvn),
            Step::Certified(terminal) => ended.has_terminal(terminal),
        };
        if is_over {
            self.step = Step::Selected;
        }
    }
}

/// GET DATA: the card's certificate (Amendment F, 7.2).
fn certificate(nvm: Part<'_>, template: &[u8]) -> Result<Vec<u8>, Status> {
    let control = tlv::only(template, 0xA6).map_err(malformed)?;
    if tlv::only(control, 0x83).map_err(malformed)? != CARD_KEY {
        return Err(Status::REFERENCED_DATA_NOT_FOUND);
    }
    let certification = Certification::load(nvm)?.ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
    Ok(object(0xBF21, &certification.certificate))
}

fn initialize_update(
    kvn: u8,
    host_challenge: &[u8],
    services: &mut Services<'_>,
) -> Result<(Step, Vec<u8>), Status> {
    let kvn = Kvn::parse(kvn).ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
    let pairing = pairings::find(services.nvm(), kvn)?.ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
    let set = pairing.key_set(kvn)?;
    let host_challenge = HostChallenge::parse(set.implementation, host_challenge)?;
    let card_challenge = scp03::random_challenge(&mut services.rng());
    let diversification = diversification(&services.card());
    let (initiated, answer) =
        scp03::initialize_update(set, &diversification, host_challenge, &card_challenge);
    Ok((Step::Initiated(Box::new(initiated), kvn), answer))
}

/// MUTUAL AUTHENTICATE of SCP11a.
fn mutual_authenticate(
    data: &[u8],
    terminal: Terminal,
    services: &mut Services<'_>,
) -> Result<Outcome, Status> {
    let fixed = CardKey::for_agreement(services.nvm())?.ok_or(Status::REFERENCED_DATA_NOT_FOUND)?;
    let agreement = Agreement::parse(data)?;
    if agreement.variant() != Variant::A || agreement.shared() != FULL_AES_128 {
        return Err(Status::WRONG_DATA);
    }
    let made = PrivateKey::generate(Algorithm::P256, &mut services.rng()).map_err(|_| Status::UNSPECIFIED)?;
    let keys = CardKeys { fixed: &fixed, ephemeral: &made };
    let entity = OffCardEntity::Authenticated(CERTIFIED_KVN);
    let (channel, answer) = scp11::agree(&agreement, &keys, Some(&terminal.point), entity)?;
    Ok(Outcome::Begun(Box::new(Protected::set_up(channel, terminal)), answer))
}

fn malformed(_: tlv::MalformedTlv) -> Status {
    Status::WRONG_DATA
}
