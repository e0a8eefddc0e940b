//! The control stream: what the host asks of the guest beside APDUs, and what the guest asks of the host.
//!
//! ```text
//! card process ──Launch──▶ guest                     seed, identity, card key: the daemon never sees them
//! daemon ──State*, Start──▶ guest ──Started/Refused─▶ sealed records in, verdict out
//! daemon ──Command────────▶ guest ──Answer──────────▶ one at a time
//! daemon ──SessionState───▶ guest ──SessionState────▶ would a terminal notice that the card was switched off?
//!                           guest ──Commit──────────▶ daemon, at any time: what must be durable
//! daemon ──Committed/CommitFailed──▶ guest            only then is the APDU or command answered
//! ```
//!
//! Both sides treat the other's messages as hostile. The stream opens with [`HostMessage::Launch`]; the guest
//! accepts it once and refuses everything before it and every APDU before [`GuestMessage::Started`].

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    codec::message,
    key::{Algorithm, KeyReference, Secret},
    pairing::{PairingCommand, Pairings},
    profiles::{Iccid, Profile, ProfileCommand},
    protocols::ProtocolPairing,
};

/// Version of this protocol; host and guest image are built together, so a mismatch is refused.
pub const VERSION: u16 = 1;

/// Sixteen random bytes that name a card for its whole life.
pub type CardId = [u8; 16];

/// From the host to the guest.
#[derive(Debug, Serialize, Deserialize)]
pub enum HostMessage {
    /// First message of every start, made by the card process after the fork.
    Launch(Launch),
    /// Some of the card's sealed records, in any order. A new card gets none.
    State(Vec<SealedRecord>),
    /// The sealed head record, or `None` for a new card: the state is complete, verify it and start.
    Start(Option<Vec<u8>>),
    /// The commit of this epoch is durable.
    Committed(u64),
    /// The commit of this epoch was not stored and never will be.
    CommitFailed(u64),
    /// Do this and answer with the same number.
    Command(u32, Command),
    /// Say what the terminals' sessions hold. Nothing changes by it. Answered by [`GuestMessage::SessionState`].
    SessionState,
}
message!(HostMessage);

/// What only the card's own process knows at its start.
#[derive(Debug, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Launch {
    /// [`VERSION`].
    pub version: u16,
    /// Fresh from getrandom(2) for this start, never stored.
    pub seed: [u8; 32],
    /// The card's identity.
    pub card: CardId,
    /// Binds the sealed state to its owner: SHA-256 of the terminal's name.
    pub owner: [u8; 32],
    /// The image policy that the card key was unwrapped under, part of every record's associated data.
    pub image_policy: [u8; 32],
    /// AES-256 key of the card's sealed state.
    pub card_key: [u8; 32],
    /// Development only: a new card is born with the well-known PIN, PUK and keys.
    pub default_keys: bool,
}

/// A record's number in the guest's non-volatile memory. The host sees numbers, not meanings.
pub type RecordId = u16;

/// One sealed record as the host stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedRecord {
    /// The record's number.
    pub id: RecordId,
    /// Format version, nonce, ciphertext and tag.
    pub sealed: Vec<u8>,
}

/// A change of the card's state: stored whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// One more than the last commit's.
    pub epoch: u64,
    /// Records to insert or replace.
    pub put: Vec<SealedRecord>,
    /// Records to remove.
    pub delete: Vec<RecordId>,
    /// The sealed head: epoch and the tag of every live record.
    pub head: Vec<u8>,
    /// The card's credentials after this change.
    pub credentials: Vec<Credential>,
}

/// What is provisioned for the user, as the guest reports it: while a card has any, it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// A PIV key.
    Key(KeyCredential),
    /// An eUICC profile.
    Profile(Iccid),
}

impl Credential {
    /// The PIV key, if it is one.
    pub const fn key(&self) -> Option<&KeyCredential> {
        match self {
            Self::Key(key) => Some(key),
            Self::Profile(_) => None,
        }
    }
}

