//! SCP11 (GlobalPlatform Amendment F 1.3) on P-256: session keys by key agreement.
//!
//! ```text
//! a, c: terminal ──PERFORM SECURITY OPERATION: certificates──▶ card   verified by the authority's key
//! a, c: terminal ──MUTUAL AUTHENTICATE───┬─▶ card    ephemeral key of the terminal
//! b:    terminal ──INTERNAL AUTHENTICATE─┘
//!                ◀──card's key (of c: static), receipt──   open
//! ```
//!
//! Keys: X9.63 with SHA-256 over both agreements, ephemeral and static (3.1.2): one for the receipt, then S-ENC, S-MAC,
//! S-RMAC and S-DEK. SCP11c has nothing fresh of the card's, so that scripts can be made beforehand: who recorded one can
//! send it again. Whoever does not want that makes no key `15`. The receipt is the CMAC over what both sides sent, and the first chaining value.

use alloc::vec::Vec;

use cardhost_wire::{
    status::Status,
    tlv::{self, TlvReader, object},
};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    level::Protection,
    messaging::{Channel, Mode, OffCardEntity, SessionKeys},
};
use crate::{
    crypto::{AES_BLOCK, AesKey, AgreementKey, PrivateKey},
    isd::ec_key::Variant,
};

/// Key usage of full protection, and AES-128: what [`Agreement::shared`] tells of them.
pub const FULL_AES_128: [u8; 3] = [0x3C, AES, 16];
/// The protocol's number.
pub const PROTOCOL: u8 = 0x11;
/// Keys that are derived: receipt, S-ENC, S-MAC, S-RMAC, S-DEK.
const KEYS: usize = 5;
const AES: u8 = 0x88;

/// The data field of MUTUAL or INTERNAL AUTHENTICATE (table 7-13).
pub struct Agreement<'a> {
    variant: Variant,
    protection: Protection,
    /// Key usage, type and length as sent: the shared information.
    shared: [u8; 3],
    /// The terminal's ephemeral point.
    ephemeral: &'a [u8],
    /// All of it: what the receipt covers.
    whole: &'a [u8],
}

impl<'a> Agreement<'a> {
    /// Parses the data field.
    ///
    /// # Errors
    /// `6A80`: malformed, or of a kind that the card does not offer.
    pub fn parse(whole: &'a [u8]) -> Result<Self, Status> {
        let mut reader = TlvReader::new(whole);
        let mut next = || reader.next_object().map_err(|_| Status::WRONG_DATA);
        let (Some((0xA6, template)), Some((0x5F49, ephemeral)), None) = (next()?, next()?, next()?) else {
            return Err(Status::WRONG_DATA);
        };
        let (variant, usage, kind, length) = template_fields(template).ok_or(Status::WRONG_DATA)?;
        let protection = match usage {
            0x3C => Protection::FULL,
            0x34 => Protection::MAC,
            _ => return Err(Status::WRONG_DATA),
        };
        if kind != AES || !matches!(length, 16 | 24 | 32) {
            return Err(Status::WRONG_DATA);
        }
        Ok(Self { variant, protection, shared: [usage, kind, length], ephemeral, whole })
    }

    /// Key usage, type and length as sent.
    pub const fn shared(&self) -> [u8; 3] {
        self.shared
    }

    /// Which SCP11 it asks for.
    pub const fn variant(&self) -> Variant {
        self.variant
    }
}

/// Variant, key usage, key type and key length of `A6`.
fn template_fields(template: &[u8]) -> Option<(Variant, u8, u8, u8)> {
    let field = |tag| tlv::find(template, tag).ok().flatten();
    let variant = match field(0x90)? {
        [PROTOCOL, 0x01] => Variant::A,
        [PROTOCOL, 0x00] => Variant::B,
        [PROTOCOL, 0x03] => Variant::C,
        _ => return None,
    };
    let one = |tag| field(tag).and_then(|value| <[u8; 1]>::try_from(value).ok());
    let ([usage], [kind], [length]) = (one(0x95)?, one(0x80)?, one(0x81)?);
    let mut reader = TlvReader::new(template);
    while let Some((tag, _)) = reader.next_object().ok()? {
        matches!(tag, 0x90 | 0x95 | 0x80 | 0x81).then_some(())?;
    }
    Some((variant, usage, kind, length))
}

/// The card's side of an agreement.
pub struct CardKeys<'a> {
    /// SK.SD.ECKA.
    pub fixed: &'a AgreementKey,
    /// eSK.SD.ECKA; of SCP11c the static one again.
    pub ephemeral: &'a PrivateKey,
}

/// Agrees on keys. The terminal's other key is certified in SCP11a and SCP11c, and its ephemeral one again in SCP11b.
/// Answers the open channel and the response data.
///
/// # Errors
/// `6A80`: a point is not on the curve.
pub fn agree(
    agreement: &Agreement<'_>,
    card: &CardKeys<'_>,
    certified: Option<&[u8]>,
    entity: OffCardEntity,
) -> Result<(Channel, Vec<u8>), Status> {
    let ephemeral = card.ephemeral.agree(agreement.ephemeral).map_err(|_| Status::WRONG_DATA)?;
    let certified = certified.unwrap_or(agreement.ephemeral);
    let fixed = card.fixed.agree(certified).map_err(|_| Status::WRONG_DATA)?;
    let secret = Zeroizing::new([&ephemeral[..], &fixed[..]].concat());
    open(agreement, &secret, card.ephemeral.public_key().as_bytes(), entity)
}

/// Opens the channel of an agreement that came to this secret. The card's ephemeral point goes into the receipt.
fn open(
    agreement: &Agreement<'_>,
    secret: &[u8],
    point: &[u8],
    entity: OffCardEntity,
) -> Result<(Channel, Vec<u8>), Status> {
    let [receipt_key, enc, mac, rmac, dek] = derive(secret, &agreement.shared)?;
    let point = object(0x5F49, point);
    let receipt = receipt_key.cmac(&[agreement.whole, &point]);
    let keys = SessionKeys { enc, mac, rmac, dek };
    let channel = Channel::new(keys, Mode::S8, agreement.protection, entity, receipt);
    Ok((channel, [point, object(0x86, &receipt)].concat()))
}

fn derive(secret: &[u8], shared: &[u8; 3]) -> Result<[AesKey; KEYS], Status> {
    let length = usize::from(shared[2]);
    let mut bytes = Zeroizing::new([0; 2 * AES_BLOCK * KEYS]);
    let bytes = &mut bytes[..length * KEYS];
    ansi_x963_kdf::derive_key_into::<Sha256>(secret, shared, bytes).map_err(|_| Status::UNSPECIFIED)?;
    let mut keys = bytes.chunks(length).map(|key| AesKey::new(key).expect("the length was checked"));
    Ok([(); KEYS].map(|()| keys.next().expect("as many as there are")))
}

#[cfg(test)]
mod tests;
