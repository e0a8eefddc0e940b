//! The authorised users.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::{Store, StoreError};
use crate::{
    audit::{Action, Audit, Entry},
    auth::{Role, name::Name},
};

/// A user, without the password's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: Name,
    /// What it may do.
    pub role: Role,
}

/// What [`Users::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// The user is new.
    Made,
    /// It has another password and role now, and no session.
    Changed,
    /// Refused: no administrator would be left.
    LastAdministrator,
}

/// What [`Users::delete`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The user and its sessions are gone.
    Done,
    /// There was none.
    Absent,
    /// Refused: terminals are assigned to it.
    OwnsTerminals,
    /// Refused: no administrator would be left.
    LastAdministrator,
}

/// The table of users. Every change is an entry of the audit log.
#[derive(Clone)]
pub struct Users {
    store: Store,
    audit: Audit,
}

impl Users {
    /// The users in this store.
    pub const fn new(store: Store, audit: Audit) -> Self {
        Self { store, audit }
    }

    /// At most `limit` users after this name, by name.
    pub async fn list(&self, after: String, limit: u32) -> Result<Vec<User>, StoreError> {
        self.store
            .read(move |connection| {
                let sql = "SELECT name, role FROM users WHERE name > ?1 ORDER BY name LIMIT ?2";
                connection.prepare_cached(sql)?.query_map(params![after, limit], user)?.collect()
            })
            .await
    }

    /// The user's password hash, `None` for a user who does not exist.
    pub async fn password_hash(&self, name: &Name) -> Result<Option<String>, StoreError> {
        let name = name.clone();
        self.store
            .read(move |connection| {
                let sql = "SELECT password_hash FROM users WHERE name = ?1";
                connection.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()
            })
            .await
    }

    /// Makes or changes a user, at the wish of `by`.
    pub async fn put(
        &self,
        by: Option<Name>,
        user: User,
        password_hash: String,
    ) -> Result<Insertion, StoreError> {
        let audit = self.audit.clone();
        self.store
            .write(move |transaction| {
                let done = put(transaction, &user, &password_hash)?;
                if done != Insertion::LastAdministrator {
                    let entry = Entry::new(Action::UserPut).detail("user", &user.name);
                    let entry = entry.detail("role", user.role.name());
                    audit.append(transaction, &asked_by(entry, by.as_ref()))?;
                }
                Ok(done)
            })
            .await
    }

    /// Removes a user, at the wish of `by`.
    pub async fn delete(&self, by: Name, name: Name) -> Result<Deletion, StoreError> {
        let audit = self.audit.clone();
        self.store
            .write(move |transaction| {
                let done = delete(transaction, &name)?;
                if done == Deletion::Done {
                    let entry = Entry::new(Action::UserDeleted).detail("user", &name);
                    audit.append(transaction, &entry.user(&by))?;
                }
                Ok(done)
            })
            .await
    }
}

fn asked_by(entry: Entry, by: Option<&Name>) -> Entry {
    match by {
        Some(by) => entry.user(by),
        None => entry,
    }
}

fn put(transaction: &Transaction<'_>, user: &User, password_hash: &str) -> rusqlite::Result<Insertion> {
    let existed = role(transaction, &user.name)?.is_some();
    if existed && user.role != Role::Administrator && is_last_administrator(transaction, &user.name)? {
        return Ok(Insertion::LastAdministrator);
    }
    transaction.execute(
        "INSERT INTO users (name, role, password_hash) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET role = excluded.role, password_hash = excluded.password_hash",
        params![user.name, user.role, password_hash],
    )?;
    transaction.execute("DELETE FROM sessions WHERE user = ?1", [&user.name])?;
    Ok(if existed { Insertion::Changed } else { Insertion::Made })
}

fn delete(transaction: &Transaction<'_>, name: &Name) -> rusqlite::Result<Deletion> {
    if role(transaction, name)?.is_none() {
        return Ok(Deletion::Absent);
    }
    if is_last_administrator(transaction, name)? {
        return Ok(Deletion::LastAdministrator);
    }
    let owns = "SELECT EXISTS (SELECT 1 FROM terminals WHERE owner = ?1)";
    if transaction.query_row(owns, [name], |row| row.get(0))? {
        return Ok(Deletion::OwnsTerminals);
    }
    transaction.execute("DELETE FROM sessions WHERE user = ?1", [name])?;
    transaction.execute("DELETE FROM users WHERE name = ?1", [name])?;
    Ok(Deletion::Done)
}

fn role(transaction: &Transaction<'_>, name: &Name) -> rusqlite::Result<Option<Role>> {
    transaction.query_row("SELECT role FROM users WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn is_last_administrator(transaction: &Transaction<'_>, name: &Name) -> rusqlite::Result<bool> {
    let others = "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'administrator' AND name <> ?1)";
    let other: bool = transaction.query_row(others, [name], |row| row.get(0))?;
    Ok(!other && role(transaction, name)? == Some(Role::Administrator))
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User { name: row.get(0)?, role: row.get(1)? })
}
