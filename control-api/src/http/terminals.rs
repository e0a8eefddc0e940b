//! Terminals and the users they are assigned to.

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
    access::{Access, Administrator, AssignedTerminal, Caller},
    body::JsonBody,
    operation::operations,
    page::Page,
    problem::{Fault, Kind, Problem},
};
use crate::{
    App,
    auth::{Role, name::Name},
    store::terminals::{Assignment, Removal, Terminal},
};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(operations(app, Access::User, routes!(list)))
        .routes(operations(app, Access::TerminalLifeCycle, routes!(read)))
        .routes(operations(app, Access::Administrator, routes!(put, delete)))
}

/// Some terminals, in the order of their names.
#[derive(Serialize, ToSchema)]
struct TerminalPage {
    terminals: Vec<TerminalEntry>,
    /// There are more: ask again with `after` set to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A terminal.
#[derive(Serialize, ToSchema)]
struct TerminalEntry {
    terminal: String,
    /// The user it is assigned to.
    owner: String,
}

/// What a terminal is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TerminalSetting {
    /// The user it is assigned to.
    #[schema(value_type = String)]
    owner: Name,
}

/// Lists terminals: administrators see all, users their own.
#[utoipa::path(get, path = "/v1/terminals", tag = "terminals", params(Page), responses(
    (status = 200, description = "terminals", body = TerminalPage),
    (status = 401, description = "unauthenticated", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<TerminalPage>, Fault> {
    let owner = (caller.role == Role::User).then_some(caller.user);
    let terminals = app.terminals.list(owner, page.after(), page.limit()).await?;
    let next = page.next(&terminals, |terminal| terminal.name.to_string());
    Ok(Json(TerminalPage { terminals: terminals.into_iter().map(TerminalEntry::from).collect(), next }))
}

/// One terminal.
#[utoipa::path(get, path = "/v1/terminals/{terminal}", tag = "terminals", params(("terminal" = String, Path)), responses(
    (status = 200, description = "the terminal", body = TerminalEntry),
    (status = 403, description = "terminal-not-assigned", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
))]
async fn read(
    State(app): State<Arc<App>>,
    AssignedTerminal { terminal, .. }: AssignedTerminal,
) -> Result<Json<TerminalEntry>, Fault> {
    let owner = app.terminals.owner(&terminal).await?.ok_or_else(|| Fault::not_found("terminal"))?;
    Ok(Json(Terminal { name: terminal, owner }.into()))
}

/// Makes a terminal, or assigns one to another user.
#[utoipa::path(put, path = "/v1/terminals/{terminal}", tag = "terminals", params(("terminal" = String, Path)),
    request_body = TerminalSetting, responses(
    (status = 200, description = "assigned", body = TerminalEntry),
    (status = 201, description = "made", body = TerminalEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "invalid-value: no such user, or a malformed name", body = Problem, content_type = "application/problem+json"),
))]
async fn put(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(name): Path<String>,
    JsonBody(setting): JsonBody<TerminalSetting>,
) -> Result<(StatusCode, Json<TerminalEntry>), Fault> {
    let invalid = |why: String| Fault::new(Kind::INVALID_VALUE, why);
    let name: Name = name.parse().map_err(|error| invalid(format!("{error}")))?;
    let terminal = Terminal { name, owner: setting.owner };
    let status = match app.terminals.put(caller.user, terminal.clone()).await? {
        Assignment::Made => StatusCode::CREATED,
        Assignment::Changed => StatusCode::OK,
        Assignment::UnknownOwner => return Err(invalid(format!("there is no user {}", terminal.owner))),
    };
    app.channels
        .end_where(|admission| admission.terminal == terminal.name && admission.user != terminal.owner);
    Ok((status, Json(terminal.into())))
}

/// Removes a terminal and its devices, whose certificates for pairing are revoked. A terminal that still has a card stays.
#[utoipa::path(delete, path = "/v1/terminals/{terminal}", tag = "terminals", params(("terminal" = String, Path)), responses(
    (status = 204, description = "removed"),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "conflict: it has a card", body = Problem, content_type = "application/problem+json"),
))]
async fn delete(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Fault> {
    let name: Name = name.parse().map_err(|_| Fault::not_found("terminal"))?;
    match app.terminals.delete(caller.user, name.clone()).await? {
        Removal::Done => {
            app.life_cycle.unsettle();
            app.channels.end_where(|admission| admission.terminal == name);
            Ok(StatusCode::NO_CONTENT)
        }
        Removal::Absent => Err(Fault::not_found("terminal")),
        Removal::HasCard => {
            Err(Fault::new(Kind::CONFLICT, "the terminal has a card: delete its certificates first"))
        }
    }
}

impl From<Terminal> for TerminalEntry {
    fn from(terminal: Terminal) -> Self {
        Self { terminal: terminal.name.into(), owner: terminal.owner.into() }
    }
}
