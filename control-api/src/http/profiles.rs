//! The profiles of a card's eUICC. Their keys go into the card and are never told.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use cardhost_wire::{
    key::Secret,
    profiles::{
        Iccid, Imsi, NewProfile, NotificationConfiguration, NotificationEvent, Profile, ProfileClass,
        ProfileMetadata,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access::{Access, Administrator},
    cards::{known, of_card},
    idempotency::{IdempotencyKey, Idempotent},
    operation::operations,
    problem::{Fault, Kind, Problem},
    secret::SecretText,
};
use crate::App;

/// The operations of this file.
pub fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(operations(app, Access::Administrator, routes!(list, install)))
        .routes(operations(app, Access::Administrator, routes!(read, delete)))
}

/// A profile that is to be installed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProfileRequest {
    /// 19 or 20 digits, the last of which is Luhn's check digit. No other profile of the card may have it.
    iccid: String,
    /// 6 to 15 digits.
    imsi: String,
    /// The subscriber key K, 16 bytes, hex. Visible to the daemon, which does not keep it.
    #[schema(value_type = String, write_only)]
    k: SecretText,
    /// OPc, 16 bytes, hex. Visible to the daemon, which does not keep it.
    #[schema(value_type = String, write_only)]
    opc: SecretText,
    /// `test`, `provisioning` or `operational`.
    #[serde(default = "operational")]
    #[schema(value_type = String, default = "operational")]
    class: ProfileClass,
    /// Who offers it; at most 32 bytes.
    #[serde(default)]
    service_provider_name: String,
    /// What it is called; at most 64 bytes.
    #[serde(default)]
    profile_name: String,
    /// What the user calls it; at most 64 bytes.
    nickname: Option<String>,
    /// Which servers the terminal is to tell of which events; at most 4.
    #[serde(default)]
    notifications: Vec<Notifications>,
}

/// A server, and the events that it wants to know of.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Notifications {
    /// `install`, `enable`, `disable`, `delete`.
    #[schema(value_type = Vec<String>)]
    events: Vec<NotificationEvent>,
    /// The server's name; at most 128 bytes.
    address: String,
}

/// A card's profiles.
#[derive(Serialize, ToSchema)]
struct ProfileList {
    profiles: Vec<ProfileEntry>,
}

/// A profile; its keys are never told.
#[derive(Serialize, Deserialize, ToSchema)]
struct ProfileEntry {
    /// Its identifier.
    iccid: String,
    /// The AID of its security domain, hex.
    isdp_aid: String,
    state: ProfileStateName,
    /// `test`, `provisioning` or `operational`.
    #[schema(value_type = String)]
    class: ProfileClass,
    /// Who offers it.
    service_provider_name: String,
    /// What it is called.
    profile_name: String,
    /// What the user calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    nickname: Option<String>,
    /// Which servers the terminal is to tell of which events.
    notifications: Vec<Notifications>,
}

/// Whether a profile is in force. The terminal enables and disables profiles, one at a time is enabled.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum ProfileStateName {
    /// It is the card's USIM.
    Enabled,
    /// It is not.
    Disabled,
}

/// A deleted profile.
#[derive(Serialize, ToSchema)]
struct DeletedProfile {
    /// True if it was the card's last credential: the microVM and its keys are gone.
    card_destroyed: bool,
    /// The receipt's id, see `/v1/receipts/{receipt}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

/// Lists the profiles on a terminal's card.
#[utoipa::path(get, path = "/v1/cards/{terminal}/profiles", tag = "cards", params(("terminal" = String, Path)), responses(
    (status = 200, description = "profiles", body = ProfileList),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, or it has no card", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(app): State<Arc<App>>,
    _: Administrator,
    Path(terminal): Path<String>,
) -> Result<Json<ProfileList>, Fault> {
    Ok(Json(ProfileList { profiles: entries(&app, &terminal).await? }))
}

/// Installs a profile on a terminal's card, disabled: the terminal enables it. A card holds 8. A profile is a
/// credential: the card lives as long as it has one. Audited.
#[utoipa::path(post, path = "/v1/cards/{terminal}/profiles", tag = "cards",
    params(("terminal" = String, Path), IdempotencyKey), request_body = ProfileRequest, responses(
    (status = 201, description = "installed", body = ProfileEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-absent: the terminal's first certificate makes its card; profile-exists; conflict: the card has no room; card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "invalid-value", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn install(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path(terminal): Path<String>,
    request: Idempotent<ProfileRequest>,
) -> Result<(StatusCode, Json<ProfileEntry>), Fault> {
    let terminal = known(&app, &terminal).await?;
    let installed: ProfileEntry = request
        .perform(&app.idempotency, async |wish| {
            let profile = wish.check()?;
            app.cards.status(&terminal).await?.ok_or_else(no_card)?;
            Ok(app.life_cycle.install_profile(&terminal, profile, &caller.user).await?.into())
        })
        .await?;
    Ok((StatusCode::CREATED, Json(installed)))
}

/// One profile.
#[utoipa::path(get, path = "/v1/cards/{terminal}/profiles/{iccid}", tag = "cards",
    params(("terminal" = String, Path), ("iccid" = String, Path)), responses(
    (status = 200, description = "the profile", body = ProfileEntry),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, it has no card, or the card no such profile", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable", body = Problem, content_type = "application/problem+json"),
))]
async fn read(
    State(app): State<Arc<App>>,
    _: Administrator,
    Path((terminal, iccid)): Path<(String, String)>,
) -> Result<Json<ProfileEntry>, Fault> {
    entries(&app, &terminal)
        .await?
        .into_iter()
        .find(|entry| entry.iccid == iccid)
        .map(Json)
        .ok_or_else(unknown)
}

