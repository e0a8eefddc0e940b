//! The same SELECT on each protocol, and pairing data that an operator changes while terminals work.

use cardhost_terminal::pairing::crypto::Key;
use cardhost_tests::{channel::Channel, client::refusal, daemon::Daemon, piv, terminal::Terminal};
use serde_json::{Value, json};

const PROTOCOLS: [&str; 6] = ["apdu-gate", "spi", "swp-a", "swp-b", "iso7816-t0", "iso7816-t1"];
const PATH: &str = "/v1/cards/till-1/protocols";

/// SELECT of the AID that both containers demand for their root.
const SELECT_SHARED: [u8; 14] =
    [0x00, 0xA4, 0x04, 0x00, 0x08, 0xA0, 0x00, 0x00, 0x01, 0x51, 0x00, 0x00, 0x00, 0x00];
/// The last bytes of the DF name that each root answers with.
const ISD: [u8; 4] = [0x51, 0x00, 0x00, 0x00];
const ISD_R: [u8; 4] = [0x52, 0x00, 0x00, 0x00];

/// SELECT of the UICC's root by the name that it has alone.
const SELECT_ISD_R: [u8; 14] =
    [0x00, 0xA4, 0x04, 0x00, 0x08, 0xA0, 0x00, 0x00, 0x01, 0x52, 0x00, 0x00, 0x00, 0x00];
const CONTAINERS: [&str; 3] = ["secure-element", "uicc", "second-secure-element"];

/// Key-MAC of each secure element's issuer security domain, as its terminal's user is told it.
struct Told([(&'static str, Key); 2]);

impl Told {
    async fn to(terminal: &Terminal) -> Self {
        let secrets = terminal.client.get(&terminal.path("secrets")).await.unwrap();
        let key = |name: &str| {
            let set: [u8; 48] = hex::FromHex::from_hex(secrets[name].as_str().unwrap()).unwrap();
            Key::new(*set[16..].first_chunk().unwrap())
        };
        let second = key("second_security_domain_keys");
        Self([("secure-element", key("security_domain_keys")), ("second-secure-element", second)])
    }

    /// Which root answers to the shared AID: a secure element shows by its card cryptogram (Amendment D, 6.2.2.2)
    /// whose keys it has.
    async fn root(&self, channel: &mut Channel) -> &'static str {
        if root(channel).await == "uicc" {
            return "uicc";
        }
        const HOST_CHALLENGE: [u8; 8] = [0xA5; 8];
        let command = [&[0x80, 0x50, 0x00, 0x00, 0x08], &HOST_CHALLENGE[..], &[0x00]].concat();
        let response = channel.expect(&command, 0x9000).await;
        let context = [&HOST_CHALLENGE, &response[13..21]].concat();
        let proves = |key: &Key| *key.derive_key(6, &context).derive::<8>(0, &context) == response[21..29];
        let proved: Vec<_> = self.0.iter().filter(|(_, key)| proves(key)).collect();
        assert_eq!(proved.len(), 1, "one domain's keys");
        proved[0].0
    }
}

/// Which kind of root answers to the shared AID.
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
async fn each_of_three_containers_with_one_root_is_reached_on_each_protocol() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let administrator = daemon.administrator().await;
    terminal.first("9A").await.unwrap();
    let mut channels = Vec::new();
    for protocol in PROTOCOLS {
        let mut channel = terminal.open_on(protocol).await.unwrap();
        channel.until("present").await;
        channels.push(channel);
    }
    for turn in 0..CONTAINERS.len() {
        let container = |at: usize| CONTAINERS[(at + turn) % CONTAINERS.len()];
        let at = |protocol: &str| PROTOCOLS.iter().position(|other| *other == protocol).unwrap();
        let wish = pairing(|protocol| container(at(protocol)));
        assert_eq!(administrator.put(PATH, wish.clone()).await.unwrap(), wish);
        let told = Told::to(&terminal).await;
        for (at, channel) in channels.iter_mut().enumerate() {
            assert_eq!(told.root(channel).await, container(at), "{} in turn {turn}", PROTOCOLS[at]);
            let own = channel.expect(&SELECT_ISD_R, 0x9000).await;
            assert_eq!(own[8..12], ISD_R);
            channel.expect(&piv::select(), 0x9000).await;
        }
    }
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
