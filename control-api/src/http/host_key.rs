//! The host's wrapping keys.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use cardhost_wire::wrapping::BUCKETS;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator},
    operation::operations,
    problem::{Fault, Problem},
};
use crate::{App, lifecycle::Rotation};

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(operations(app, Access::Administrator, routes!(rotate, read)))
}

/// Where the rotation of all wrapping keys stands.
#[derive(Serialize, ToSchema)]
struct RotationStatus {
    state: RotationState,
    /// Buckets of cards whose keys are rotated, while it runs or if it broke off.
    done: usize,
    /// How many buckets there are.
    of: usize,
}

/// The state of a rotation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum RotationState {
    /// None is under way.
    Idle,
    /// It goes on.
    Running,
    /// It broke off: the log says why. Begin another.
    Failed,
}

/// Begins to rotate every wrapping key, unless that is under way. The cards go on; their state is not touched.
#[utoipa::path(post, path = "/v1/host-key/rotation", tag = "host", responses(
    (status = 202, description = "it runs", body = RotationStatus),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
))]
async fn rotate(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
) -> Result<(StatusCode, Json<RotationStatus>), Fault> {
    let rotation = app.life_cycle.rotate_host_key(&caller.user).await?;
    Ok((StatusCode::ACCEPTED, Json(rotation.into())))
}

/// Where the rotation stands.
#[utoipa::path(get, path = "/v1/host-key/rotation", tag = "host", responses(
    (status = 200, description = "the rotation", body = RotationStatus),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
))]
async fn read(State(app): State<Arc<App>>, _: Administrator) -> Json<RotationStatus> {
    Json(app.life_cycle.host_key_rotation().into())
}

impl From<Rotation> for RotationStatus {
    fn from(rotation: Rotation) -> Self {
        let (state, done) = match rotation {
            Rotation::Idle => (RotationState::Idle, 0),
            Rotation::Running(done) => (RotationState::Running, done),
            Rotation::Failed(done) => (RotationState::Failed, done),
        };
        Self { state, done, of: BUCKETS }
    }
}
