//! The list of authorised users.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator},
    body::JsonBody,
    operation::operations,
    page::Page,
    problem::{Fault, Kind, Problem},
    secret::SecretText,
};
use crate::{
    App,
    auth::{
        Role,
        name::Name,
        password::{MAX_LENGTH, MIN_LENGTH},
    },
    store::users::{Deletion, Insertion, User},
};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(operations(app, Access::Administrator, routes!(list))).routes(operations(
        app,
        Access::Administrator,
        routes!(put, delete),
    ))
}

/// Some users, in the order of their names.
#[derive(Serialize, ToSchema)]
struct UserPage {
    users: Vec<UserEntry>,
    /// There are more: ask again with `after` set to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A user.
#[derive(Serialize, ToSchema)]
struct UserEntry {
    user: String,
    role: Role,
}

/// What a user is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserSetting {
    /// 8 to 1,024 bytes.
    #[schema(value_type = String, write_only, min_length = 8, max_length = 1024)]
    password: SecretText,
    role: Role,
}

/// Lists the authorised users.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(Page), responses(
    (status = 200, description = "users", body = UserPage),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(app): State<Arc<App>>,
    _: Administrator,
    Query(page): Query<Page>,
) -> Result<Json<UserPage>, Fault> {
    let users = app.users.list(page.after(), page.limit()).await?;
    let next = page.next(&users, |user| user.name.to_string());
    Ok(Json(UserPage { users: users.into_iter().map(UserEntry::from).collect(), next }))
}

/// Makes a user, or gives one a new password and role, which ends its sessions.
#[utoipa::path(put, path = "/v1/users/{user}", tag = "users", params(("user" = String, Path)),
    request_body = UserSetting, responses(
    (status = 200, description = "changed", body = UserEntry),
    (status = 201, description = "made", body = UserEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "conflict: the last administrator stays one", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "invalid-value", body = Problem, content_type = "application/problem+json"),
))]
async fn put(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(name): Path<String>,
    JsonBody(setting): JsonBody<UserSetting>,
) -> Result<(StatusCode, Json<UserEntry>), Fault> {
    let name: Name = name.parse().map_err(invalid)?;
    check_length(&setting.password)?;
    let password_hash = app.passwords.hash(setting.password.into()).await?;
    let user = User { name, role: setting.role };
    let status = match app.users.put(Some(caller.user), user.clone(), password_hash).await? {
        Insertion::Made => StatusCode::CREATED,
        Insertion::Changed => StatusCode::OK,
        Insertion::LastAdministrator => return Err(last_administrator()),
    };
    app.channels.end_where(|admission| admission.user == user.name);
    Ok((status, Json(user.into())))
}

/// Removes a user and ends its sessions.
#[utoipa::path(delete, path = "/v1/users/{user}", tag = "users", params(("user" = String, Path)), responses(
    (status = 204, description = "removed"),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "conflict: terminals are assigned to it, or it is the last administrator", body = Problem, content_type = "application/problem+json"),
))]
async fn delete(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Fault> {
    let name: Name = name.parse().map_err(|_| Fault::not_found("user"))?;
    match app.users.delete(caller.user, name).await? {
        Deletion::Done => Ok(StatusCode::NO_CONTENT),
        Deletion::Absent => Err(Fault::not_found("user")),
        Deletion::OwnsTerminals => Err(Fault::new(Kind::CONFLICT, "terminals are assigned to this user")),
        Deletion::LastAdministrator => Err(last_administrator()),
    }
}

fn check_length(password: &SecretText) -> Result<(), Fault> {
    if (MIN_LENGTH..=MAX_LENGTH).contains(&password.as_str().len()) {
        Ok(())
    } else {
        Err(invalid(format!("a password has {MIN_LENGTH} to {MAX_LENGTH} bytes")))
    }
}

fn last_administrator() -> Fault {
    Fault::new(Kind::CONFLICT, "the last administrator stays one")
}

fn invalid(why: impl std::fmt::Display) -> Fault {
    Fault::new(Kind::INVALID_VALUE, why.to_string())
}

impl From<User> for UserEntry {
    fn from(user: User) -> Self {
        Self { user: user.name.into(), role: user.role }
    }
}
