//! Cards that are revoked: none of them is spoken to. What the authority says of a card comes by the host, who can keep it
//! back: without an answer the terminal goes on and says so. A card that was once seen revoked stays refused.

use std::time::SystemTime;

use super::{
    certificate::Identity,
    flow::{PairingError, Pairings},
    ocsp::{self, Status},
    scp03::DIVERSIFICATION,
};

/// Refuses a card that is revoked, or was.
///
/// # Errors
/// [`PairingError::Revoked`]
pub async fn refuse(
    card: &[u8; DIVERSIFICATION],
    serial: &[u8],
    identity: &Identity,
    pairings: &mut impl Pairings,
) -> Result<(), PairingError> {
    if pairings.is_revoked(card, Some(serial))? {
        return Err(PairingError::Revoked);
    }
    let Some(response) = pairings.status(serial).await else { return Ok(()) };
    match ocsp::status(&identity.card_authority, serial, &response, SystemTime::now()) {
        Ok(Status::Good) => Ok(()),
        Ok(Status::Revoked) => {
            pairings.revoke(card, serial)?;
            Err(PairingError::Revoked)
        }
        Err(error) => {
            tracing::warn!(%error, "what the host says of the card's revocation is not usable");
            Ok(())
        }
    }
}
