//! Profiles of a card's eUICC: installed, listed and deleted over REST, used over the terminal's channel.

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    channel::{Channel, Terminal, event, message},
    support::{Client, Daemon, refusal},
};

const PATH: &str = "/v1/cards/till/profiles";
const CERTIFICATES: &str = "/v1/terminals/till/certificates";
const ICCID: &str = "8988211000000510217";
const OTHER: &str = "89882110000005102191";
const K: &str = "465B5CE8B199B49FAA5F0A2EE238A6BC";
const OPC: &str = "CD63CB71954A9F4E48A5994E37A02BAF";

fn profile(iccid: &str) -> Value {
    json!({ "iccid": iccid, "imsi": "001010123456789", "k": K, "opc": OPC })
}

fn full() -> Value {
    json!({
        "iccid": ICCID, "imsi": "001010123456789", "k": K, "opc": OPC, "class": "test",
        "service_provider_name": "Provider", "profile_name": "Profile", "nickname": "mine",
        "notifications": [{ "events": ["enable", "delete"], "address": "smdp.example" }],
    })
}

async fn certificate(terminal: &Client) -> String {
    let wish = json!({ "key_reference": "9E", "algorithm": "P-256" });
    let made = terminal.post(CERTIFICATES, wish).await.unwrap();
    format!("{CERTIFICATES}/{}", made["id"].as_str().unwrap())
}

/// A daemon whose terminal has a card, the certificate's path, and its administrator.
async fn with_card() -> (Daemon, String, Client) {
    let daemon = Daemon::start().await;
    let certificate = certificate(&daemon.terminal("till", "alice").await).await;
    let administrator = daemon.administrator().await;
    (daemon, certificate, administrator)
}

