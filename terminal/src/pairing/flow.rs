//! What happens at insertion: authentication by a known pairing, else set-up and authentication again.
//!
//! ```text
//! SELECT ─▶ known ──INITIALIZE UPDATE, EXTERNAL AUTHENTICATE──▶ open
//!    │                    │ refused: forgotten
//!    └─▶ unknown ◀────────┘
//!           └─GET DATA, PSO, MUTUAL AUTHENTICATE, VERIFY, PUT KEY──▶ kept ─▶ authentication, or the end
//! ```
//!
//! Before each of the two, the authority's word on the card's certificate: a card that is revoked is the end.

use std::future::Future;

use cardhost_wire::{apdu::ResponseApdu, status::Status};
use zeroize::Zeroizing;

use super::{
    certificate::{CardCertificate, CertificateError, Identity},
    crypto::Key,
    domain, revoked,
    scp03::{DIVERSIFICATION, Initiation, KeySet},
    scp11::{Agreement, perform_security_operation},
    session::{Session, SessionError},
};

/// A way to the card: one command APDU out, one response APDU back.
pub trait Link: Send {
    /// Why there is no answer.
    type Error: std::error::Error + Send;

    /// One exchange.
    fn exchange(&mut self, command: &[u8]) -> impl Future<Output = Result<Vec<u8>, Self::Error>> + Send;
}

/// A pairing with a card.
#[derive(Clone)]
pub struct Known {
    /// The key set shared with it.
    pub set: KeySet,
    /// Serial number of the certificate that it showed; `None` of a pairing from before that was kept.
    pub serial: Option<Vec<u8>>,
}

/// The pairings that this terminal keeps, by the card's key diversification data, and what it knows of revoked cards.
pub trait Pairings: Send {
    /// The pairing with a card.
    fn find(&self, card: &[u8; DIVERSIFICATION]) -> Result<Option<Known>, PairingError>;
    /// Keeps a pairing, durably; an earlier one with the same card goes.
    fn keep(&mut self, card: &[u8; DIVERSIFICATION], known: &Known) -> Result<(), PairingError>;
    /// Forgets the pairing with a card.
    fn forget(&mut self, card: &[u8; DIVERSIFICATION]) -> Result<(), PairingError>;
    /// True if this card, or the certificate with this serial number, was seen revoked.
    fn is_revoked(&self, card: &[u8; DIVERSIFICATION], serial: Option<&[u8]>) -> Result<bool, PairingError>;
    /// Notes that card and certificate are revoked, durably, and forgets the pairing.
    fn revoke(&mut self, card: &[u8; DIVERSIFICATION], serial: &[u8]) -> Result<(), PairingError>;
    /// What the authority says of the certificate with this serial number (OCSPResponse, DER); `None` if nobody knows, which
    /// is told to the user.
    fn status(&mut self, serial: &[u8]) -> impl Future<Output = Option<Vec<u8>>> + Send;
    /// Asks the card holder for the PIN.
    fn ask_pin(&mut self) -> impl Future<Output = Result<Zeroizing<String>, PairingError>> + Send;
}

