//! Sessions: the stored side of tokens.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Store, StoreError, columns::time};
use crate::{
    auth::{Role, name::Name, token::TokenHash},
    server::{Device, Fingerprint},
};

/// A session to be.
pub struct NewSession {
    /// The token's hash.
    pub token: TokenHash,
    /// Whose it is.
    pub user: Name,
    /// The device that it is bound to.
    pub device: Option<Device>,
    /// Its end.
    pub expires_at: Timestamp,
}

/// What [`Sessions::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The session has begun.
    Done,
    /// Refused: the device is not accepted (any more).
    UnknownDevice,
    /// Refused: the user went away meanwhile.
    UnknownUser,
}

/// A valid session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The token's hash.
    pub token: TokenHash,
    /// Whose it is.
    pub user: Name,
    /// What the user may do.
    pub role: Role,
    /// Its end.
    pub expires_at: Timestamp,
}

/// The table of sessions.
#[derive(Clone)]
pub struct Sessions(Store);

impl Sessions {
    /// The sessions in this store.
    pub const fn new(store: Store) -> Self {
        Self(store)
    }

    /// Starts a session.
    pub async fn insert(&self, session: NewSession) -> Result<Start, StoreError> {
        self.0.write(move |transaction| insert(transaction, &session)).await
    }

    /// The session of this token on a connection with this device's certificate or none, if it is valid there.
    ///
    /// A session that was not bound yet is bound to the first device that uses it.
    pub async fn find(
        &self,
        token: TokenHash,
        device: Option<Device>,
    ) -> Result<Option<Session>, StoreError> {
        let presented = device.as_ref().map(|device| device.fingerprint);
        let Some(stored) = self.0.read(move |connection| stored(connection, &token)).await? else {
            return Ok(None);
        };
        match (stored.bound_to, device) {
            (None, Some(device)) => {
                let bound = self.0.write(move |transaction| bind(transaction, &token, &device)).await?;
                Ok(bound.then_some(stored.session))
            }
            (bound_to, _) => Ok((bound_to == presented).then_some(stored.session)),
        }
    }

    /// Ends a session.
    pub async fn delete(&self, token: TokenHash) -> Result<(), StoreError> {
        self.0
            .write(move |transaction| {
                transaction.execute("DELETE FROM sessions WHERE token_hash = ?1", [token])?;
                Ok(())
            })
            .await
    }
}

struct Stored {
    session: Session,
    bound_to: Option<Fingerprint>,
}

fn insert(transaction: &Transaction<'_>, session: &NewSession) -> rusqlite::Result<Start> {
    // Here, where sessions begin, those that are over leave.
    transaction.execute("DELETE FROM sessions WHERE expires_at <= ?1", [now()])?;
    if let Some(device) = &session.device
        && !is_accepted(transaction, device)?
    {
        return Ok(Start::UnknownDevice);
    }
    let inserted = transaction.execute(
        "INSERT INTO sessions (token_hash, user, device, expires_at)
         SELECT ?1, name, ?3, ?4 FROM users WHERE name = ?2",
        params![
            session.token,
            session.user,
            session.device.as_ref().map(|device| device.fingerprint),
            session.expires_at.as_second()
        ],
    )?;
    Ok(if inserted == 1 { Start::Done } else { Start::UnknownUser })
}

fn stored(connection: &rusqlite::Connection, token: &TokenHash) -> rusqlite::Result<Option<Stored>> {
    let sql = "SELECT sessions.user, users.role, sessions.device, sessions.expires_at FROM sessions
        JOIN users ON users.name = sessions.user WHERE token_hash = ?1 AND expires_at > ?2";
    connection
        .prepare_cached(sql)?
        .query_row(params![token, now()], |row| {
            let (user, role, expires_at) = (row.get(0)?, row.get(1)?, time(row, 3)?);
            let session = Session { token: *token, user, role, expires_at };
            Ok(Stored { session, bound_to: row.get(2)? })
        })
        .optional()
}

fn bind(transaction: &Transaction<'_>, token: &TokenHash, device: &Device) -> rusqlite::Result<bool> {
    if !is_accepted(transaction, device)? {
        return Ok(false);
    }
    // Two connections may race to be the first: only one device gets the session.
    let sql = "UPDATE sessions SET device = ?2
        WHERE token_hash = ?1 AND (device IS NULL OR device = ?2)";
    Ok(transaction.execute(sql, params![token, device.fingerprint])? == 1)
}

fn is_accepted(transaction: &Transaction<'_>, device: &Device) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM devices WHERE fingerprint = ?1 AND terminal = ?2)";
    transaction.query_row(sql, params![device.fingerprint, device.terminal], |row| row.get(0))
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
