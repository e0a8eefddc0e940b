//! The OpenAPI 3.1 document, made from the handlers' own types.

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use utoipa::{
    OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::App;

/// Where the document stands.
pub const PATH: &str = "/openapi.json";

#[derive(OpenApi)]
#[openapi(info(
    title = "cardhost",
    description = "Card microVMs in place of smart cards. Errors are RFC 9457 problem details whose `title` is stable."
))]
struct Head;

/// The document without its operations.
pub fn head() -> openapi::OpenApi {
    let mut document = Head::openapi();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    document
}

/// The route of the document.
pub fn route(document: openapi::OpenApi) -> Router<Arc<App>> {
    let document = Arc::new(document);
    Router::new().route(PATH, get(async move || Json(document.as_ref().clone())))
}
