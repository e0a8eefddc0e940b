//! The card's first PIN, PUK and keys on their way to the user.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{error::Error, host::Host, output::Output, state::write_private};

/// Text that is secret: erased on drop, never in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Zeroizing<String>> for SecretText {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

/// What the card made for itself because the user had not chosen it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Secrets {
    /// PIN, digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<SecretText>,
    /// PUK, digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub puk: Option<SecretText>,
    /// Management key, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management_key: Option<SecretText>,
    /// The issuer security domain's first key set: ENC, MAC and DEK, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_domain_keys: Option<SecretText>,
    /// The same of the second secure element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_security_domain_keys: Option<SecretText>,
}

impl Secrets {
    /// Hands the secrets to the user, in a new file (0600) or on standard output; only then has the host erase them.
    pub async fn deliver(
        &self,
        host: &Host,
        terminal: &str,
        file: Option<&Path>,
        output: &Output,
    ) -> Result<(), Error> {
        match file {
            Some(path) => self.write(path)?,
            None => output.show(&serde_json::json!({ "secrets": self }), || self.text().to_string()),
        }
        host.delete(&path(terminal)).await?;
        Ok(())
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        let json = Zeroizing::new(serde_json::to_vec_pretty(self).expect("plain structures are JSON"));
        write_private(path, &json).map_err(|source| Error::Write { path: path.into(), source })
    }

    fn text(&self) -> Zeroizing<String> {
        let lines = [
            ("PIN", &self.pin),
            ("PUK", &self.puk),
            ("management key", &self.management_key),
            ("SCP03 keys, FF", &self.security_domain_keys),
            ("SCP03, second", &self.second_security_domain_keys),
        ];
        let mut text = Zeroizing::new(String::from("shown once, keep them:"));
        for (name, secret) in lines {
            if let Some(secret) = secret {
                text.push_str(&format!("\n  {name:<15} {}", secret.as_str()));
            }
        }
        text
    }
}

/// Where the host keeps a terminal's secrets until they are acknowledged.
pub fn path(terminal: &str) -> [&str; 4] {
    ["v1", "terminals", terminal, "secrets"]
}
