//! The revocation list of terminals on its way to the cards; renewed certificates of cards go the same way.
//!
//! ```text
//! at the start, each hour, after a terminal's revocation ─▶ fetched ─newer─▶ stored ─▶ live cards at once,
//!                                 ▲ failed: growing pauses │                           others at their next start
//!                                 └────────────────────────┘
//! ```

use std::time::Duration;

use tokio::{sync::watch, time};

use super::{
    LifeCycle, LifeCycleError,
    reconcile::{FIRST_PAUSE, LONGEST_PAUSE},
};
use crate::{
    pki::{MAX_ENTRIES, RevocationList},
    server,
    store::{StoreError, revocation_list},
};

/// Between two fetches when nothing happens.
const ROUND: Duration = Duration::from_secs(60 * 60);

impl LifeCycle {
    /// Has the cards follow the list that was stored last.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn recall_revocations(&self) -> Result<(), StoreError> {
        if let Some(list) = self.0.store.read(revocation_list::find).await? {
            tell_length(&list);
            self.0.cards.follow(list);
        }
        Ok(())
    }

    /// Keeps the cards up to date until `end` turns true.
    pub async fn follow_pairing(&self, mut end: watch::Receiver<bool>) {
        if !self.0.authority.offers_pairing() {
            return;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let followed = tokio::select! {
                followed = self.follow_once() => followed,
                () = server::ended(&mut end) => return,
            };
            let rest = match followed {
                Ok(has_more) => {
                    pause = FIRST_PAUSE;
                    if has_more { FIRST_PAUSE } else { ROUND }
                }
                Err(error) => {
                    tracing::warn!(%error, "what the authority says about pairing is not followed yet");
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    pause
                }
            };
            tokio::select! {
                () = self.0.terminal_revoked.notified() => {}
                () = time::sleep(rest) => {}
                () = server::ended(&mut end) => return,
            }
        }
    }

    /// True if there is more to do at once.
    async fn follow_once(&self) -> Result<bool, LifeCycleError> {
        self.fetch_revocations().await?;
        let authorities = self.0.authority.pairing_authorities().await;
        if let Ok(authorities) = &authorities {
            self.0.cards.know(authorities.clone());
        }
        // Also with what a card did not take before.
        self.0.cards.bring_all_up_to_date().await;
        self.renew_pairing_certificates(&authorities?).await
    }

    async fn fetch_revocations(&self) -> Result<(), LifeCycleError> {
        let list = self.0.authority.pairing_crl().await?;
        let (number, kept) = (list.number, list.clone());
        let newer = self.0.store.write(move |transaction| revocation_list::keep(transaction, &kept)).await?;
        if newer {
            tracing::info!(number, "a newer revocation list for pairing");
            tell_length(&list);
            self.0.cards.follow(list);
        }
        Ok(())
    }
}

fn tell_length(list: &RevocationList) {
    let entries = list.entries();
    metrics::gauge!("cardhost_pairing_revocations").set(entries as f64);
    if entries > MAX_ENTRIES {
        tracing::error!(
            entries,
            "the revocation list for pairing is longer than cards take: they keep their last one"
        );
    }
}
