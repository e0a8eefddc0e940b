//! Parking: a live card becomes only its sealed state again. Its next use starts it.
//!
//! A card whose guest reports no session state equals, for every terminal, the same card started anew: it may park
//! while channels are open, and they see nothing. One with session state parks only by an operator's word, and its
//! channels see a reset.

use std::sync::Arc;

use cardhost_wire::control::SessionState;

use super::{CardError, Cards, live::Live, task::End};
use crate::auth::name::Name;

impl Cards {
    /// Parks the terminal's card; false if it is not live. A card that is in use or in session is parked only if
    /// `insist`: after the exchanges under way, and its channels see a reset.
    pub async fn park(&self, terminal: &Name, insist: bool) -> Result<bool, CardError> {
        let Some(entry) = self.known(terminal) else { return Ok(false) };
        let _one_at_a_time = entry.starting.lock().await;
        match entry.running() {
            Some(live) => self.rest(&live, insist).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Parks a card, or says why not: [`CardError::Busy`], [`CardError::InSession`].
    pub(super) async fn rest(&self, live: &Arc<Live>, insist: bool) -> Result<(), CardError> {
        let reserved = match insist {
            true => live.reserve_in_turn().await.ok_or(CardError::Stopped)?,
            false => live.reserve().ok_or(CardError::Busy)?,
        };
        let end = match live.session_state(&reserved).await? {
            SessionState::None if live.is_wanted() && !insist => return Err(CardError::Busy),
            SessionState::None => End::Parked,
            SessionState::Held if insist => End::Told,
            SessionState::Held => {
                live.set_aside(&reserved);
                return Err(CardError::InSession);
            }
        };
        reserved.forget();
        live.close();
        live.stop(end).await;
        metrics::counter!("cardhost_cards_parked_total").increment(1);
        Ok(())
    }
}
