//! The third container: configured by the operator, its first keys told to the terminal's user.

use serde_json::json;

use crate::support::{Daemon, refusal};

const PROTOCOLS: &str = "/v1/cards/till/protocols";
const SECRETS: &str = "/v1/terminals/till/secrets";

#[tokio::test]
async fn a_second_secure_element_gets_keys_of_its_own_when_a_protocol_is_paired_with_it() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let administrator = daemon.administrator().await;
    let wish = json!({ "key_reference": "9E", "algorithm": "P-256" });
    alice.post("/v1/terminals/till/certificates", wish).await.unwrap();
    let first = alice.get(SECRETS).await.unwrap();
    assert!(first.get("second_security_domain_keys").is_none());
    let mut pairing = administrator.get(PROTOCOLS).await.unwrap();
    pairing["protocols"]["spi"] = "second-secure-element".into();
    assert_eq!(administrator.put(PROTOCOLS, pairing.clone()).await.unwrap(), pairing);
    let both = alice.get(SECRETS).await.unwrap();
    let [own, second] = ["security_domain_keys", "second_security_domain_keys"].map(|keys| &both[keys]);
    assert_eq!(own, &first["security_domain_keys"]);
    assert!(own != second && second.as_str().map(str::len) == Some(96));
    alice.delete(SECRETS).await.unwrap();
    administrator.put(PROTOCOLS, pairing.clone()).await.unwrap();
    assert_eq!(alice.get(SECRETS).await, Err(refusal(404, "not-found")));
    assert_eq!(administrator.get(PROTOCOLS).await.unwrap(), pairing);
}
