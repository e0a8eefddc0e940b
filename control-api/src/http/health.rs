//! Is it alive, is it ready, how is it doing.

use std::sync::Arc;

use axum::{extract::State, http::header};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::Access,
    operation::operations,
    problem::{Fault, Kind, Problem},
};
use crate::App;

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(operations(app, Access::Public, routes!(healthz)))
        .routes(operations(app, Access::Public, routes!(readyz)))
        .routes(operations(app, Access::Public, routes!(metrics)))
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses(
    (status = 200, description = "alive", body = String),
))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// The daemon serves: its store answers, cards can run, and it is not ending.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, description = "ready", body = String),
    (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Fault> {
    if *app.end.borrow() {
        return Err(Fault::new(Kind::UNAVAILABLE, "the daemon is ending"));
    }
    let unavailable = |error| Fault::new(Kind::UNAVAILABLE, "the store does not answer").because(error);
    app.users.list(String::new(), 1).await.map_err(unavailable)?;
    app.cards.ready().await.map_err(|error| Fault::new(Kind::UNAVAILABLE, error.to_string()))?;
    Ok("ready\n")
}

/// Figures in the Prometheus text format. They name routes and counts, no user, terminal or card.
#[utoipa::path(get, path = "/metrics", tag = "health", security(()), responses(
    (status = 200, description = "figures", body = String),
))]
async fn metrics(State(app): State<Arc<App>>) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}
