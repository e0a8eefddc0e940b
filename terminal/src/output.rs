//! What the user sees: lines for people, or one JSON object per line.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::error::Error;

/// How results are printed on standard output.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Lines for people, or JSON.
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a result, as text or as the value's JSON. A reader that went away is no error.
    pub fn show(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let line = if self.json { serde_json::to_string(value).unwrap_or_default() } else { text() };
        let _ = writeln!(io::stdout(), "{line}");
    }
}

/// Prints an error and what to try on standard error.
pub fn failure(error: &Error, json: bool) {
    if json {
        let value = serde_json::json!({
            "error": error.to_string(),
            "hint": error.hint(),
            "problem": error.problem(),
        });
        eprintln!("{value}");
        return;
    }
    eprintln!("cardhost-terminal: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
}