/// A PIV key provisioned for the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCredential {
    /// The slot it stands in.
    pub key_reference: KeyReference,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// SHA-256 of its SubjectPublicKeyInfo (DER).
    pub public_key: [u8; 32],
}

/// The narrow commands of the host. The guest checks each itself; no other use of a key is possible here.
#[derive(Debug, Serialize, Deserialize)]
pub enum Command {
    /// Sets PIN (6 to 8 bytes), PUK (8 bytes) and management key of a card that was never personalised; what is
    /// missing the guest makes and keeps as pending secrets, with the keys of the issuer's security domain. Answers [`Answer::Done`].
    Personalise {
        /// The PIN.
        pin: Option<Secret>,
        /// The PUK.
        puk: Option<Secret>,
        /// The management key: AES of 16, 24 or 32 bytes.
        management_key: Option<Secret>,
    },
    /// The secrets that the guest made at personalisation, until acknowledged. Answers [`Answer::Secrets`].
    PendingSecrets,
    /// The user has the secrets; erase the copies kept for delivery. Answers [`Answer::Done`].
    AcknowledgeSecrets,
    /// Generates a key in an empty slot and signs one certification request (PKCS#10) for it.
    /// Answers [`Answer::CertificationRequest`].
    GenerateKey {
        /// An empty slot.
        key_reference: KeyReference,
        /// The key's algorithm.
        algorithm: Algorithm,
        /// The request's subject, a DER `Name`.
        subject: Vec<u8>,
    },
    /// Signs a certification request with the subject and key of the certificate in this slot, for its renewal.
    /// Answers [`Answer::CertificationRequest`].
    RenewalRequest(KeyReference),
    /// Stores a certificate (DER) whose public key is the slot's. Answers [`Answer::Done`].
    ImportCertificate {
        /// The slot.
        key_reference: KeyReference,
        /// The certificate, DER.
        certificate: Vec<u8>,
    },
    /// Reads the certificate in a slot. Answers [`Answer::Certificate`].
    ReadCertificate(KeyReference),
    /// Erases the slot's key and certificate. Answers [`Answer::Done`], also if there was none.
    DeleteCredential(KeyReference),
    /// Signs [`authentication_message`] over this challenge. A key whose PIN policy is not "never" needs the PIN;
    /// a wrong one counts like VERIFY. Answers [`Answer::Signature`].
    SignChallenge {
        /// The slot, which must hold a certificate.
        key_reference: KeyReference,
        /// The authority's fresh challenge.
        challenge: [u8; 32],
        /// The user's PIN.
        pin: Option<Secret>,
    },
    /// The pairing of protocols with containers. Answers [`Answer::Protocols`].
    ReadProtocols,
    /// Sets another pairing of protocols with containers. Answers [`Answer::Done`].
    PairProtocols(ProtocolPairing),
    /// About the pairing with terminals.
    Pairing(PairingCommand),
    /// About eUICC profiles.
    Profile(ProfileCommand),
}

/// From the guest to the host.
#[derive(Debug, Serialize, Deserialize)]
pub enum GuestMessage {
    /// The state verified; APDUs are answered from now on.
    Started(Started),
    /// The state or the launch is not acceptable; nothing will be answered.
    Refused(Refusal),
    /// Make this durable, then say [`HostMessage::Committed`].
    Commit(Commit),
    /// The answer to the command with this number.
    Answer(u32, Result<Answer, Failure>),
    /// The guest panicked with this text and ends now.
    Panic(String),
    /// The answer to [`HostMessage::SessionState`].
    SessionState(SessionState),
}
message!(GuestMessage);

/// What the guest tells when it has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Answer to reset (ISO/IEC 7816-3) that terminals are to see.
    pub atr: Vec<u8>,
    /// Epoch of the state that was opened; 0 for a new card.
    pub epoch: u64,
    /// The credentials in it.
    pub credentials: Vec<Credential>,
}

