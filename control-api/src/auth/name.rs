//! Names of users and terminals.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Longest name, bytes.
const MAX: usize = 64;

/// A user's or a terminal's name: 1 to 64 of `a-z A-Z 0-9 . _ @ -`, the first one a letter or a digit.
///
/// It stands in paths, certificates and logs, so nothing in it ever needs quoting.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 of a-z A-Z 0-9 . _ @ - and begins with a letter or a digit")]
pub struct MalformedName;

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the name: a card's key and state are bound to it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

impl FromStr for Name {
    type Err = MalformedName;

    fn from_str(text: &str) -> Result<Self, MalformedName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        let well_begun = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if well_begun && text.len() <= MAX && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(MalformedName)
        }
    }
}

impl TryFrom<String> for Name {
    type Error = MalformedName;

    fn try_from(text: String) -> Result<Self, MalformedName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_names() {
        for good in ["a", "till-7", "alice@example.org", "9.b_c"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".", "a b", "a/b", "ä", "a\0", &"a".repeat(65)] {
            assert_eq!(bad.parse::<Name>(), Err(MalformedName), "{bad}");
        }
    }
}
