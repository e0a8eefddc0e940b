//! Bearer tokens: 256 random bits, shown once, stored as their SHA-256.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::password::random;

/// A token's stored form. Finding it by equality leaks nothing useful: its preimage is uniformly random.
pub type TokenHash = [u8; 32];

/// A token as its owner holds it. No `Debug`.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new token.
    pub fn generate() -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(random::<32>())))
    }

    /// Its text: 43 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its stored form.
    pub fn hash(&self) -> TokenHash {
        hash(&self.0)
    }
}

/// The stored form of a token's text.
pub fn hash(text: &str) -> TokenHash {
    Sha256::digest(text).into()
}
