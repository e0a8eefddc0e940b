//! Who a caller is: passwords, tokens and client certificates.

pub mod name;
pub mod password;
pub mod token;

use serde::{Deserialize, Serialize};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Manages users, terminals and cards, and reads the audit log.
    Administrator,
    /// Uses the terminals assigned to it.
    User,
}

impl Role {
    /// The role's name on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::User => "user",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        [Self::Administrator, Self::User].into_iter().find(|role| role.name() == name).ok_or(UnknownRole)
    }
}

/// No role has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role; known are administrator, user")]
pub struct UnknownRole;
