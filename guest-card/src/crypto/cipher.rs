//! The block ciphers of PIV's management key (SP 800-78-5, table 6-1).

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};
use des::TdesEde3;

use super::CryptoError;

/// A block cipher of the management key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherAlgorithm {
    /// Three-key Triple DES, 24 bytes of key; only for clients that know no other.
    TripleDes,
    /// AES, 16 bytes of key.
    Aes128,
    /// AES, 24 bytes of key.
    Aes192,
    /// AES, 32 bytes of key.
    Aes256,
}

impl CipherAlgorithm {
    /// The key's length in bytes.
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::TripleDes | Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// The block's length in bytes.
    pub const fn block_length(self) -> usize {
        match self {
            Self::TripleDes => 8,
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
        }
    }
}

/// A keyed block cipher, its schedule erased on drop.
pub struct BlockCipher(Kind);

enum Kind {
    TripleDes(TdesEde3),
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl BlockCipher {
    /// Takes a key of exactly [`CipherAlgorithm::key_length`] bytes.
    pub fn new(algorithm: CipherAlgorithm, key: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(match algorithm {
            CipherAlgorithm::TripleDes => Kind::TripleDes(keyed(key)?),
            CipherAlgorithm::Aes128 => Kind::Aes128(keyed(key)?),
            CipherAlgorithm::Aes192 => Kind::Aes192(keyed(key)?),
            CipherAlgorithm::Aes256 => Kind::Aes256(keyed(key)?),
        }))
    }

    /// Encrypts one block in place.
    pub fn encrypt(&self, block: &mut [u8]) -> Result<(), CryptoError> {
        match &self.0 {
            Kind::TripleDes(cipher) => encrypt(cipher, block),
            Kind::Aes128(cipher) => encrypt(cipher, block),
            Kind::Aes192(cipher) => encrypt(cipher, block),
            Kind::Aes256(cipher) => encrypt(cipher, block),
        }
    }

    /// Decrypts one block in place.
    pub fn decrypt(&self, block: &mut [u8]) -> Result<(), CryptoError> {
        match &self.0 {
            Kind::TripleDes(cipher) => decrypt(cipher, block),
            Kind::Aes128(cipher) => decrypt(cipher, block),
            Kind::Aes192(cipher) => decrypt(cipher, block),
            Kind::Aes256(cipher) => decrypt(cipher, block),
        }
    }
}

fn keyed<C: KeyInit>(key: &[u8]) -> Result<C, CryptoError> {
    C::new_from_slice(key).map_err(|_| CryptoError::WrongLength)
}

fn encrypt(cipher: &impl BlockCipherEncrypt, block: &mut [u8]) -> Result<(), CryptoError> {
    let block = <&mut Array<u8, _>>::try_from(block).map_err(|_| CryptoError::WrongLength)?;
    cipher.encrypt_block(block);
    Ok(())
}

fn decrypt(cipher: &impl BlockCipherDecrypt, block: &mut [u8]) -> Result<(), CryptoError> {
    let block = <&mut Array<u8, _>>::try_from(block).map_err(|_| CryptoError::WrongLength)?;
    cipher.decrypt_block(block);
    Ok(())
}
