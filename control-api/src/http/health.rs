//! Is it alive, is it ready, how is it doing.

use std::sync::Arc;

use axum::{Json, extract::State, http::header};
use cardhost_wire::layers::Layer;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::Access,
    cards::IsolationName,
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

/// A daemon that serves.
#[derive(Serialize, ToSchema)]
struct Ready {
    /// What keeps cards apart from the host and from each other.
    isolation: IsolationName,
    /// The layers between cards and host. Why one is missing the log says, and `cardhost doctor`.
    layers: Vec<LayerStanding>,
}

/// How a layer stands for every card of this host.
#[derive(Serialize, ToSchema)]
struct LayerStanding {
    /// `virtual-machine`, `users`, `capabilities`, `namespaces`, `root`, `system-calls`, `limits`, `cgroup`, `slices` or
    /// `locked-keys`.
    layer: &'static str,
    /// It is there.
    holds: bool,
}

impl From<&Layer> for LayerStanding {
    fn from(layer: &Layer) -> Self {
        Self { layer: layer.name.name(), holds: layer.holds }
    }
}

/// The daemon serves: its store answers, cards can run, and it is not ending. Says how cards are isolated.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, description = "ready", body = Ready),
    (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn readyz(State(app): State<Arc<App>>) -> Result<Json<Ready>, Fault> {
    if *app.end.borrow() {
        return Err(Fault::new(Kind::UNAVAILABLE, "the daemon is ending"));
    }
    let unavailable = |error| Fault::new(Kind::UNAVAILABLE, "the store does not answer").because(error);
    app.users.list(String::new(), 1).await.map_err(unavailable)?;
    let layers = app.cards.ready().await;
    let layers = layers.map_err(|error| Fault::new(Kind::UNAVAILABLE, error.to_string()))?;
    let layers = layers.iter().map(LayerStanding::from).collect();
    Ok(Json(Ready { isolation: app.cards.isolation().into(), layers }))
}

/// Figures in the Prometheus text format. They name routes and counts, no user, terminal or card.
#[utoipa::path(get, path = "/metrics", tag = "health", security(()), responses(
    (status = 200, description = "figures", body = String),
))]
async fn metrics(State(app): State<Arc<App>>) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}