async fn iccids(administrator: &Client) -> Vec<String> {
    let listed = administrator.get(PATH).await.unwrap();
    let profiles = listed["profiles"].as_array().unwrap().iter();
    profiles.map(|profile| profile["iccid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn without_a_card_there_are_no_profiles() {
    let daemon = Daemon::start().await;
    daemon.terminal("till", "alice").await;
    let administrator = daemon.administrator().await;
    let one = format!("{PATH}/{ICCID}");
    assert_eq!(administrator.post(PATH, profile(ICCID)).await, Err(refusal(409, "card-absent")));
    for path in [PATH, &one, "/v1/cards/other/profiles"] {
        assert_eq!(administrator.get(path).await, Err(refusal(404, "not-found")));
    }
    assert_eq!(administrator.delete(&one).await, Err(refusal(404, "not-found")));
    let elsewhere = administrator.post("/v1/cards/other/profiles", profile(ICCID)).await;
    assert_eq!(elsewhere, Err(refusal(404, "not-found")));
}

#[tokio::test]
async fn a_profile_is_installed_once_told_without_its_keys_and_audited() {
    let (_daemon, _, administrator) = with_card().await;
    let installed = administrator.post_with_key(PATH, "k", full()).await.unwrap();
    let expected = json!({
        "iccid": ICCID, "isdp_aid": "A0000005591010FFFFFFFF8900001000", "state": "disabled", "class": "test",
        "service_provider_name": "Provider", "profile_name": "Profile", "nickname": "mine",
        "notifications": [{ "events": ["enable", "delete"], "address": "smdp.example" }],
    });
    assert_eq!(installed, expected);
    assert_eq!(administrator.post_with_key(PATH, "k", full()).await.unwrap(), expected);
    assert_eq!(administrator.post(PATH, full()).await, Err(refusal(409, "profile-exists")));
    assert_eq!(administrator.get(PATH).await.unwrap(), json!({ "profiles": [expected] }));
    assert_eq!(administrator.get(&format!("{PATH}/{ICCID}")).await.unwrap(), expected);
    assert_eq!(administrator.get(&format!("{PATH}/{OTHER}")).await, Err(refusal(404, "not-found")));
    let audit = administrator.get("/v1/audit").await.unwrap().to_string();
    assert_eq!(audit.matches("profile-installed").count(), 1);
    assert!(audit.contains(ICCID) && !audit.contains(K) && !audit.contains(&K.to_lowercase()));
}

#[tokio::test]
async fn bad_profiles_are_refused_and_leave_the_idempotency_key_free() {
    let (_daemon, _, administrator) = with_card().await;
    let changes = [
        ("iccid", json!("8988211000000510218")),
        ("iccid", json!("898821100000051021")),
        ("iccid", json!(8988211000000510217_u64)),
        ("imsi", json!("00101012345678901")),
        ("imsi", json!("00101x")),
        ("k", json!("465B5CE8B199B49FAA5F0A2EE238A6")),
        ("k", json!("no hexadecimal")),
        ("opc", json!("")),
        ("opc", Value::Null),
        ("class", json!("secret")),
        ("service_provider_name", json!("x".repeat(33))),
        ("profile_name", json!("x".repeat(65))),
        ("nickname", json!("x".repeat(65))),
        ("notifications", json!([{ "events": [], "address": "smdp.example" }])),
        ("notifications", json!([{ "events": ["explode"], "address": "smdp.example" }])),
        ("notifications", json!([{ "events": ["enable"], "address": "" }])),
        ("pin", json!("123456")),
    ];
    for (member, value) in changes {
        let mut wrong = full();
        wrong[member] = value;
        let refused = administrator.post_with_key(PATH, "k", wrong.clone()).await;
        assert_eq!(refused, Err(refusal(422, "invalid-value")), "{wrong}");
    }
    assert!(iccids(&administrator).await.is_empty());
    administrator.post_with_key(PATH, "k", full()).await.unwrap();
}

#[tokio::test]
async fn a_card_holds_eight_profiles() {
    let (_daemon, _, administrator) = with_card().await;
    let numbers = (0..90).map(|number| format!("89882110000005102{number:02}"));
    let valid: Vec<_> =
        numbers.filter(|text| text.parse::<cardhost_wire::profiles::Iccid>().is_ok()).collect();
    for iccid in &valid[..8] {
        administrator.post(PATH, profile(iccid)).await.unwrap();
    }
    assert_eq!(administrator.post(PATH, profile(&valid[8])).await, Err(refusal(409, "conflict")));
    assert_eq!(iccids(&administrator).await, valid[..8]);
    administrator.delete(&format!("{PATH}/{}", valid[3])).await.unwrap();
    administrator.post(PATH, profile(&valid[8])).await.unwrap();
}

#[tokio::test]
async fn a_card_lives_for_its_profiles_and_goes_with_the_last_one() {
    let (daemon, certificate, administrator) = with_card().await;
    for iccid in [ICCID, OTHER] {
        administrator.post(PATH, profile(iccid)).await.unwrap();
    }
    assert_eq!(administrator.get("/v1/cards/till").await.unwrap()["credentials"], 3);
    let deleted = administrator.delete(&certificate).await.unwrap();
    assert_eq!(deleted, json!({ "revoked": true, "card_destroyed": false }));
    let daemon = daemon.restart().await;
    let administrator = daemon.administrator().await;
    assert_eq!(administrator.get("/v1/cards/till").await.unwrap()["credentials"], 2);
    assert_eq!(iccids(&administrator).await, [ICCID, OTHER]);
    let kept = administrator.delete(&format!("{PATH}/{ICCID}")).await.unwrap();
    assert_eq!(kept, json!({ "card_destroyed": false }));
    let last = administrator.delete(&format!("{PATH}/{OTHER}")).await.unwrap();
    assert_eq!(last["card_destroyed"], true);
    let receipt = last["receipt"].as_str().unwrap();
    administrator.get(&format!("/v1/receipts/{receipt}")).await.unwrap();
    assert_eq!(administrator.get("/v1/cards/till").await.unwrap()["state"], "absent");
    assert_eq!(administrator.get(PATH).await, Err(refusal(404, "not-found")));
    let audit = administrator.get("/v1/audit").await.unwrap().to_string();
    assert_eq!((audit.matches("profile-deleted").count(), audit.matches("card-destroyed").count()), (2, 1));
}

async fn transmit(channel: &mut Channel, command: &str) -> String {
    channel.send(Message::binary(hex::decode(command).unwrap())).await.unwrap();
    hex::encode_upper(message(channel).await.into_data())
}

#[tokio::test]
async fn a_terminal_enables_a_profile_uses_its_usim_and_deletes_the_last_one() {
    let terminal = Terminal::start().await;
    let administrator = terminal.daemon.administrator().await;
    let certificate = certificate(&terminal.client).await;
    administrator.post(PATH, profile(ICCID)).await.unwrap();
    terminal.client.delete(&certificate).await.unwrap();
    let mut channel = terminal.open_on("iso7816-t1").await.unwrap();
    assert_eq!(event(&mut channel).await["event"], "present");
    let usim = "00A4040407A0000000871002";
    assert_eq!(transmit(&mut channel, usim).await, "6A82");
    assert_eq!(transmit(&mut channel, "0070000001").await, "019000");
    assert_eq!(transmit(&mut channel, "01A4040C10A0000005591010FFFFFFFF8900000100").await, "9000");
    let by_iccid = "5A0A988812010000500112F7";
    let enable = format!("81E2910014BF3111A00C{by_iccid}8101FF");
    assert_eq!(transmit(&mut channel, &enable).await, "BF31038001009000");
    assert!(transmit(&mut channel, usim).await.starts_with("62"));
    assert_eq!(administrator.get(PATH).await.unwrap()["profiles"][0]["state"], "enabled");
    let disable = format!("81E2910014BF3211A00C{by_iccid}810100");
    assert_eq!(transmit(&mut channel, &disable).await, "BF32038001009000");
    let delete = format!("81E291000FBF330C{by_iccid}");
    assert_eq!(transmit(&mut channel, &delete).await, "BF33038001009000", "answered before the card goes");
    assert_eq!(event(&mut channel).await["event"], "absent");
    destroyed(&administrator).await;
}

/// The host destroys by itself a card that lost its last credential by APDU. Each question is one round trip.
async fn destroyed(administrator: &Client) {
    while administrator.get("/v1/cards/till").await.unwrap()["state"] != "absent" {}
    let audit = administrator.get("/v1/audit").await.unwrap().to_string();
    assert!(audit.contains("card-destroyed"), "{audit}");
}
