//! The host's errors: problem details (RFC 9457).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Problem details as far as they concern a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The problem's stable name, for example `pin-required`.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What happened, for people.
    #[serde(default)]
    pub detail: String,
}

impl Problem {
    /// Reads a response's body; what is not problem details becomes one with the status only.
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let parsed: Result<Self, _> = serde_json::from_slice(body);
        let unnamed = |_| Self { title: String::new(), status, detail: String::new() };
        Self { status, ..parsed.unwrap_or_else(unnamed) }
    }

    /// True if this is the problem of that name.
    pub fn is(&self, title: &str) -> bool {
        self.title == title
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.title.is_empty(), self.detail.is_empty()) {
            (true, true) => write!(f, "HTTP status {}", self.status),
            (true, false) => f.write_str(&self.detail),
            (false, true) => f.write_str(&self.title),
            (false, false) => write!(f, "{} ({})", self.detail, self.title),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_problem_details_keeps_its_status() {
        assert_eq!(Problem::parse(502, b"<html>").to_string(), "HTTP status 502");
        let body =
            br#"{"type":"urn:x","title":"pin-required","status":403,"detail":"the key needs the PIN"}"#;
        let problem = Problem::parse(403, body);
        assert!(problem.is("pin-required"));
        assert_eq!(problem.to_string(), "the key needs the PIN (pin-required)");
    }
}
