//! The management key 9B and its two authentications (SP 800-73-5, part 2, 3.2.4 and appendix A.1, A.2).
//!
//! ```text
//! external: ─ 81 empty ─▶ challenge   ─ 82 E(challenge) ─▶ authenticated
//! mutual:   ─ 80 empty ─▶ E(witness)  ─ 80 witness, 81 challenge ─▶ E(challenge), authenticated
//! ```
//!
//! A challenge or witness serves once, whatever comes of it. The card never encrypts a terminal's block before
//! the terminal has proved the key, so that it cannot be used to answer its own challenges.

use alloc::{vec, vec::Vec};

use cardhost_wire::{key::Secret, status::Status, tlv::object};
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{algorithm, command::DynamicAuthentication, record, session::Session};
use crate::{
    crypto::{BlockCipher, CipherAlgorithm},
    nvm::{Change, Part},
    services::Services,
};

/// The well-known key, three-key Triple DES as on the cards whose version we report.
const WELL_KNOWN: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];
/// What a client that only wants random bytes gets, whatever the key is.
const RANDOM_LENGTH: usize = 8;

/// Proof that the terminal knows the management key.
pub(crate) struct ManagementAuthenticated(());

/// A number that the card gave out and that serves once.
#[derive(Default)]
pub(super) enum Pending {
    /// None.
    #[default]
    Nothing,
    /// Wanted back encrypted.
    Challenge(Zeroizing<Vec<u8>>),
    /// Was given out encrypted, wanted back in plain.
    Witness(Zeroizing<Vec<u8>>),
}

/// The key at rest.
#[derive(Serialize, Deserialize)]
pub(super) struct ManagementKey {
    /// Algorithm identifier.
    algorithm: u8,
    value: Secret,
}

impl ManagementKey {
    /// A key of its algorithm's length; no Triple DES key that is in truth a shorter one.
    pub(super) fn new(algorithm: CipherAlgorithm, value: &[u8]) -> Option<Self> {
        if value.len() != algorithm.key_length() || is_degenerate(algorithm, value) {
            return None;
        }
        Some(Self { algorithm: algorithm::cipher_identifier(algorithm), value: Secret(value.to_vec()) })
    }

    /// An AES key, its strength told by its length.
    pub(super) fn aes(value: &[u8]) -> Option<Self> {
        let algorithm = match value.len() {
            16 => CipherAlgorithm::Aes128,
            24 => CipherAlgorithm::Aes192,
            32 => CipherAlgorithm::Aes256,
            _ => return None,
        };
        Self::new(algorithm, value)
    }

    /// The well-known key.
    pub(super) fn well_known() -> Self {
        Self { algorithm: 0x03, value: Secret(WELL_KNOWN.to_vec()) }
    }

    /// Reads it; a card that was never personalised has none.
    pub(super) fn load(nvm: Part<'_>) -> Result<Self, Status> {
        record::load(nvm, record::MANAGEMENT_KEY)?.ok_or(Status::REFERENCED_DATA_NOT_FOUND)
    }

    /// Adds it to a change.
    pub(super) fn put(&self, change: Change) -> Change {
        change.put(record::MANAGEMENT_KEY, record::encode(self))
    }

    /// Its algorithm's identifier.
    pub(super) const fn algorithm_identifier(&self) -> u8 {
        self.algorithm
    }

    /// True for the well-known key.
    pub(super) fn is_well_known(&self) -> bool {
        self.value.0.ct_eq(&WELL_KNOWN).into()
    }

    fn cipher(&self) -> Result<(CipherAlgorithm, BlockCipher), Status> {
        let algorithm = algorithm::cipher(self.algorithm).ok_or(Status::MEMORY_FAILURE)?;
        let cipher = BlockCipher::new(algorithm, &self.value.0).map_err(|_| Status::MEMORY_FAILURE)?;
        Ok((algorithm, cipher))
    }
}

/// Two-key and one-key Triple DES, which repeat a part; the well-known key repeats too and is let through.
fn is_degenerate(algorithm: CipherAlgorithm, value: &[u8]) -> bool {
    let repeats = || value.chunks(8).zip(value.chunks(8).skip(1)).any(|(a, b)| a.ct_eq(b).into());
    algorithm == CipherAlgorithm::TripleDes && !bool::from(value.ct_eq(&WELL_KNOWN)) && repeats()
}

