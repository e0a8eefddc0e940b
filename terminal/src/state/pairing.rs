//! What pairing needs: the terminal's certified key, and the key sets that it shares with cards.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{State, StateError, json, parse_versioned, read_optional};
use crate::pairing::{
    certificate::Identity,
    scp03::{DIVERSIFICATION, KeySet},
};

/// Format of `pairings.json` that this version writes.
const VERSION: u32 = 1;

/// The key sets that this terminal shares with cards.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairings {
    version: u32,
    pairings: Vec<Pairing>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pairing {
    /// The card's key diversification data.
    #[serde(with = "hex")]
    card: [u8; DIVERSIFICATION],
    set: KeySet,
}

impl Default for Pairings {
    fn default() -> Self {
        Self { version: VERSION, pairings: Vec::new() }
    }
}

impl Pairings {
    /// The key set shared with a card.
    pub fn find(&self, card: &[u8; DIVERSIFICATION]) -> Option<&KeySet> {
        self.pairings.iter().find(|pairing| pairing.card == *card).map(|pairing| &pairing.set)
    }

    /// Adds a key set, in place of an earlier one with the same card.
    pub fn keep(&mut self, card: &[u8; DIVERSIFICATION], set: KeySet) {
        self.forget(card);
        self.pairings.push(Pairing { card: *card, set });
    }

    /// Removes the key set shared with a card.
    pub fn forget(&mut self, card: &[u8; DIVERSIFICATION]) {
        self.pairings.retain(|pairing| pairing.card != *card);
    }
}

impl State {
    /// The pairing key, PEM, if one was made.
    pub fn pairing_key(&self) -> Result<Option<Zeroizing<String>>, StateError> {
        Ok(read_optional(&self.directory.join("pairing.key"))?.map(Zeroizing::new))
    }

    /// Keeps a new pairing key.
    pub fn put_pairing_key(&self, pem: &str) -> Result<(), StateError> {
        self.write("pairing.key", pem.as_bytes())
    }

    /// What this terminal pairs itself with, if the authority has certified it.
    pub fn pairing_identity(&self) -> Result<Option<Identity>, StateError> {
        let path = self.directory.join("pairing.pem");
        let (Some(key), Some(certificate)) = (self.pairing_key()?, read_optional(&path)?) else {
            return Ok(None);
        };
        let authority = read_optional(&self.directory.join("authority.pem"))?.unwrap_or_default();
        let identity = Identity::from_pem(&key, &certificate, &authority);
        identity.map(Some).ok_or(StateError::Damaged(path))
    }

    /// Keeps the pairing key's certificate and the cards' authority's, both PEM.
    pub fn put_pairing_certificates(
        &self,
        certificate: &str,
        card_authority: &str,
    ) -> Result<(), StateError> {
        self.write("authority.pem", card_authority.as_bytes())?;
        self.write("pairing.pem", certificate.as_bytes())
    }

    /// The pairings with cards.
    pub fn pairings(&self) -> Result<Pairings, StateError> {
        let path = self.directory.join("pairings.json");
        match read_optional(&path)?.map(Zeroizing::new) {
            Some(text) => parse_versioned(&path, &text, VERSION),
            None => Ok(Pairings::default()),
        }
    }

    /// Replaces the pairings with cards.
    pub fn put_pairings(&self, pairings: &Pairings) -> Result<(), StateError> {
        self.write("pairings.json", json(pairings).as_bytes())
    }
}
