//! The REST interface and the terminal channel: one file per resource.

pub mod access;
mod anchor;
mod audit;
mod authentications;
pub mod body;
mod card_fault;
mod card_operations;
mod cards;
mod certificates;
mod certification;
pub mod channel;
mod devices;
mod health;
mod host_key;
pub mod idempotency;
mod life_cycle_fault;
pub mod openapi;
mod operation;
mod orphans;
mod page;
mod pairings;
pub mod problem;
mod profiles;
mod protocols;
pub mod request_id;
pub mod secret;
mod sessions;
mod terminals;
mod users;

use std::sync::Arc;

use axum::{Router, middleware};
use utoipa_axum::router::OpenApiRouter;

use crate::App;
use access::Access;
use problem::{Fault, Kind};

/// Every operation behind its checks.
pub fn router(app: &Arc<App>) -> Router {
    let (router, document) = operations(app).split_for_parts();
    let public = middleware::from_fn_with_state((app.clone(), Access::Public), operation::wrap);
    let unmatched = Router::new()
        .fallback(async || Fault::new(Kind::NOT_FOUND, "nothing stands at this path"))
        .layer(public.clone());
    router.merge(openapi::route(document).layer(public)).fallback_service(unmatched).with_state(app.clone())
}

/// The operations, and their description.
pub fn operations(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::head())
        .merge(health::routes(app))
        .merge(sessions::routes(app))
        .merge(users::routes(app))
        .merge(terminals::routes(app))
        .merge(devices::routes(app))
        .merge(certificates::routes(app))
        .merge(certification::routes(app))
        .merge(authentications::routes(app))
        .merge(orphans::routes(app))
        .merge(channel::routes(app))
        .merge(cards::routes(app))
        .merge(card_operations::routes(app))
        .merge(protocols::routes(app))
        .merge(pairings::routes(app))
        .merge(profiles::routes(app))
        .merge(host_key::routes(app))
        .merge(anchor::routes(app))
        .merge(audit::routes(app))
}
