//! Cards whose stored state is not the last that the anchor knows.

use super::{
    CardError, Cards,
    entry::{Entry, Standing},
    refused::Refused,
};
use crate::{
    anchor::Rollback,
    auth::name::Name,
    store::{
        StoreError,
        cards::{self, CardRecord},
    },
};

impl Cards {
    /// The terminal's card was refused for an old state that was put back; this is its state from now on. `by` answers
    /// for it in the audit log.
    pub async fn restore(&self, terminal: &Name, by: &Name) -> Result<(), CardError> {
        let entry = self.hold(terminal);
        let _one_at_a_time = entry.starting.lock().await;
        let name = terminal.clone();
        let found = self.store().read(move |connection| cards::find(connection, &name)).await?;
        let card = found.ok_or(CardError::Absent)?;
        self.guard().check(&card).await?.ok_or(CardError::NotRolledBack)?;
        self.guard().restore(&card, by).await?;
        entry.no_longer_rolled_back();
        Ok(self.refresh(&entry).await?)
    }

    /// Refuses a card at rest whose stored state was put back, and tells its channels.
    pub(super) async fn admit(&self, entry: &Entry, card: &CardRecord) -> Result<(), CardError> {
        match self.rolled_back(entry, card).await? {
            Some(rollback) => Err(CardError::Refused(Refused::RolledBack(rollback))),
            None => Ok(()),
        }
    }

    /// How the stored state of a card at rest contradicts the anchor, if it does; its channels are told.
    pub(super) async fn rolled_back(
        &self,
        entry: &Entry,
        card: &CardRecord,
    ) -> Result<Option<Rollback>, StoreError> {
        if entry.running().is_some() {
            return Ok(None);
        }
        let rollback = self.guard().check(card).await?;
        if let Some(rollback) = rollback {
            let why = Refused::RolledBack(rollback);
            entry.refuse(why);
            entry.presence.send_if_modified(|presence| presence.withdraw(why.reason()));
        }
        Ok(rollback)
    }
}

impl Entry {
    /// A card at rest is refused; one that runs by now was not.
    fn refuse(&self, why: Refused) {
        let mut standing = self.standing();
        if !matches!(*standing, Standing::Live(_)) {
            *standing = Standing::Refused(why);
        }
    }

    fn no_longer_rolled_back(&self) {
        let mut standing = self.standing();
        if matches!(*standing, Standing::Refused(Refused::RolledBack(_))) {
            *standing = Standing::AtRest;
        }
    }
}
