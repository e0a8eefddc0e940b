//! AES as GlobalPlatform's secure channels use it: single blocks, CBC (SP 800-38A), CMAC (SP 800-38B), and key
//! derivation by CMAC in counter mode (SP 800-108).

use alloc::vec::Vec;

use ::aes::{
    Aes128, Aes192, Aes256,
    cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit},
};
use cmac::{Cmac, Mac};
use zeroize::Zeroizing;

use super::CryptoError;

/// Bytes of a block, of an initial vector and of a whole CMAC.
pub const AES_BLOCK: usize = 16;
/// One block.
pub type Block = [u8; AES_BLOCK];

/// An AES key of 16, 24 or 32 bytes, erased on drop. No `Debug`, no `Clone`.
pub struct AesKey(Zeroizing<Vec<u8>>);

/// Evaluates an expression with `$cipher` as the type of the key's size, keyed anew: with the processor's own
/// instructions that costs less than to carry three types of schedule along.
macro_rules! with {
    ($key:expr, $cipher:ident => $do:expr) => {
        match $key.0.len() {
            16 => {
                type $cipher = Aes128;
                $do
            }
            24 => {
                type $cipher = Aes192;
                $do
            }
            _ => {
                type $cipher = Aes256;
                $do
            }
        }
    };
}

impl AesKey {
    /// Takes a key.
    ///
    /// # Errors
    /// [`CryptoError::WrongLength`]: not 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, CryptoError> {
        match key.len() {
            16 | 24 | 32 => Ok(Self(Zeroizing::new(key.to_vec()))),
            _ => Err(CryptoError::WrongLength),
        }
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// One block, encrypted.
    pub fn encrypt_block(&self, mut block: Block) -> Block {
        self.encrypt(&[0; AES_BLOCK], &mut block).expect("a whole block");
        block
    }

    /// Encrypts whole blocks in place by CBC.
    ///
    /// # Errors
    /// [`CryptoError::WrongLength`]: they do not end with a block.
    pub fn encrypt(&self, iv: &Block, bytes: &mut [u8]) -> Result<(), CryptoError> {
        let blocks = whole_blocks(bytes)?;
        with!(self, Cipher => {
            let mode = cbc::Encryptor::<Cipher>::new_from_slices(&self.0, iv);
            mode.expect("a key that was checked").encrypt_blocks(blocks);
        });
        Ok(())
    }

    /// Decrypts whole blocks in place by CBC.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn decrypt(&self, iv: &Block, bytes: &mut [u8]) -> Result<(), CryptoError> {
        let blocks = whole_blocks(bytes)?;
        with!(self, Cipher => {
            let mode = cbc::Decryptor::<Cipher>::new_from_slices(&self.0, iv);
            mode.expect("a key that was checked").decrypt_blocks(blocks);
        });
        Ok(())
    }

    /// The whole CMAC over the parts, one after the other.
    pub fn cmac(&self, parts: &[&[u8]]) -> Block {
        with!(self, Cipher => {
            let mut mac = <Cmac<Cipher> as KeyInit>::new_from_slice(&self.0).expect("a key that was checked");
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().into()
        })
    }

    /// Fills `derived` from this key (SP 800-108 in counter mode, laid out as in GlobalPlatform Amendment D, 4.1.5):
    /// eleven zeros and the constant as label, a zero, the length in bits, the counter, the context.
    ///
    /// # Panics
    /// If `derived` is longer than 4 KiB.
    pub fn derive(&self, constant: u8, context: &[u8], derived: &mut [u8]) {
        let bits = u16::try_from(8 * derived.len()).expect("keys and challenges are short").to_be_bytes();
        for (counter, piece) in (1..).zip(derived.chunks_mut(AES_BLOCK)) {
            let block = Zeroizing::new(self.cmac(&[&[0; 11], &[constant, 0], &bits, &[counter], context]));
            piece.copy_from_slice(&block[..piece.len()]);
        }
    }
}

type Blocks = [Array<u8, ::aes::cipher::consts::U16>];

fn whole_blocks(bytes: &mut [u8]) -> Result<&mut Blocks, CryptoError> {
    match Array::slice_as_chunks_mut(bytes) {
        (blocks, []) => Ok(blocks),
        _ => Err(CryptoError::WrongLength),
    }
}
