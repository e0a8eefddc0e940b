//! The EID (SGP.02, 2.2.2): 32 digits, made from the card's identity, so that a card always has the same.

use cardhost_wire::control::CardId;
use sha2::{Digest, Sha256};

/// `89` for telecommunication; country code 999, which ITU-T E.164 gives to nobody, and issuer 000: no issuer's numbers
/// are taken. The other digits are the card's.
const PREFIX: u128 = 89_999_000;
const DIGITS: u128 = 10_u128.pow(22);

/// The EID, two digits in each byte, the first one high.
pub fn eid(card: &CardId) -> [u8; 16] {
    let hash = Sha256::new().chain_update(b"cardhost EID\0").chain_update(card).finalize();
    let half = hash.first_chunk().expect("a hash of 32 bytes");
    let number = PREFIX * DIGITS + u128::from_be_bytes(*half) % DIGITS;
    packed(number * 100 + check_digits(number))
}

/// Two digits with which the whole leaves 1 when it is divided by 97 (ISO/IEC 7064, MOD 97-10).
const fn check_digits(number: u128) -> u128 {
    98 - number * 100 % 97
}

fn packed(mut number: u128) -> [u8; 16] {
    let mut packed = [0; 16];
    for byte in packed.iter_mut().rev() {
        let two = (number % 100) as u8;
        *byte = ((two / 10) << 4) | (two % 10);
        number /= 100;
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_eid_begins_with_89_and_passes_its_check() {
        for card in 0..=255 {
            let eid = eid(&[card; 16]);
            let digits = eid.iter().flat_map(|byte| [byte >> 4, byte & 0x0F]);
            let number = digits.clone().fold(0_u128, |number, digit| number * 10 + u128::from(digit));
            assert!(eid[0] == 0x89 && digits.into_iter().all(|digit| digit < 10));
            assert_eq!(number % 97, 1);
        }
        assert_ne!(eid(&[1; 16]), eid(&[2; 16]));
    }

    /// The standard's own example (SGP.02, 2.2.2).
    #[test]
    fn check_digits_are_the_standards() {
        assert_eq!(check_digits(890_010_120_123_412_340_123_456_789_012), 24);
    }
}