/// Why a guest does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Launch of another protocol version, or a second launch.
    BadLaunch,
    /// A record does not open under the card key with this card's identity, owner and image policy.
    NotAuthentic,
    /// The records are not the ones that the head names: one is missing, old or from elsewhere.
    Inconsistent,
    /// The state's format is unknown to this image.
    UnknownFormat,
}

/// A command's result.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done, nothing to tell.
    Done,
    /// A PKCS#10 certification request, DER.
    CertificationRequest(Vec<u8>),
    /// A certificate, DER.
    Certificate(Vec<u8>),
    /// A signature over [`authentication_message`].
    Signature {
        /// The slot's algorithm: RSASSA-PKCS1-v1_5 or ECDSA (DER), with SHA-256, on P-384 with SHA-384.
        algorithm: Algorithm,
        /// The signature.
        signature: Vec<u8>,
    },
    /// The secrets made at personalisation; `None` where the caller chose it himself.
    Secrets {
        /// The PIN, ASCII digits.
        pin: Option<Secret>,
        /// The PUK, ASCII digits.
        puk: Option<Secret>,
        /// The management key, AES-256.
        management_key: Option<Secret>,
        /// The issuer security domain's first key set, version FF: ENC, MAC and DEK, AES-128, one after the other. The
        /// guest always makes it.
        security_domain_keys: Option<Secret>,
        /// The same of the second secure element, which gets them when a protocol is first paired with it.
        second_security_domain_keys: Option<Secret>,
    },
    /// The pairing of protocols with containers.
    Protocols(ProtocolPairing),
    /// The pairings with terminals.
    Pairings(Pairings),
    /// eUICC profiles.
    Profiles(Vec<Profile>),
}

/// What the sessions of all protocols hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionState {
    /// Every session stands as after its reset: a card that is switched off and started again equals this one, but for
    /// pairing sessions in which nothing is held. Their terminals open them again when a command is refused.
    None,
    /// Some session has a selection, a further logical channel, a secure channel, a verified PIN or an authenticated
    /// key, an open challenge, an unfinished chain or a response that was not fetched whole, or pairs itself.
    Held,
}

/// Why a command was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The command is malformed or names what does not exist (slot, algorithm, subject, lengths).
    Malformed,
    /// The slot holds a key.
    SlotOccupied,
    /// The slot holds no key.
    NoKey,
    /// The slot holds no certificate.
    NoCertificate,
    /// The certificate is not for the slot's key.
    CertificateMismatch,
    /// The card was personalised before.
    AlreadyPersonalised,
    /// There are no pending secrets, or they were acknowledged.
    NoSecrets,
    /// The key needs the PIN and none was given.
    PinRequired,
    /// Wrong PIN; this many tries remain.
    PinWrong(u8),
    /// The PIN is blocked.
    PinBlocked,
    /// The card's policy forbids it.
    Policy,
    /// The change could not be made durable, and was not made.
    NotCommitted,
    /// No room.
    NoMemory,
    /// A certificate or list is not signed by the authority that the card knows, or the card knows none.
    NotAuthentic,
    /// A newer revocation list was accepted before.
    Outdated,
    /// A profile with this ICCID is on the card.
    ProfileExists,
    /// No profile with this ICCID is on the card.
    NoProfile,
}

/// The bytes that a card signs to authenticate: a domain, the authority's challenge and the certificate's hash,
/// so that the signature proves nothing else.
pub fn authentication_message(challenge: &[u8; 32], certificate_sha256: &[u8; 32]) -> Vec<u8> {
    [&b"cardhost authentication v1\0"[..], challenge, certificate_sha256].concat()
}

/// Records per [`HostMessage::State`] so that the message stays below [`crate::frame::MAX_MESSAGE`]: the host
/// starts a new message when the sum of the sealed lengths would pass this.
pub const STATE_CHUNK: usize = 32 * 1024;
