//! A daemon whose way to its authority can be disturbed, and a terminal. What a test asks of them stands in its own file.

use cardhost_tests::{authority::Authority, daemon::Daemon, front::Front, terminal::Terminal};
use serde_json::json;

/// Who plays a part.
pub(crate) struct Scene {
    pub(crate) authority: Authority,
    pub(crate) front: Front,
    pub(crate) daemon: Daemon,
    pub(crate) terminal: Terminal,
}

impl Scene {
    /// The terminal `till-1`, without a card.
    pub(crate) async fn set() -> Self {
        Self::with(Authority::start().await).await
    }

    /// The same with this authority.
    pub(crate) async fn with(authority: Authority) -> Self {
        let front = Front::start(&authority).await;
        let daemon = Daemon::start_with(authority.options(&front)).await;
        let terminal = daemon.terminal("till-1", "alice").await;
        Self { authority, front, daemon, terminal }
    }

    /// Parks the terminal's card, whatever is open.
    pub(crate) async fn park(&self) {
        let administrator = self.daemon.administrator().await;
        let parked = administrator.post("/v1/cards/till-1/park", json!({ "force": true })).await.unwrap();
        assert_eq!(parked["state"], "parked");
    }
}
