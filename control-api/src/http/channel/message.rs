//! The text messages of a channel.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::card::Presence;

/// From the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// What to do.
    pub op: Operation,
}

/// What the terminal does to the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Operation {
    PowerOn,
    PowerOff,
    Reset,
}

/// From the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// The terminal has a card.
    Present {
        /// Its answer to reset, hex.
        #[serde(serialize_with = "hex::serialize")]
        atr: Arc<[u8]>,
    },
    /// The terminal has no card, or one that does not start.
    Absent {
        /// Why.
        reason: &'static str,
    },
}

impl From<&Presence> for Event {
    fn from(presence: &Presence) -> Self {
        match presence {
            Presence::Present { atr, .. } => Self::Present { atr: atr.clone() },
            Presence::Absent { reason } => Self::Absent { reason },
        }
    }
}

impl Event {
    /// The event as a message's text.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("strings are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stand_as_documented() {
        let present = Event::Present { atr: [0x3B, 0x80].into() };
        assert_eq!(present.text(), r#"{"event":"present","atr":"3b80"}"#);
        let absent = Event::Absent { reason: "no card" };
        assert_eq!(absent.text(), r#"{"event":"absent","reason":"no card"}"#);
        let wish: Wish = serde_json::from_str(r#"{"op":"power-off"}"#).unwrap();
        assert_eq!(wish, Wish { op: Operation::PowerOff });
        assert!(serde_json::from_str::<Wish>(r#"{"op":"reset","more":1}"#).is_err());
    }
}
