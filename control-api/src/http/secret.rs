//! Text that is secret: erased on drop, never printed.

use cardhost_wire::key::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::auth::token::Token;

/// A password, PIN or token in JSON.
#[derive(Clone, ToSchema)]
#[schema(value_type = String)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText")
    }
}

impl From<Token> for SecretText {
    fn from(token: Token) -> Self {
        Self(Zeroizing::new(token.as_str().into()))
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<SecretText> for Secret {
    fn from(text: SecretText) -> Self {
        Self(text.0.as_bytes().to_vec())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
