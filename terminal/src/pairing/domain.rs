//! The pairing security domain's commands that are not a protocol's own, and what it answers (`docs/pairing.md`).

use cardhost_wire::{
    apdu::CommandApdu,
    pairing::{CARD_KID, CERTIFIED_KVN, FIRST_KVN, MAX_PAIRINGS, PAIRING_DOMAIN},
    tlv::{self, TlvReader, object},
};
use zeroize::Zeroizing;

use super::{
    crypto::{Key, random},
    scp03::{DIVERSIFICATION, KeySet},
};

/// Bytes of a PIN in VERIFY (SP 800-73-5, part 2, 2.4.3).
const PIN: usize = 8;
/// Type of an AES key in PUT KEY (Card Specification 2.3.1, table 11-16).
const AES: u8 = 0x88;
/// Bytes of a key check value.
const CHECK: usize = 3;

/// SELECT.
pub fn select() -> Vec<u8> {
    command([0x00, 0xA4, 0x04, 0x00], &PAIRING_DOMAIN, 256)
}

/// The card's key diversification data in the answer to SELECT.
pub fn card_in(fci: &[u8]) -> Option<[u8; DIVERSIFICATION]> {
    let template = tlv::only(fci, 0x6F).ok()?;
    let proprietary = tlv::find(template, 0xA5).ok()??;
    tlv::find(proprietary, 0xCF).ok()??.try_into().ok()
}

/// GET DATA of the card's certificate.
pub fn get_certificate() -> Vec<u8> {
    let name = object(0xA6, &object(0x83, &[CARD_KID, CERTIFIED_KVN]));
    let (data, le) = (&name[..], Some(65_536));
    CommandApdu { cla: 0x80, ins: 0xCA, p1: 0xBF, p2: 0x21, data, le, extended: true }.to_bytes()
}

/// The certificate in its answer.
pub fn certificate_in(answer: &[u8]) -> Option<&[u8]> {
    tlv::only(answer, 0xBF21).ok()
}

/// VERIFY of the card holder's PIN; `None` if it has none or more than eight bytes.
pub fn verify(pin: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut padded = Zeroizing::new([0xFF; PIN]);
    padded.get_mut(..pin.len())?.copy_from_slice(pin.as_bytes());
    (!pin.is_empty()).then(|| Zeroizing::new([&[0x00, 0x20, 0x00, 0x80, PIN as u8][..], &*padded].concat()))
}

/// GET DATA of the key information template.
pub fn get_key_information() -> Vec<u8> {
    command([0x80, 0xCA, 0x00, 0xE0], &[], 256)
}

/// Any of the version numbers that pairings can have.
pub fn any_kvn() -> Result<u8, getrandom::Error> {
    let [byte] = random()?;
    Ok(FIRST_KVN + byte % MAX_PAIRINGS as u8)
}

/// The lowest version number that no pairing in the answer uses.
pub fn free_kvn(answer: &[u8]) -> Option<u8> {
    let mut reader = TlvReader::new(tlv::only(answer, 0xE0).ok()?);
    let mut used = [false; MAX_PAIRINGS];
    while let Some((_, information)) = reader.next_object().ok()? {
        if let Some(at) = information.get(1).and_then(|kvn| kvn.checked_sub(FIRST_KVN))
            && let Some(used) = used.get_mut(usize::from(at))
        {
            *used = true;
        }
    }
    used.iter().position(|used| !used).map(|at| FIRST_KVN + at as u8)
}

/// PUT KEY of a set whose third key is this one, encrypted under the session's S-DEK; and what the card must answer.
pub fn put_key(set: &KeySet, third: &Key, dek: &Key) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut answer) = (vec![set.kvn], vec![set.kvn]);
    for key in [&set.enc, &set.mac, third] {
        let wrapped = key.wrapped_by(dek);
        let check = &key.encrypt_block([1; 16])[..CHECK];
        data.extend([AES, wrapped.len() as u8 + 1, wrapped.len() as u8]);
        data.extend(wrapped);
        data.push(CHECK as u8);
        data.extend(check);
        answer.extend(check);
    }
    (command([0x80, 0xD8, 0x00, 0x81], &data, 256), answer)
}

fn command([cla, ins, p1, p2]: [u8; 4], data: &[u8], le: u32) -> Vec<u8> {
    CommandApdu { cla, ins, p1, p2, data, le: Some(le), extended: false }.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_padded_and_bounded() {
        assert_eq!(*verify("123456").unwrap(), *b"\x00\x20\x00\x80\x08123456\xFF\xFF");
        assert!(verify("").is_none() && verify("123456789").is_none());
    }

    #[test]
    fn any_version_is_one_of_a_pairing() {
        assert!((0..100).all(|_| (0x60..=0x6F).contains(&any_kvn().unwrap())));
    }

    #[test]
    fn the_first_free_version_is_taken() {
        let information = |kvns: &[u8]| {
            let entries: Vec<u8> =
                kvns.iter().flat_map(|&kvn| [0xC0, 4, 1, kvn, 0x88, 16, 0xC0, 4, 2, kvn, 0x88, 16]).collect();
            object(0xE0, &entries)
        };
        assert_eq!(free_kvn(&information(&[])), Some(0x60));
        assert_eq!(free_kvn(&information(&[0x01, 0x60, 0x62])), Some(0x61));
        assert_eq!(free_kvn(&information(&(0x60..=0x6F).collect::<Vec<_>>())), None);
        assert_eq!(free_kvn(&[0xE1, 0]), None);
    }
}
