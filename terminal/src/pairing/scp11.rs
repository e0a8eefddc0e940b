//! Set-up by certified keys: SCP11a (GlobalPlatform Amendment F 1.3) on P-256, from off the card.
//!
//! ```text
//! terminal ──PERFORM SECURITY OPERATION: certificate──▶ card     verified by the authority's key
//!          ──MUTUAL AUTHENTICATE: ephemeral key───────▶
//!          ◀──the card's ephemeral key, receipt────────          the card has the certified key
//! ```

use ansi_x963_kdf::derive_key_into;
use cardhost_wire::{
    apdu::CommandApdu,
    pairing::{AUTHORITY_KID, CARD_KID, CERTIFIED_KVN},
    tlv::{self, object},
};
use p256::{PublicKey, SecretKey, ecdh::diffie_hellman, elliptic_curve::sec1::ToSec1Point as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    crypto::{BLOCK, Key, random},
    session::{Session, SessionKeys},
};

/// Key usage: C-MAC, C-ENC, R-MAC, R-ENC; key type: AES; key length (4.8; table 6-17).
const SHARED_INFORMATION: [u8; 3] = [0x3C, 0x88, BLOCK as u8];
/// Keys that are derived: receipt, S-ENC, S-MAC, S-RMAC, S-DEK.
const KEYS: usize = 5;
const EPHEMERAL: tlv::Tag = 0x5F49;
const RECEIPT: tlv::Tag = 0x86;

/// The card's answer does not prove its certified key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotProved;

/// PERFORM SECURITY OPERATION (7.5) with the terminal's one certificate.
pub fn perform_security_operation(certificate: &[u8]) -> Vec<u8> {
    let extended = certificate.len() > 255;
    let (p1, p2) = (CERTIFIED_KVN, AUTHORITY_KID);
    CommandApdu { cla: 0x80, ins: 0x2A, p1, p2, data: certificate, le: None, extended }.to_bytes()
}

/// MUTUAL AUTHENTICATE is on its way.
pub struct Agreement<'a> {
    terminal: &'a SecretKey,
    card: &'a PublicKey,
    ephemeral: SecretKey,
    data: Vec<u8>,
}

impl<'a> Agreement<'a> {
    /// A fresh ephemeral key, between the terminal's certified key and the card's.
    pub fn new(terminal: &'a SecretKey, card: &'a PublicKey) -> Result<Self, getrandom::Error> {
        let ephemeral = generate()?;
        let [usage, kind, length] = SHARED_INFORMATION;
        let template = [
            object(0x90, &[0x11, 0x01]),
            object(0x95, &[usage]),
            object(0x80, &[kind]),
            object(0x81, &[length]),
        ];
        let point = ephemeral.public_key().to_sec1_point(false);
        let data = [object(0xA6, &template.concat()), object(EPHEMERAL, point.as_bytes())].concat();
        Ok(Self { terminal, card, ephemeral, data })
    }

    /// MUTUAL AUTHENTICATE (7.6).
    pub fn command(&self) -> Vec<u8> {
        let (p1, p2) = (CERTIFIED_KVN, CARD_KID);
        CommandApdu { cla: 0x80, ins: 0x82, p1, p2, data: &self.data, le: Some(256), extended: false }
            .to_bytes()
    }

    /// Verifies the receipt. Gives the session and its S-DEK.
    ///
    /// # Errors
    /// [`NotProved`]
    pub fn finish(self, answer: &[u8]) -> Result<(Session, Key), NotProved> {
        let field = |tag| tlv::find(answer, tag).ok().flatten().ok_or(NotProved);
        let (point, receipt) = (field(EPHEMERAL)?, field(RECEIPT)?);
        let card_ephemeral = PublicKey::from_sec1_bytes(point).map_err(|_| NotProved)?;
        let [receipt_key, enc, mac, rmac, dek] = self.derive(&card_ephemeral);
        let expected = receipt_key.cmac(&[&self.data, &object(EPHEMERAL, point)]);
        if !bool::from(expected.ct_eq(receipt)) {
            return Err(NotProved);
        }
        Ok((Session::new(SessionKeys { enc, mac, rmac }, expected), dek))
    }

    /// X9.63 over both agreements, ephemeral and static (3.1.2).
    fn derive(&self, card_ephemeral: &PublicKey) -> [Key; KEYS] {
        let agree =
            |key: &SecretKey, point: &PublicKey| diffie_hellman(key.to_nonzero_scalar(), point.as_affine());
        let (first, second) = (agree(&self.ephemeral, card_ephemeral), agree(self.terminal, self.card));
        let secret = Zeroizing::new([&first.raw_secret_bytes()[..], &second.raw_secret_bytes()[..]].concat());
        let mut bytes = Zeroizing::new([[0; BLOCK]; KEYS]);
        derive_key_into::<Sha256>(&secret, &SHARED_INFORMATION, bytes.as_flattened_mut())
            .expect("far below the longest output");
        bytes.map(Key::new)
    }
}

/// A random key on P-256.
fn generate() -> Result<SecretKey, getrandom::Error> {
    loop {
        let bytes = Zeroizing::new(random::<32>()?);
        // All but a few of 2^32 strings are below the order.
        if let Ok(key) = SecretKey::from_slice(&*bytes) {
            return Ok(key);
        }
    }
}
