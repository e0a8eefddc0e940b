//! Terminals and the users they are assigned to.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::{Store, StoreError, devices};
use crate::{
    audit::{Action, Audit, Entry},
    auth::name::Name,
};

pub(super) const LIST: &str = "SELECT name, owner FROM terminals WHERE name > ?1 ORDER BY name LIMIT ?2";
pub(super) const LIST_OF_OWNER: &str =
    "SELECT name, owner FROM terminals WHERE owner = ?3 AND name > ?1 ORDER BY name LIMIT ?2";

/// A terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Its name.
    pub name: Name,
    /// The user it is assigned to.
    pub owner: Name,
}

/// What [`Terminals::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// The terminal is new.
    Made,
    /// It was there and is assigned to this user now.
    Changed,
    /// Refused: no such user.
    UnknownOwner,
}

/// What [`Terminals::delete`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The terminal and its devices are gone.
    Done,
    /// There was none.
    Absent,
    /// Refused: it has a card.
    HasCard,
}

/// The table of terminals. Every change is an entry of the audit log.
#[derive(Clone)]
pub struct Terminals {
    store: Store,
    audit: Audit,
}

impl Terminals {
    /// The terminals in this store.
    pub const fn new(store: Store, audit: Audit) -> Self {
        Self { store, audit }
    }

    /// At most `limit` terminals after this name, of this owner or of all, by name.
    pub async fn list(
        &self,
        owner: Option<Name>,
        after: String,
        limit: u32,
    ) -> Result<Vec<Terminal>, StoreError> {
        self.store
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached(if owner.is_some() { LIST_OF_OWNER } else { LIST })?;
                match owner {
                    Some(owner) => statement.query_map(params![after, limit, owner], terminal)?.collect(),
                    None => statement.query_map(params![after, limit], terminal)?.collect(),
                }
            })
            .await
    }

    /// The user this terminal is assigned to, `None` if there is no such terminal.
    pub async fn owner(&self, name: &Name) -> Result<Option<Name>, StoreError> {
        let name = name.clone();
        self.store
            .read(move |connection| {
                let sql = "SELECT owner FROM terminals WHERE name = ?1";
                connection.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()
            })
            .await
    }

    /// Makes a terminal or assigns it to another user, at the wish of `by`.
    pub async fn put(&self, by: Name, terminal: Terminal) -> Result<Assignment, StoreError> {
        let audit = self.audit.clone();
        self.store
            .write(move |transaction| {
                let done = put(transaction, &terminal)?;
                if done != Assignment::UnknownOwner {
                    let entry = Entry::new(Action::TerminalPut).terminal(&terminal.name);
                    audit.append(transaction, &entry.detail("owner", &terminal.owner).user(&by))?;
                }
                Ok(done)
            })
            .await
    }

    /// Removes a terminal that has no card, at the wish of `by`.
    pub async fn delete(&self, by: Name, name: Name) -> Result<Removal, StoreError> {
        let audit = self.audit.clone();
        self.store
            .write(move |transaction| {
                let done = delete(transaction, &name)?;
                if done == Removal::Done {
                    let entry = Entry::new(Action::TerminalDeleted).terminal(&name);
                    audit.append(transaction, &entry.user(&by))?;
                }
                Ok(done)
            })
            .await
    }
}

fn put(transaction: &Transaction<'_>, terminal: &Terminal) -> rusqlite::Result<Assignment> {
    if !exists(transaction, "SELECT EXISTS (SELECT 1 FROM users WHERE name = ?1)", &terminal.owner)? {
        return Ok(Assignment::UnknownOwner);
    }
    let existed = is_terminal(transaction, &terminal.name)?;
    transaction.execute(
        "INSERT INTO terminals (name, owner) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET owner = excluded.owner",
        params![terminal.name, terminal.owner],
    )?;
    Ok(if existed { Assignment::Changed } else { Assignment::Made })
}

fn delete(transaction: &Transaction<'_>, name: &Name) -> rusqlite::Result<Removal> {
    if !is_terminal(transaction, name)? {
        return Ok(Removal::Absent);
    }
    if exists(transaction, "SELECT EXISTS (SELECT 1 FROM cards WHERE terminal = ?1)", name)? {
        return Ok(Removal::HasCard);
    }
    transaction.execute(
        "DELETE FROM sessions WHERE device IN (SELECT fingerprint FROM devices WHERE terminal = ?1)",
        [name],
    )?;
    devices::delete_all(transaction, name)?;
    transaction.execute("DELETE FROM terminals WHERE name = ?1", [name])?;
    Ok(Removal::Done)
}

fn is_terminal(transaction: &Transaction<'_>, name: &Name) -> rusqlite::Result<bool> {
    exists(transaction, "SELECT EXISTS (SELECT 1 FROM terminals WHERE name = ?1)", name)
}

fn exists(transaction: &Transaction<'_>, sql: &str, name: &Name) -> rusqlite::Result<bool> {
    transaction.query_row(sql, [name], |row| row.get(0))
}

fn terminal(row: &Row<'_>) -> rusqlite::Result<Terminal> {
    Ok(Terminal { name: row.get(0)?, owner: row.get(1)? })
}
