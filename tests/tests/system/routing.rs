//! The same SELECT on each protocol, and pairing data that an operator changes while terminals work.

use cardhost_tests::{channel::Channel, client::refusal, daemon::Daemon, piv};
use serde_json::{Value, json};

const PROTOCOLS: [&str; 6] = ["apdu-gate", "spi", "swp-a", "swp-b", "iso7816-t0", "iso7816-t1"];
const PATH: &str = "/v1/cards/till-1/protocols";

/// SELECT of the AID that both containers demand for their root.
const SELECT_SHARED: [u8; 14] =
    [0x00, 0xA4, 0x04, 0x00, 0x08, 0xA0, 0x00, 0x00, 0x01, 0x51, 0x00, 0x00, 0x00, 0x00];
/// The last bytes of the DF name that each root answers with.
const ISD: [u8; 4] = [0x51, 0x00, 0x00, 0x00];
const ISD_R: [u8; 4] = [0x52, 0x00, 0x00, 0x00];

/// Which root answers.
async fn root(channel: &mut Channel) -> &'static str {
    let response = channel.expect(&SELECT_SHARED, 0x9000).await;
    match response[8..12].try_into() {
        Ok(ISD) => "secure-element",
        Ok(ISD_R) => "uicc",
        _ => panic!("{response:02X?}"),
    }
}

fn pairing(container: impl Fn(&str) -> &'static str) -> Value {
    let protocols: serde_json::Map<_, _> =
        PROTOCOLS.map(|protocol| (protocol.to_owned(), container(protocol).into())).into_iter().collect();
    json!({ "protocols": protocols, "shared_files": ["3F00"] })
}

fn default_container(protocol: &str) -> &'static str {
    if protocol.starts_with("iso7816") { "uicc" } else { "secure-element" }
}

#[tokio::test]
async fn the_shared_root_follows_the_pairing_and_nothing_else_does() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let administrator = daemon.administrator().await;
    assert_eq!(administrator.get(PATH).await.err(), Some(refusal(404, "not-found")));
    terminal.first("9A").await.unwrap();
    assert_eq!(administrator.get(PATH).await.unwrap(), pairing(default_container));
    let mut channels = Vec::new();
    for protocol in PROTOCOLS {
        let mut channel = terminal.open_on(protocol).await.unwrap();
        channel.until("present").await;
        assert_eq!(root(&mut channel).await, default_container(protocol), "{protocol}");
        channel.expect(&piv::select(), 0x9000).await;
        channels.push((protocol, channel));
    }
    let turned = pairing(|protocol| if protocol == "spi" { "uicc" } else { "secure-element" });
    assert_eq!(administrator.put(PATH, turned.clone()).await.unwrap(), turned);
    for (protocol, channel) in &mut channels {
        let expected = if *protocol == "spi" { "uicc" } else { "secure-element" };
        assert_eq!(root(channel).await, expected, "{protocol}");
    }
    administrator.post("/v1/cards/till-1/park", json!({ "force": true })).await.unwrap();
    assert_eq!(administrator.get(PATH).await.unwrap(), turned);
    assert_eq!(daemon.audited("card-paired").await.len(), 1);
}

#[tokio::test]
async fn bad_pairing_data_changes_nothing() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let administrator = daemon.administrator().await;
    terminal.first("9A").await.unwrap();
    let mut one_missing = pairing(default_container);
    one_missing["protocols"].as_object_mut().unwrap().remove("swp-b");
    let with = |member: &str, value: Value| {
        let mut changed = pairing(default_container);
        changed[member] = value;
        changed
    };
    for wrong in [
        one_missing,
        with("shared_files", json!(["3F0"])),
        with("shared_files", json!(["3F00", "3F00"])),
        with("protocols", json!({ "usb": "uicc" })),
        with("other", json!(1)),
    ] {
        let refused = administrator.put(PATH, wrong.clone()).await;
        assert_eq!(refused, Err(refusal(422, "invalid-value")), "{wrong}");
    }
    assert_eq!(administrator.get(PATH).await.unwrap(), pairing(default_container));
    assert!(daemon.audited("card-paired").await.is_empty());
}
