//! How a card gets its PIN, PUK and management key.

use alloc::vec::Vec;

use cardhost_wire::{control::CardId, key::Secret};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    identity,
    management::ManagementKey,
    record,
    reference_data::{LENGTH, ReferenceData, padded},
};
use crate::nvm::Change;

/// Length of a PUK (SP 800-73-5, part 1, 4.3.4).
const PUK_LENGTH: usize = 8;
const MANAGEMENT_KEY_LENGTH: usize = 32;

/// Secrets that the card made because the caller named none.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct MadeSecrets {
    pub(super) pin: Option<Secret>,
    pub(super) puk: Option<Secret>,
    pub(super) management_key: Option<Secret>,
}

/// A caller's secret has not the form that is wanted.
pub(super) struct MalformedSecret;

/// The first state of a card: these secrets, fresh ones for those that are missing (kept until acknowledged), and
/// the card's identity.
pub(super) fn personalised(
    card: &CardId,
    rng: &mut impl CryptoRng,
    pin: Option<Secret>,
    puk: Option<Secret>,
    management_key: Option<Secret>,
) -> Result<Change, MalformedSecret> {
    let mut made = MadeSecrets::default();
    let pin = pin.unwrap_or_else(|| digits(rng, &mut made.pin));
    let puk = puk.unwrap_or_else(|| digits(rng, &mut made.puk));
    let key = management_key.unwrap_or_else(|| random_key(rng, &mut made.management_key));
    let pin = Zeroizing::new(padded(&pin.0).ok_or(MalformedSecret)?);
    let puk = Some(&puk.0).filter(|puk| puk.len() == PUK_LENGTH);
    let puk = Zeroizing::new(puk.and_then(|puk| padded(puk)).ok_or(MalformedSecret)?);
    let change = ManagementKey::aes(&key.0).ok_or(MalformedSecret)?.put(Change::new());
    let change = ReferenceData::new(&pin, &puk).put(change);
    Ok(identity::put_identity(made.put(change), card))
}

/// The state of a card that all the world can use: PIN 123456, PUK 12345678 and the well-known management key.
pub(super) fn well_known(card: &CardId) -> Change {
    let change = ReferenceData::well_known().put(Change::new());
    identity::put_identity(ManagementKey::well_known().put(change), card)
}

impl MadeSecrets {
    fn put(&self, change: Change) -> Change {
        match self {
            Self { pin: None, puk: None, management_key: None } => change,
            made => change.put(record::PENDING_SECRETS, record::encode(made)),
        }
    }
}

fn digits(rng: &mut impl CryptoRng, made: &mut Option<Secret>) -> Secret {
    let mut digits = Vec::with_capacity(LENGTH);
    while digits.len() < LENGTH {
        // 250 is the greatest multiple of ten in a byte: no digit is likelier than another.
        match rng.next_u32().to_be_bytes() {
            [byte @ 0..250, ..] => digits.push(b'0' + byte % 10),
            _ => continue,
        }
    }
    made.insert(Secret(digits)).clone()
}

fn random_key(rng: &mut impl CryptoRng, made: &mut Option<Secret>) -> Secret {
    let mut key = Secret(alloc::vec![0; MANAGEMENT_KEY_LENGTH]);
    rng.fill_bytes(&mut key.0);
    made.insert(key).clone()
}
