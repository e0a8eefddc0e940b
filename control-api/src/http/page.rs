//! Lists come in pages.

use serde::Deserialize;
use utoipa::IntoParams;

/// Entries of a page when the caller does not say.
const DEFAULT: u32 = 100;
/// Most entries of a page.
const MAX: u32 = 1000;

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only entries after this one: the `next` of the page before.
    after: Option<String>,
    /// Entries at most: 1 to 1,000, 100 if absent.
    limit: Option<u32>,
}

impl Page {
    /// Only entries after this one; empty from the beginning.
    pub fn after(&self) -> String {
        self.after.clone().unwrap_or_default()
    }

    /// Entries at most.
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT).clamp(1, MAX)
    }

    /// What to ask for after this page, if it is full.
    pub fn next<T>(&self, entries: &[T], name: impl Fn(&T) -> String) -> Option<String> {
        entries.last().filter(|_| entries.len() as u32 == self.limit()).map(name)
    }
}
