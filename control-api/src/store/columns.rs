//! How names, roles and times stand in columns.

use std::str::FromStr;

use cardhost_wire::{
    key::{Algorithm, KeyReference},
    profiles::Iccid,
};
use jiff::Timestamp;
use rusqlite::{
    Row,
    types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef},
};
use uuid::Uuid;

use crate::auth::{Role, name::Name};

/// The Unix time, seconds, in this column.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let seconds = row.get(column)?;
    Timestamp::from_second(seconds).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, seconds))
}

impl ToSql for Name {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Name {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

impl ToSql for Role {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

/// The algorithm in this column.
pub(super) fn algorithm(row: &Row<'_>, column: usize) -> rusqlite::Result<Algorithm> {
    parsed(row, column)
}

/// The identifier in this column.
pub(super) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    parsed(row, column)
}

/// The profile's identifier in this column.
pub(super) fn iccid(row: &Row<'_>, column: usize) -> rusqlite::Result<Iccid> {
    parsed(row, column)
}

/// The key reference in this column.
pub(super) fn key_reference(row: &Row<'_>, column: usize) -> rusqlite::Result<KeyReference> {
    row.get(column).map(KeyReference)
}

fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| FromSqlError::other(error).into())
}
