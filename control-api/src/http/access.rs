//! Who may call an operation, and the proofs of it that handlers take.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderMap, header, request::Parts},
};
use jiff::Timestamp;

use super::problem::{Fault, Kind};
use crate::{
    App,
    auth::{Role, name::Name, token},
    server::{Device, Peer},
    store::sessions::Session,
};

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Every user who is logged in: proof [`Caller`].
    User,
    /// Administrators: proofs [`Caller`], [`Administrator`].
    Administrator,
    /// The user to whom the terminal in the path is assigned, and administrators: proofs [`Caller`],
    /// [`AssignedTerminal`].
    TerminalLifeCycle,
    /// Only the user to whom the terminal in the path is assigned: proofs [`Caller`], [`AssignedTerminal`].
    TerminalUse,
}

/// Proof: the request comes from this user, with a valid token on the connection that it is bound to.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user.
    pub user: Name,
    /// The user's role.
    pub role: Role,
    /// The hash of the token.
    pub session: token::TokenHash,
    /// The session's end.
    pub expires_at: Timestamp,
    /// The device whose client certificate the connection has.
    pub device: Option<Device>,
}

/// Proof: the caller is an administrator.
#[derive(Clone, Debug)]
pub struct Administrator(pub Caller);

/// Proof: the caller may use this terminal, and the connection's certificate, if any, is of this terminal.
#[derive(Clone, Debug)]
pub struct AssignedTerminal {
    /// The terminal.
    pub terminal: Name,
    /// The caller.
    pub caller: Caller,
}

/// Proof: beside the token the connection has this terminal's own client certificate.
#[derive(Clone, Debug)]
pub struct AuthenticatedDevice(pub Device);

impl AssignedTerminal {
    /// Checks that the connection was made with a client certificate of the terminal.
    pub fn require_device(&self) -> Result<AuthenticatedDevice, Fault> {
        let missing = || {
            let detail = "the channel needs this terminal's client certificate beside the token";
            Fault::new(Kind::DEVICE_CERTIFICATE_REQUIRED, detail)
        };
        self.caller.device.clone().map(AuthenticatedDevice).ok_or_else(missing)
    }
}

/// Checks the access and puts its proofs into the request's extensions.
pub(super) async fn admit(
    app: &Arc<App>,
    access: Access,
    parts: &mut Parts,
) -> Result<Option<Caller>, Fault> {
    if access == Access::Public {
        return Ok(None);
    }
    let caller = authenticate(app, parts).await?;
    tracing::Span::current().record("user", caller.user.as_str());
    authorise(app, access, &caller, parts).await?;
    parts.extensions.insert(caller.clone());
    Ok(Some(caller))
}

async fn authenticate(app: &Arc<App>, parts: &Parts) -> Result<Caller, Fault> {
    let token = bearer(&parts.headers).ok_or_else(unauthenticated)?;
    let device = device(parts);
    let session = app.sessions.find(token::hash(token), device.clone()).await?.ok_or_else(unauthenticated)?;
    let Session { user, role, token, expires_at } = session;
    Ok(Caller { user, role, session: token, expires_at, device })
}

async fn authorise(app: &Arc<App>, access: Access, caller: &Caller, parts: &mut Parts) -> Result<(), Fault> {
    match access {
        Access::Public | Access::User => Ok(()),
        Access::Administrator => {
            let proof = administrator(caller)?;
            parts.extensions.insert(proof);
            Ok(())
        }
        Access::TerminalLifeCycle | Access::TerminalUse => {
            let proof = assigned_terminal(app, access, caller, parts).await?;
            parts.extensions.insert(proof);
            Ok(())
        }
    }
}

fn administrator(caller: &Caller) -> Result<Administrator, Fault> {
    match caller.role {
        Role::Administrator => Ok(Administrator(caller.clone())),
        Role::User => Err(Fault::new(Kind::ADMINISTRATOR_ONLY, "only an administrator may do this")),
    }
}

async fn assigned_terminal(
    app: &Arc<App>,
    access: Access,
    caller: &Caller,
    parts: &mut Parts,
) -> Result<AssignedTerminal, Fault> {
    let terminal = terminal_in_path(parts).await?;
    let owner = app.terminals.owner(&terminal).await?;
    let owns = owner.as_ref() == Some(&caller.user);
    match caller.role {
        Role::Administrator if owner.is_none() => return Err(Fault::not_found("terminal")),
        Role::Administrator if access == Access::TerminalLifeCycle => {}
        _ if owns => {}
        _ => return Err(not_assigned(caller, &terminal)),
    }
    match &caller.device {
        Some(device) if device.terminal != terminal => Err(other_device(&device.terminal)),
        _ => Ok(AssignedTerminal { terminal, caller: caller.clone() }),
    }
}

async fn terminal_in_path(parts: &mut Parts) -> Result<Name, Fault> {
    let unknown = |_| Fault::not_found("terminal");
    let parameters = RawPathParams::from_request_parts(parts, &()).await.map_err(unknown)?;
    let terminal = parameters.iter().find(|(name, _)| *name == "terminal").map(|(_, value)| value);
    terminal.unwrap_or_default().parse().map_err(|_| Fault::not_found("terminal"))
}

/// The same answer whether the terminal is another user's or does not exist.
fn not_assigned(caller: &Caller, terminal: &Name) -> Fault {
    let detail = format!("the terminal {terminal} is not assigned to the user {}", caller.user);
    Fault::new(Kind::TERMINAL_NOT_ASSIGNED, detail)
}

fn other_device(device: &Name) -> Fault {
    let detail = format!("the connection's client certificate is of another terminal, {device}");
    Fault::new(Kind::DEVICE_CERTIFICATE_REQUIRED, detail)
}

fn unauthenticated() -> Fault {
    Fault::new(Kind::UNAUTHENTICATED, "log in first: POST /v1/sessions, then send the token as Bearer")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn device(parts: &Parts) -> Option<Device> {
    parts.extensions.get::<Arc<Peer>>().and_then(|peer| peer.device.clone())
}

/// A proof that the wrapper did not make is a mistake in the table of routes, not in the request.
fn missing_proof() -> Fault {
    Fault::new(Kind::INTERNAL, "the operation was called without its checks")
}

macro_rules! proof {
    ($($type:ty),*) => {$(
        impl<S: Sync> FromRequestParts<S> for $type {
            type Rejection = Fault;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
                parts.extensions.get::<Self>().cloned().ok_or_else(missing_proof)
            }
        }
    )*};
}

proof!(Caller, Administrator, AssignedTerminal);

/// The connection's client certificate, if it has one, before any login.
pub struct ConnectionDevice(pub Option<Device>);

impl<S: Sync> FromRequestParts<S> for ConnectionDevice {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Arc<Peer>>().and_then(|peer| peer.device.clone())))
    }
}
