//! How many cards there may be, in all and of one user.
//!
//! Checked in the transaction that writes a creation down. What others have begun counts as well, so that two creations
//! cannot both take the last place.

use rusqlite::{Transaction, params};

use crate::auth::name::Name;

/// How many cards there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// In all, live and parked.
    pub cards: u32,
    /// Of the terminals of one user.
    pub of_user: Option<u32>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { cards: 1_000_000, of_user: None }
    }
}

/// Whether a terminal may get a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Admitted,
    /// There are as many cards as there may be.
    TooMany {
        /// So many.
        most: u32,
    },
    /// The terminal's user has as many cards as one may have.
    TooManyOfUser {
        /// So many.
        most: u32,
    },
}

/// All cards, and the creations of others under way whose card is still to come.
const TOTAL: &str = "SELECT cards + (SELECT count(DISTINCT terminal) FROM intents WHERE terminal <> ?1
        AND NOT EXISTS (SELECT 1 FROM cards WHERE cards.terminal = intents.terminal))
    FROM totals";
/// The same of this terminal's user, counted no further than to a bound.
const OF_USER: &str = "SELECT count(*) FROM (SELECT 1 FROM terminals
    WHERE owner = (SELECT owner FROM terminals WHERE name = ?1) AND name <> ?1
        AND (EXISTS (SELECT 1 FROM cards WHERE cards.terminal = terminals.name)
            OR EXISTS (SELECT 1 FROM intents WHERE intents.terminal = terminals.name))
    LIMIT ?2)";

/// Whether this terminal, which has no card, may get one.
pub fn admit(transaction: &Transaction<'_>, terminal: &Name, quotas: Quotas) -> rusqlite::Result<Verdict> {
    if total(transaction, terminal)? >= quotas.cards {
        return Ok(Verdict::TooMany { most: quotas.cards });
    }
    match quotas.of_user {
        Some(most) if of_user(transaction, terminal, most)? >= most => Ok(Verdict::TooManyOfUser { most }),
        _ => Ok(Verdict::Admitted),
    }
}

fn total(transaction: &Transaction<'_>, terminal: &Name) -> rusqlite::Result<u32> {
    transaction.prepare_cached(TOTAL)?.query_row([terminal], |row| row.get(0))
}

fn of_user(transaction: &Transaction<'_>, terminal: &Name, most: u32) -> rusqlite::Result<u32> {
    transaction.prepare_cached(OF_USER)?.query_row(params![terminal, most], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, cards, pairing_keys, terminals};

    /// How SQLite goes about a statement.
    async fn plan(store: &Store, sql: String) -> String {
        let read = move |connection: &rusqlite::Connection| {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let unbound = vec![rusqlite::types::Null; statement.parameter_count()];
            let steps = statement.query_map(rusqlite::params_from_iter(unbound), |row| row.get(3))?;
            Ok(steps.collect::<rusqlite::Result<Vec<String>>>()?.join("; "))
        };
        store.read(read).await.unwrap()
    }

    /// With a million cards a page, a reconciliation and a creation cost what they cost with ten.
    #[tokio::test]
    async fn no_statement_walks_through_all_cards_or_terminals() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db")).unwrap();
        for sql in [
            cards::list_sql(),
            cards::ending_sql(),
            pairing_keys::DUE.into(),
            terminals::LIST.into(),
            terminals::LIST_OF_OWNER.into(),
            TOTAL.into(),
            OF_USER.into(),
        ] {
            let plan = plan(&store, sql.clone()).await;
            for table in ["cards", "terminals", "keys"] {
                assert!(!plan.contains(&format!("SCAN {table}")), "{sql}: {plan}");
            }
            assert!(plan.contains("SEARCH"), "{sql}: {plan}");
            assert!(!sql.contains("ORDER BY") || !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }
}
