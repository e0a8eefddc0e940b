//! The off-card side's cryptography: AES-128 in CBC (SP 800-38A), CMAC (SP 800-38B), key derivation by CMAC in counter
//! mode (SP 800-108, laid out as GlobalPlatform Amendment D 1.2, 4.1.5, has it), random bytes.

use aes::{
    Aes128,
    cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit, consts::U16},
};
use cmac::{Cmac, Mac as _};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a block and of a key.
pub const BLOCK: usize = 16;
/// One block.
pub type Block = [u8; BLOCK];

/// ISO/IEC 9797-1, padding method 2.
const PADDING: u8 = 0x80;

/// An AES-128 key, erased on drop. No `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Key(#[serde(with = "hex")] [u8; BLOCK]);

impl Key {
    /// A key of these bytes.
    pub const fn new(bytes: [u8; BLOCK]) -> Self {
        Self(bytes)
    }

    /// A random key.
    pub fn random() -> Result<Self, getrandom::Error> {
        random().map(Self)
    }

    /// One block, encrypted.
    pub fn encrypt_block(&self, mut block: Block) -> Block {
        self.encrypt_whole(&[0; BLOCK], &mut block);
        block
    }

    /// This key encrypted under `key`, for PUT KEY.
    pub fn wrapped_by(&self, key: &Self) -> Block {
        key.encrypt_block(self.0)
    }

    /// Pads and encrypts.
    pub fn encrypt(&self, iv: &Block, data: &mut Vec<u8>) {
        data.push(PADDING);
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        self.encrypt_whole(iv, data);
    }

    /// Decrypts and takes the padding off; `None` if it is not padding.
    pub fn decrypt(&self, iv: &Block, data: &mut Vec<u8>) -> Option<()> {
        let (blocks, []) = blocks(data) else { return None };
        cbc::Decryptor::<Aes128>::new(&self.0.into(), &(*iv).into()).decrypt_blocks(blocks);
        let at = data.iter().rposition(|&byte| byte != 0)?;
        let is_padded = data[at] == PADDING && data.len() - at <= BLOCK;
        data.truncate(at);
        is_padded.then_some(())
    }

    /// The CMAC over the parts, one after the other.
    pub fn cmac(&self, parts: &[&[u8]]) -> Block {
        let mut mac = <Cmac<Aes128> as KeyInit>::new(&self.0.into());
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }

    /// Up to a block derived from this key: eleven zeros and the constant as label, a zero, the length in bits, the
    /// counter, the context.
    pub fn derive<const LENGTH: usize>(&self, constant: u8, context: &[u8]) -> Zeroizing<[u8; LENGTH]> {
        const { assert!(LENGTH <= BLOCK) };
        let block = Zeroizing::new(self.cmac(&[&[0; 11], &[constant, 0, 0, 8 * LENGTH as u8, 1], context]));
        let mut derived = Zeroizing::new([0; LENGTH]);
        derived.copy_from_slice(&block[..LENGTH]);
        derived
    }

    /// [`Self::derive`] of a whole key.
    pub fn derive_key(&self, constant: u8, context: &[u8]) -> Self {
        Self(*self.derive(constant, context))
    }

    fn encrypt_whole(&self, iv: &Block, data: &mut [u8]) {
        let (blocks, rest) = blocks(data);
        debug_assert!(rest.is_empty());
        cbc::Encryptor::<Aes128>::new(&self.0.into(), &(*iv).into()).encrypt_blocks(blocks);
    }
}

fn blocks(data: &mut [u8]) -> (&mut [Array<u8, U16>], &mut [u8]) {
    Array::slice_as_chunks_mut(data)
}

/// Random bytes of the system.
pub fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], getrandom::Error> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SP 800-38B, D.1: AES-128.
    #[test]
    fn cmac_as_published() {
        let key = Key::new(hex::FromHex::from_hex("2b7e151628aed2a6abf7158809cf4f3c").unwrap());
        let message =
            hex::decode("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411")
                .unwrap();
        assert_eq!(hex::encode(key.cmac(&[])), "bb1d6929e95937287fa37d129b756746");
        assert_eq!(hex::encode(key.cmac(&[&message[..16]])), "070a16b46b4d4144f79bdd9dd04a287c");
        assert_eq!(
            hex::encode(key.cmac(&[&message[..7], &message[7..]])),
            "dfa66747de9ae63030ca32611497c827"
        );
    }

    #[test]
    fn padding_is_put_on_and_taken_off() {
        let (key, iv) = (Key::new([7; 16]), [9; 16]);
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).map(|at| if at % 3 == 0 { 0x80 } else { 0 }).collect();
            let mut data = plain.clone();
            key.encrypt(&iv, &mut data);
            assert!(data.len() > plain.len() && data.len().is_multiple_of(BLOCK));
            assert_eq!(key.decrypt(&iv, &mut data), Some(()));
            assert_eq!(data, plain);
        }
        for bad in [vec![], vec![0; 15]] {
            assert_eq!(key.decrypt(&iv, &mut { bad }), None);
        }
        let mut zeros = vec![0; BLOCK];
        key.encrypt_whole(&iv, &mut zeros);
        assert_eq!(key.decrypt(&iv, &mut zeros), None, "zeros alone are no padding");
    }
}