/// GENERAL AUTHENTICATE with 9B.
pub(super) fn authenticate(
    session: &mut Session,
    services: &mut Services<'_>,
    algorithm: CipherAlgorithm,
    step: &DynamicAuthentication<'_>,
) -> Result<Vec<u8>, Status> {
    let pending = core::mem::take(&mut session.pending);
    if let (DynamicAuthentication::ChallengeRequest, true) =
        (step, is_for_random_only(services.nvm(), algorithm))
    {
        return Ok(template(0x81, &random(services, RANDOM_LENGTH)));
    }
    let key = Keyed::load(services.nvm(), algorithm)?;
    match (step, pending) {
        (DynamicAuthentication::ChallengeRequest, _) => challenge(session, services, &key),
        (DynamicAuthentication::WitnessRequest, _) => witness(session, services, &key),
        (DynamicAuthentication::ChallengeResponse(response), Pending::Challenge(challenge)) => {
            key.external(session, &challenge, response)
        }
        (DynamicAuthentication::WitnessResponse { witness, challenge }, Pending::Witness(given)) => {
            key.mutual(session, &given, witness, challenge)
        }
        (DynamicAuthentication::Sign(_) | DynamicAuthentication::Agree(_), _) => Err(Status::WRONG_DATA),
        _ => fail(session),
    }
}

/// Some clients draw random bytes by asking for a Triple DES challenge of any card.
fn is_for_random_only(nvm: Part<'_>, algorithm: CipherAlgorithm) -> bool {
    let identifier = algorithm::cipher_identifier(algorithm);
    let same = |key: ManagementKey| key.algorithm_identifier() == identifier;
    algorithm == CipherAlgorithm::TripleDes && !ManagementKey::load(nvm).is_ok_and(same)
}

fn challenge(session: &mut Session, services: &mut Services<'_>, key: &Keyed) -> Result<Vec<u8>, Status> {
    let challenge = random(services, key.block_length);
    let answer = template(0x81, &challenge);
    session.pending = Pending::Challenge(challenge);
    Ok(answer)
}

fn witness(session: &mut Session, services: &mut Services<'_>, key: &Keyed) -> Result<Vec<u8>, Status> {
    let witness = random(services, key.block_length);
    let answer = template(0x80, &key.encrypted(&witness)?);
    session.pending = Pending::Witness(witness);
    Ok(answer)
}

fn fail(session: &mut Session) -> Result<Vec<u8>, Status> {
    session.management = None;
    Err(Status::SECURITY_STATUS_NOT_SATISFIED)
}

fn random(services: &mut Services<'_>, length: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    services.rng().fill_bytes(&mut bytes);
    bytes
}

/// The key, ready for use.
struct Keyed {
    cipher: BlockCipher,
    block_length: usize,
}

impl Keyed {
    /// Loads the key, which must be one of this algorithm.
    fn load(nvm: Part<'_>, wanted: CipherAlgorithm) -> Result<Self, Status> {
        let (algorithm, cipher) = ManagementKey::load(nvm)?.cipher()?;
        if algorithm != wanted {
            return Err(Status::WRONG_DATA);
        }
        Ok(Self { cipher, block_length: algorithm.block_length() })
    }

    fn external(&self, session: &mut Session, challenge: &[u8], response: &[u8]) -> Result<Vec<u8>, Status> {
        let expected = self.encrypted(challenge)?;
        if !bool::from(expected.ct_eq(response)) {
            return fail(session);
        }
        session.management = Some(ManagementAuthenticated(()));
        Ok(Vec::new())
    }

    fn mutual(
        &self,
        session: &mut Session,
        given: &[u8],
        witness: &[u8],
        challenge: &[u8],
    ) -> Result<Vec<u8>, Status> {
        if challenge.len() != self.block_length {
            return Err(Status::WRONG_DATA);
        }
        if !bool::from(given.ct_eq(witness)) {
            return fail(session);
        }
        let answer = template(0x82, &self.encrypted(challenge)?);
        session.management = Some(ManagementAuthenticated(()));
        Ok(answer)
    }

    fn encrypted(&self, block: &[u8]) -> Result<Zeroizing<Vec<u8>>, Status> {
        let mut encrypted = Zeroizing::new(block.to_vec());
        self.cipher.encrypt(&mut encrypted).map_err(|_| Status::WRONG_DATA)?;
        Ok(encrypted)
    }
}

fn template(tag: u32, value: &[u8]) -> Vec<u8> {
    object(0x7C, &object(tag, value))
}
