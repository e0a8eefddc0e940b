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
use p256::{
    PublicKey, SecretKey,
    ecdh::{SharedSecret, diffie_hellman},
    elliptic_curve::sec1::ToSec1Point as _,
};
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

/// MUTUAL AUTHENTICATE is on its way. Its keys are erased on drop.
pub struct Agreement {
    ephemeral: SecretKey,
    /// What the certified keys agree on.
    certified: SharedSecret,
    data: Vec<u8>,
}

impl Agreement {
    /// A fresh ephemeral key, between the terminal's certified key and the card's. All that can be computed before the
    /// card has answered is.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(terminal: &SecretKey, card: &PublicKey) -> Result<Self, getrandom::Error> {
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
        let certified = agree(terminal, card);
        Ok(Self { ephemeral, certified, data })
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
        let card = PublicKey::from_sec1_bytes(point).map_err(|_| NotProved)?;
        let [receipt_key, enc, mac, rmac, dek] = derive(&agree(&self.ephemeral, &card), &self.certified);
        let expected = receipt_key.cmac(&[&self.data, &object(EPHEMERAL, point)]);
        if !bool::from(expected.ct_eq(receipt)) {
            return Err(NotProved);
        }
        Ok((Session::new(SessionKeys { enc, mac, rmac }, expected), dek))
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

fn agree(key: &SecretKey, point: &PublicKey) -> SharedSecret {
    diffie_hellman(key.to_nonzero_scalar(), point.as_affine())
}

/// X9.63 over both agreements, ephemeral and static (3.1.2).
fn derive(ephemeral: &SharedSecret, certified: &SharedSecret) -> [Key; KEYS] {
    let secrets = [ephemeral, certified].map(|secret| &secret.raw_secret_bytes()[..]);
    let secret = Zeroizing::new(secrets.concat());
    let mut bytes = Zeroizing::new([[0; BLOCK]; KEYS]);
    derive_key_into::<Sha256>(&secret, &SHARED_INFORMATION, bytes.as_flattened_mut())
        .expect("far below the longest output");
    bytes.map(Key::new)
}

#[cfg(test)]
mod tests {
    use p256::elliptic_curve::Generate as _;

    use super::{super::crypto::Block, *};

    /// A card that is made for one agreement.
    struct Card {
        certified: SecretKey,
        ephemeral: SecretKey,
    }

    impl Card {
        fn new() -> Self {
            Self { certified: SecretKey::generate(), ephemeral: SecretKey::generate() }
        }

        /// Its point and the receipt under keys by these scalars; and S-DEK.
        fn answer(&self, terminal: &PublicKey, data: &[u8]) -> (Vec<u8>, Block, Key) {
            let peer = PublicKey::from_sec1_bytes(tlv::find(data, EPHEMERAL).unwrap().unwrap()).unwrap();
            let (first, second) = (agree(&self.ephemeral, &peer), agree(&self.certified, terminal));
            let [receipt_key, .., dek] = derive(&first, &second);
            let point = self.ephemeral.public_key().to_sec1_point(false).as_bytes().to_vec();
            let receipt = receipt_key.cmac(&[data, &object(EPHEMERAL, &point)]);
            (point, receipt, dek)
        }
    }

    fn joined(point: &[u8], receipt: &[u8]) -> Vec<u8> {
        [object(EPHEMERAL, point), object(RECEIPT, receipt)].concat()
    }

    /// What becomes of an agreement with a card that is answered so.
    fn finished(answer: impl FnOnce(&Card, &PublicKey, &[u8]) -> Vec<u8>) -> Result<(), NotProved> {
        let (terminal, card) = (SecretKey::generate(), Card::new());
        let agreement = Agreement::new(&terminal, &card.certified.public_key()).unwrap();
        let answer = answer(&card, &terminal.public_key(), &agreement.data);
        agreement.finish(&answer).map(drop)
    }

    #[test]
    fn both_sides_agree_and_the_card_proves_its_key() {
        let (terminal, card) = (SecretKey::generate(), Card::new());
        let agreement = Agreement::new(&terminal, &card.certified.public_key()).unwrap();
        let (point, receipt, dek) = card.answer(&terminal.public_key(), &agreement.data);
        let (_, agreed) = agreement.finish(&joined(&point, &receipt)).unwrap();
        assert!(agreed == dek);
    }

    #[test]
    fn another_card_or_receipt_proves_nothing() {
        let other = finished(|_, terminal, data| {
            let (point, receipt, _) = Card::new().answer(terminal, data);
            joined(&point, &receipt)
        });
        let changed = finished(|card, terminal, data| {
            let (point, mut receipt, _) = card.answer(terminal, data);
            receipt[15] ^= 1;
            joined(&point, &receipt)
        });
        let cut = finished(|card, terminal, data| {
            let (point, receipt, _) = card.answer(terminal, data);
            joined(&point, &receipt[..15])
        });
        let missing = finished(|card, terminal, data| object(EPHEMERAL, &card.answer(terminal, data).0));
        assert_eq!([other, changed, cut, missing], [Err(NotProved); 4]);
    }

    #[test]
    fn only_a_point_of_the_curve_is_agreed_with() {
        let key = SecretKey::generate().public_key();
        let point = key.to_sec1_point(false).as_bytes().to_vec();
        let mut off_curve = point.clone();
        off_curve[64] ^= 1;
        for bad in [off_curve, point[..64].to_vec(), vec![0], vec![]] {
            assert_eq!(finished(|_, _, _| joined(&bad, &[0; BLOCK])), Err(NotProved), "{bad:02X?}");
        }
    }
}
