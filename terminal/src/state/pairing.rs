//! What pairing needs: the terminal's certified key, the key sets that it shares with cards, and which cards are revoked.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{State, StateError, json, parse_versioned, read_optional};
use crate::pairing::{
    certificate::Identity,
    flow::Known,
    scp03::{DIVERSIFICATION, KeySet},
};

/// Format of `pairings.json` that this version writes. Version 1 has neither certificates nor revoked cards.
const VERSION: u32 = 2;

/// The pairings of this terminal with cards, and the cards that it refuses.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairings {
    version: u32,
    pairings: Vec<Pairing>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<Revoked>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pairing {
    /// The card's key diversification data.
    #[serde(with = "hex")]
    card: [u8; DIVERSIFICATION],
    /// Serial number of the certificate that the card showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Serial>,
    set: KeySet,
}

/// A card that was seen revoked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked {
    #[serde(with = "hex")]
    card: [u8; DIVERSIFICATION],
    certificate: Serial,
}

/// A serial number.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Serial(#[serde(with = "hex")] Vec<u8>);

impl Default for Pairings {
    fn default() -> Self {
        Self { version: VERSION, pairings: Vec::new(), revoked: Vec::new() }
    }
}

impl Pairings {
    /// The pairing with a card.
    pub fn find(&self, card: &[u8; DIVERSIFICATION]) -> Option<Known> {
        let found = self.pairings.iter().find(|pairing| pairing.card == *card)?;
        let serial = found.certificate.as_ref().map(|Serial(serial)| serial.clone());
        Some(Known { set: found.set.clone(), serial })
    }

    /// Adds a pairing, in place of an earlier one with the same card.
    pub fn keep(&mut self, card: &[u8; DIVERSIFICATION], known: &Known) {
        self.forget(card);
        let certificate = known.serial.clone().map(Serial);
        self.pairings.push(Pairing { card: *card, certificate, set: known.set.clone() });
    }

    /// Removes the pairing with a card.
    pub fn forget(&mut self, card: &[u8; DIVERSIFICATION]) {
        self.pairings.retain(|pairing| pairing.card != *card);
    }

    /// True if this card, or the certificate with this serial number, was seen revoked.
    pub fn is_revoked(&self, card: &[u8; DIVERSIFICATION], serial: Option<&[u8]>) -> bool {
        let is = |revoked: &Revoked| revoked.card == *card || serial == Some(&revoked.certificate.0[..]);
        self.revoked.iter().any(is)
    }

    /// Removes the pairing with a card that is revoked, and refuses it from now on.
    pub fn revoke(&mut self, card: &[u8; DIVERSIFICATION], serial: &[u8]) {
        self.forget(card);
        self.revoked.push(Revoked { card: *card, certificate: Serial(serial.into()) });
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
            Some(text) => {
                let pairings: Pairings = parse_versioned(&path, &text, VERSION)?;
                Ok(Pairings { version: VERSION, ..pairings })
            }
            None => Ok(Pairings::default()),
        }
    }

    /// Replaces the pairings with cards.
    pub fn put_pairings(&self, pairings: &Pairings) -> Result<(), StateError> {
        self.write("pairings.json", json(pairings).as_bytes())
    }
}
