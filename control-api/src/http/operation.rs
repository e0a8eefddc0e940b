//! The wrapper around every operation: request id, span, who may, audit, latency, and last of all the status.
//!
//! ```text
//! request ─▶ id, span ─▶ admit(access) ─▶ handler ─▶ render the fault ─▶ audit, latency ─▶ answer
//!                          │ proofs: Caller, Administrator, AssignedTerminal
//! ```
//!
//! A handler asks for the proofs as arguments. An operation whose access did not make one fails; it never runs
//! unproven.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use tracing::Instrument as _;
use utoipa_axum::router::{UtoipaMethodRouter, UtoipaMethodRouterExt as _};

use super::{
    access::{self, Access, Caller},
    problem::{Fault, Kind},
    request_id::{HEADER, RequestId},
};
use crate::App;

/// Puts the wrapper around operations of one path, all with this access.
pub fn operations(
    app: &Arc<App>,
    access: Access,
    routes: UtoipaMethodRouter<Arc<App>>,
) -> UtoipaMethodRouter<Arc<App>> {
    let state = (app.clone(), access);
    routes.layer(middleware::from_fn_with_state(state, wrap))
}

/// The wrapper.
pub async fn wrap(State((app, access)): State<(Arc<App>, Access)>, request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let operation = Operation::of(&request);
    let span = tracing::info_span!(
        "request", %id, method = %operation.method, path = operation.path, user = tracing::field::Empty
    );
    perform(&app, access, id, operation, request, next).instrument(span).await
}

/// What is called, as logs, metrics and the audit log name it.
struct Operation {
    method: Method,
    /// The path with its parameters' names: `/v1/users/{user}`.
    route: String,
    path: String,
}

impl Operation {
    fn of(request: &Request) -> Self {
        let route = request.extensions().get::<axum::extract::MatchedPath>();
        Self {
            method: request.method().clone(),
            route: route.map_or("unmatched", |route| route.as_str()).into(),
            path: request.uri().path().into(),
        }
    }

    /// True if it means to change something.
    fn changes(&self) -> bool {
        !self.method.is_safe()
    }
}

async fn perform(
    app: &Arc<App>,
    access: Access,
    id: RequestId,
    operation: Operation,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let (caller, response) = match access::admit(app, access, &mut parts).await {
        Ok(caller) => (caller, run(&operation, next, Request::from_parts(parts, body)).await),
        Err(fault) => (None, fault.into_response()),
    };
    let response = finish(response, &id);
    record(&operation, caller.as_ref(), &response, started);
    response
}

/// What changes something goes on to its end even if the caller goes away: the task is not the connection's.
async fn run(operation: &Operation, next: Next, request: Request) -> Response {
    if !operation.changes() {
        return next.run(request).await;
    }
    let task = tokio::spawn(next.run(request).in_current_span());
    task.await.unwrap_or_else(|error| Fault::internal(error).into_response())
}

fn finish(mut response: Response, id: &RequestId) -> Response {
    let fault = response.extensions_mut().remove::<Fault>();
    if let Some(fault) = fault.or_else(|| framework_fault(response.status())) {
        response = fault.render(id);
    }
    response.headers_mut().insert(HEADER, id.to_header());
    response
}

/// What axum refuses by itself, in the form of all other refusals.
fn framework_fault(status: StatusCode) -> Option<Fault> {
    match status {
        StatusCode::BAD_REQUEST => {
            Some(Fault::new(Kind::MALFORMED_REQUEST, "the path or the query is malformed"))
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            Some(Fault::new(Kind::METHOD_NOT_ALLOWED, "the path does not offer this method"))
        }
        _ => None,
    }
}

fn record(operation: &Operation, caller: Option<&Caller>, response: &Response, started: Instant) {
    let (status, elapsed) = (response.status().as_u16(), started.elapsed());
    let labels = [
        ("method", operation.method.to_string()),
        ("route", operation.route.clone()),
        ("status", status.to_string()),
    ];
    metrics::histogram!("cardhost_request_seconds", &labels).record(elapsed);
    let user = caller.map(|caller| caller.user.as_str());
    if operation.changes() {
        tracing::info!(status, user, latency_us = elapsed.as_micros() as u64, "request");
    } else {
        tracing::debug!(status, user, latency_us = elapsed.as_micros() as u64, "request");
    }
}