/// Deletes a profile, enabled or not. With the last credential the card goes. Audited.
#[utoipa::path(delete, path = "/v1/cards/{terminal}/profiles/{iccid}", tag = "cards",
    params(("terminal" = String, Path), ("iccid" = String, Path)), responses(
    (status = 200, description = "deleted", body = DeletedProfile),
    (status = 403, description = "administrator-only", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "not-found: there is no such terminal, it has no card, or the card no such profile", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "card-refused", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "card-unavailable; carried-forward: the profile is deleted, and the card is going", body = Problem, content_type = "application/problem+json"),
))]
async fn delete(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Path((terminal, iccid)): Path<(String, String)>,
) -> Result<Json<DeletedProfile>, Fault> {
    let terminal = of_card(&app, &terminal).await?;
    let iccid: Iccid = iccid.parse().map_err(|_| unknown())?;
    let receipt = app.life_cycle.delete_profile(&terminal, iccid, &caller.user).await?;
    let card_destroyed = receipt.is_some();
    Ok(Json(DeletedProfile { card_destroyed, receipt: receipt.map(|receipt| receipt.id.to_string()) }))
}

/// The profiles of the terminal's card, which must be there.
async fn entries(app: &App, terminal: &str) -> Result<Vec<ProfileEntry>, Fault> {
    let terminal = of_card(app, terminal).await?;
    Ok(app.life_cycle.profiles(&terminal).await?.into_iter().map(ProfileEntry::from).collect())
}

fn no_card() -> Fault {
    let detail = "the terminal has no card: its first certificate makes it";
    Fault::new(Kind::CARD_ABSENT, detail)
}

fn unknown() -> Fault {
    Fault::not_found("profile")
}

const fn operational() -> ProfileClass {
    ProfileClass::Operational
}

impl ProfileRequest {
    fn check(self) -> Result<NewProfile, Fault> {
        let invalid = |why: String| Fault::new(Kind::INVALID_VALUE, why);
        let iccid: Iccid = self.iccid.parse().map_err(|error| invalid(format!("iccid: {error}")))?;
        let imsi: Imsi = self.imsi.parse().map_err(|error| invalid(format!("imsi: {error}")))?;
        let metadata = ProfileMetadata {
            iccid,
            service_provider_name: self.service_provider_name,
            profile_name: self.profile_name,
            class: self.class,
            nickname: self.nickname.filter(|nickname| !nickname.is_empty()),
            notifications: self.notifications.into_iter().map(NotificationConfiguration::from).collect(),
        };
        let (k, opc) = (key("k", &self.k)?, key("opc", &self.opc)?);
        let profile = NewProfile { metadata, imsi, k, opc };
        profile.check().map(|()| profile).map_err(|fault| invalid(fault.to_string()))
    }
}

fn key(name: &str, text: &SecretText) -> Result<Secret, Fault> {
    let malformed = |_| Fault::new(Kind::INVALID_VALUE, format!("{name} is 16 bytes, hexadecimal"));
    let mut key = Secret(vec![0; 16]);
    hex::decode_to_slice(text.as_str(), &mut key.0).map_err(malformed)?;
    Ok(key)
}

impl From<Notifications> for NotificationConfiguration {
    fn from(Notifications { events, address }: Notifications) -> Self {
        Self { events, address }
    }
}

impl From<Profile> for ProfileEntry {
    fn from(Profile { isdp_aid, enabled, metadata }: Profile) -> Self {
        let configured = |NotificationConfiguration { events, address }| Notifications { events, address };
        Self {
            iccid: metadata.iccid.to_string(),
            isdp_aid: hex::encode_upper(isdp_aid),
            state: if enabled { ProfileStateName::Enabled } else { ProfileStateName::Disabled },
            class: metadata.class,
            service_provider_name: metadata.service_provider_name,
            profile_name: metadata.profile_name,
            nickname: metadata.nickname,
            notifications: metadata.notifications.into_iter().map(configured).collect(),
        }
    }
}
