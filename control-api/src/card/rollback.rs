//! Cards whose stored state is not the last that the anchor knows.

use super::{CardError, Cards};
use crate::{auth::name::Name, store::cards};

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
        entry.no_longer_refused();
        Ok(self.refresh(&entry).await?)
    }
}
