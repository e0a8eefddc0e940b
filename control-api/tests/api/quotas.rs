//! Quotas: a creation beyond is refused before anything is made.

use cardhost::store::quotas::Quotas;
use serde_json::json;

use crate::support::{Daemon, refusal};

#[tokio::test]
async fn a_creation_beyond_a_quota_leaves_nothing() {
    for (quotas, problem) in [
        (Quotas { cards: 0, of_user: None }, "too-many-cards"),
        (Quotas { cards: 9, of_user: Some(0) }, "user-quota-reached"),
    ] {
        let daemon = Daemon::start_with(|config| config.quotas = quotas).await;
        let alice = daemon.terminal("till", "alice").await;
        let wish = json!({ "key_reference": "9A", "algorithm": "P-256" });
        let path = "/v1/terminals/till/certificates";
        // The idempotency key is free again after a refusal.
        for _ in 0..2 {
            let refused = alice.post_with_key(path, "key", wish.clone()).await;
            assert_eq!(refused, Err(refusal(409, problem)));
        }
        assert_eq!(alice.get(path).await.unwrap()["certificates"], json!([]));
        let administrator = daemon.administrator().await;
        assert_eq!(administrator.get("/v1/cards").await.unwrap()["cards"], json!([]));
        let audit = administrator.get("/v1/audit").await.unwrap().to_string();
        assert!(!audit.contains("card-created") && !audit.contains("certificate"), "{audit}");
    }
}