/// Why a card and this terminal are not paired.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// The card has no pairing security domain.
    #[error("the card cannot be paired: SELECT of its pairing security domain answers {0}")]
    NotOffered(Status),
    /// The authority has not certified the card's key.
    #[error("the card has no certificate of its pairing key")]
    NotCertified,
    /// The card's certificate.
    #[error("the card's certificate is refused: {0}")]
    CardCertificate(#[from] CertificateError),
    /// The authority took its word back that this is a card.
    #[error("the authority has revoked the card: this terminal refuses it")]
    Revoked,
    /// The card does not accept this terminal's certificate.
    #[error("the card refuses this terminal's certificate with {0}: another authority, or revoked")]
    Refused(Status),
    /// The card does not prove the certified key.
    #[error("the card does not prove the key that is certified for it")]
    Impostor,
    /// The PIN cannot be one.
    #[error("a PIN has 1 to 8 characters")]
    MalformedPin,
    /// There is no PIN.
    #[error("the PIN is needed to pair, and {0}")]
    NoPin(String),
    /// Wrong PIN.
    #[error("the PIN is wrong, {0} tries remain")]
    PinWrong(u8),
    /// Blocked PIN.
    #[error("the PIN is blocked: unblock it with the PUK")]
    PinBlocked,
    /// Sixteen terminals.
    #[error("the card is paired with as many terminals as it can be: delete one of its pairings")]
    Full,
    /// The card refused a command of the set-up.
    #[error("the card refuses {0} with {1}")]
    Command(&'static str, Status),
    /// The card's answer to a command of the set-up is not what it must be.
    #[error("the card's answer to {0} is malformed")]
    Malformed(&'static str),
    /// Authentication failed with the key set that was just made.
    #[error("the card refuses the key set that was just made")]
    Unusable,
    /// The secure channel.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The key file.
    #[error("the pairings of this terminal: {0}")]
    Store(#[from] crate::state::StateError),
    /// The system's generator.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The way to the card.
    #[error("{0}")]
    Link(String),
}

/// Opens a session with the card: by a known pairing, else by a new one.
///
/// # Errors
/// [`PairingError`]: there is no session, and no second attempt is to be made without the user.
pub async fn insert<L: Link>(
    link: &mut L,
    identity: &Identity,
    pairings: &mut impl Pairings,
) -> Result<Session, PairingError> {
    let card = select(link).await?;
    if pairings.is_revoked(&card, None)? {
        return Err(PairingError::Revoked);
    }
    if let Some(Known { set, serial }) = pairings.find(&card)? {
        if let Some(serial) = serial {
            revoked::refuse(&card, &serial, identity, pairings).await?;
        }
        if let Some(session) = authenticate(link, &set).await? {
            return Ok(session);
        }
        tracing::info!("the card does not accept the pairing any more");
    }
    set_up(link, &card, identity, pairings).await?;
    let Known { set, .. } = pairings.find(&card)?.ok_or(PairingError::Unusable)?;
    select(link).await?;
    if let Some(session) = authenticate(link, &set).await? {
        return Ok(session);
    }
    pairings.forget(&card)?;
    Err(PairingError::Unusable)
}

/// Selects the pairing security domain; says which card it is.
pub async fn select(link: &mut impl Link) -> Result<[u8; DIVERSIFICATION], PairingError> {
    let answer = exchange(link, &domain::select()).await?;
    match answer.status {
        Status::SUCCESS => domain::card_in(&answer.data).ok_or(PairingError::Malformed("SELECT")),
        status => Err(PairingError::NotOffered(status)),
    }
}

/// Authentication with a key set; `None` if the card does not have it, or does not prove it.
pub async fn authenticate(link: &mut impl Link, set: &KeySet) -> Result<Option<Session>, PairingError> {
    let initiation = Initiation::new(set)?;
    let answer = exchange(link, &initiation.command()).await?;
    if !answer.status.is_success() {
        return Ok(None);
    }
    let Ok((command, session)) = initiation.finish(&answer.data) else { return Ok(None) };
    let answer = exchange(link, &command).await?;
    Ok(answer.status.is_success().then_some(session))
}

/// Set-up: agrees on a fresh key set with the selected pairing security domain, and keeps it.
pub async fn set_up<L: Link>(
    link: &mut L,
    card: &[u8; DIVERSIFICATION],
    identity: &Identity,
    pairings: &mut impl Pairings,
) -> Result<(), PairingError> {
    let shown = card_certificate(link, identity).await?;
    revoked::refuse(card, &shown.serial, identity, pairings).await?;
    let (session, dek) = agree(link, identity, &shown).await?;
    let partner = Partner { card, serial: shown.serial, dek };
    let mut tunnel = Tunnel { link, session };
    verify(&mut tunnel, &pairings.ask_pin().await?).await?;
    // Few cards are paired with many terminals: which versions are free is only asked if the first is not.
    match put_key(&mut tunnel, &partner, domain::any_kvn()?, pairings).await {
        Err(PairingError::Command(_, Status::CONDITIONS_NOT_SATISFIED)) => {
            let information = tunnel.ok("GET DATA", &domain::get_key_information()).await?;
            let kvn = domain::free_kvn(&information).ok_or(PairingError::Full)?;
            put_key(&mut tunnel, &partner, kvn, pairings).await
        }
        done => done,
    }
}

/// The card at the other end of a set-up.
struct Partner<'a> {
    card: &'a [u8; DIVERSIFICATION],
    /// Of the certificate that it showed.
    serial: Vec<u8>,
    /// S-DEK.
    dek: Key,
}

/// Puts a fresh key set into the card, and keeps it.
async fn put_key<L: Link>(
    tunnel: &mut Tunnel<'_, L>,
    Partner { card, serial, dek }: &Partner<'_>,
    kvn: u8,
    pairings: &mut impl Pairings,
) -> Result<(), PairingError> {
    let set = KeySet { kvn, enc: Key::random()?, mac: Key::random()? };
    let (command, expected) = domain::put_key(&set, &Key::random()?, dek);
    // Kept first: a set whose acknowledgement is lost may be in the card.
    pairings.keep(card, &Known { set, serial: Some(serial.clone()) })?;
    match tunnel.ok("PUT KEY", &command).await {
        Ok(answer) if *answer == expected => Ok(()),
        Ok(_) => Err(PairingError::Malformed("PUT KEY")),
        Err(error) => {
            if matches!(error, PairingError::Command(..)) {
                pairings.forget(card)?;
            }
            Err(error)
        }
    }
}

/// The certificate that the card shows.
async fn card_certificate(
    link: &mut impl Link,
    identity: &Identity,
) -> Result<CardCertificate, PairingError> {
    let answer = exchange(link, &domain::get_certificate()).await?;
    if !answer.status.is_success() {
        return Err(PairingError::NotCertified);
    }
    let certificate = domain::certificate_in(&answer.data).ok_or(PairingError::Malformed("GET DATA"))?;
    Ok(identity.card(certificate)?)
}

/// SCP11a between the certified keys.
async fn agree(
    link: &mut impl Link,
    identity: &Identity,
    card: &CardCertificate,
) -> Result<(Session, Key), PairingError> {
    let command = perform_security_operation(&identity.certificate);
    // The command is out first: the card verifies the certificate while the terminal computes.
    let (answer, agreement) = tokio::join!(
        biased;
        exchange(link, &command),
        async { Agreement::new(&identity.key, &card.key) },
    );
    let answer = answer?;
    if !answer.status.is_success() {
        return Err(PairingError::Refused(answer.status));
    }
    let agreement = agreement?;
    let answer = exchange(link, &agreement.command()).await?;
    if !answer.status.is_success() {
        return Err(PairingError::Command("MUTUAL AUTHENTICATE", answer.status));
    }
    agreement.finish(&answer.data).map_err(|_| PairingError::Impostor)
}

async fn verify<L: Link>(tunnel: &mut Tunnel<'_, L>, pin: &str) -> Result<(), PairingError> {
    let command = domain::verify(pin).ok_or(PairingError::MalformedPin)?;
    match tunnel.exchange(&command).await?.status {
        Status::SUCCESS => Ok(()),
        Status::AUTHENTICATION_BLOCKED => Err(PairingError::PinBlocked),
        Status(wrong @ 0x63C0..=0x63CF) => Err(PairingError::PinWrong((wrong & 0x0F) as u8)),
        status => Err(PairingError::Command("VERIFY", status)),
    }
}

/// Commands to the card through a session.
struct Tunnel<'a, L> {
    link: &'a mut L,
    session: Session,
}

impl<L: Link> Tunnel<'_, L> {
    async fn exchange(&mut self, command: &[u8]) -> Result<ResponseApdu, PairingError> {
        let envelope = self.session.wrap(command)?;
        let answer = self.link.exchange(&envelope).await.map_err(failed)?;
        let response = self.session.unwrap(&answer)?;
        ResponseApdu::parse(&response).map_err(|_| SessionError::NotAuthentic.into())
    }

    async fn ok(&mut self, name: &'static str, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, PairingError> {
        let response = self.exchange(command).await?;
        match response.status {
            Status::SUCCESS => Ok(Zeroizing::new(response.data)),
            status => Err(PairingError::Command(name, status)),
        }
    }
}

async fn exchange(link: &mut impl Link, command: &[u8]) -> Result<ResponseApdu, PairingError> {
    let answer = link.exchange(command).await.map_err(failed)?;
    ResponseApdu::parse(&answer).map_err(|_| PairingError::Link("the answer is no response APDU".into()))
}

fn failed(error: impl std::error::Error) -> PairingError {
    PairingError::Link(error.to_string())
}
