//! Cards as operators see them.

use std::time::Duration;

use cardhost_wire::{launch::Isolation, link::Statistics};
use futures_util::future::join_all;
use tokio::{sync::oneshot, time};

use super::{CardError, Cards, Refused, entry::Standing, task::Mail};
use crate::{
    auth::name::Name,
    store::cards::{self, CardRecord},
};

/// How long a card's process may take to tell its counters.
const STATISTICS_TIMEOUT: Duration = Duration::from_secs(1);

/// A card as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardStatus {
    /// Its terminal.
    pub terminal: Name,
    /// Its process, if it is live.
    pub pid: Option<u32>,
    /// Resident memory of the guest, KiB, if it is live.
    pub memory_kib: Option<u64>,
    /// Why it is refused, if so.
    pub refused: Option<Refused>,
    /// Its credentials.
    pub credentials: u32,
    /// SHA-256 of the guest image that wrote its state last.
    pub image: [u8; 32],
    /// SHA-256 of the guest image that it runs under, or would, if that is another one.
    pub runs_under: Option<[u8; 32]>,
    /// What keeps it apart when it runs.
    pub isolation: Isolation,
}

impl Cards {
    /// The terminal's card as operators see it, `None` if it has none.
    pub async fn status(&self, terminal: &Name) -> Result<Option<CardStatus>, CardError> {
        let name = terminal.clone();
        let found = self.store().read(move |connection| {
            let Some(card) = cards::find(connection, &name)? else { return Ok(None) };
            let credentials = cards::count_credentials(connection, &card.card)?;
            Ok(Some((card, credentials)))
        });
        let Some((card, credentials)) = found.await? else { return Ok(None) };
        let mut status = self.describe(card, credentials).await?;
        status.memory_kib = self.memory_kib(terminal).await;
        Ok(Some(status))
    }

    /// At most `limit` cards of the terminals after this name, without their memory.
    pub async fn list(&self, after: String, limit: u32) -> Result<Vec<CardStatus>, CardError> {
        let read = self.store().read(move |connection| {
            let found = cards::list(connection, &after, limit)?;
            let count = |card: CardRecord| {
                let credentials = cards::count_credentials(connection, &card.card)?;
                Ok((card, credentials))
            };
            found.into_iter().map(count).collect::<rusqlite::Result<Vec<_>>>()
        });
        let mut statuses = Vec::new();
        for (card, credentials) in read.await? {
            statuses.push(self.describe(card, credentials).await?);
        }
        Ok(statuses)
    }

    /// Asks the live ones among these cards for their memory, all at once.
    pub async fn with_memory(&self, statuses: Vec<CardStatus>) -> Vec<CardStatus> {
        let ask = async |status: CardStatus| match status.pid {
            Some(_) => CardStatus { memory_kib: self.memory_kib(&status.terminal).await, ..status },
            None => status,
        };
        join_all(statuses.into_iter().map(ask)).await
    }

    async fn describe(&self, card: CardRecord, credentials: u32) -> Result<CardStatus, CardError> {
        let (pid, mut refused) = self.standing(&card.terminal);
        if pid.is_none() {
            // Also where nobody has used the card since.
            refused = self.objection(&card).await?.or(refused.filter(|why| !why.is_found_again()));
        }
        let (terminal, image, isolation) = (card.terminal, card.measurement, self.isolation());
        let runs_under = Some(self.launcher().measurement()).filter(|now| *now != image && refused.is_none());
        Ok(CardStatus { terminal, pid, memory_kib: None, refused, credentials, image, runs_under, isolation })
    }

    fn standing(&self, terminal: &Name) -> (Option<u32>, Option<Refused>) {
        let known = self.entries().get(terminal).cloned();
        known.map_or((None, None), |entry| match &*entry.standing() {
            Standing::Live(live) if live.is_running() => (Some(live.pid), None),
            Standing::Refused(why) => (None, Some(*why)),
            Standing::AtRest | Standing::Live(_) => (None, None),
        })
    }

    async fn memory_kib(&self, terminal: &Name) -> Option<u64> {
        let live = self.entries().get(terminal).cloned()?.running()?;
        let (reply, answered) = oneshot::channel();
        live.tell(Mail::Statistics { reply }).await.ok()?;
        let Statistics { resident_pages, .. } =
            time::timeout(STATISTICS_TIMEOUT, answered).await.ok()?.ok()?;
        Some(resident_pages.saturating_mul(4))
    }
}
