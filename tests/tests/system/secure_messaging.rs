//! A card paired with terminals: over the channel, through an unsuspecting daemon.

use cardhost_terminal::pairing::{flow::PairingError, session::SessionError};
use cardhost_tests::{
    daemon::Daemon,
    pairing::{PairingDevice, card_certificate, present_as_terminal, through},
    piv, soon,
    terminal::PIN,
};
use cardhost_wire::{key::KeyReference, pairing::MAX_PAIRINGS, status::Status};
use serde_json::{Value, json};

const PATH: &str = "/v1/cards/till-1/pairings";

/// The id of a device's pairing: its key version number.
fn id(device: &PairingDevice) -> String {
    format!("{:02X}", device.kept.as_ref().expect("a pairing").set.kvn)
}

async fn pairings(daemon: &Daemon) -> Value {
    daemon.administrator().await.get(PATH).await.unwrap()
}

#[tokio::test]
async fn a_terminal_pairs_once_and_then_authenticates_without_the_user() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let before = pairings(&daemon).await;
    assert_eq!((&before["certified"], &before["policy"]), (&json!(true), &json!("open")));
    let mut device = PairingDevice::enrol(&terminal, PIN).await;
    let mut channel = terminal.present().await;
    let mut session = device.insert(&mut channel).await.unwrap();
    let listed = pairings(&daemon).await["pairings"].clone();
    assert_eq!((&listed[0]["id"], &listed[0]["terminal"]), (&json!(id(&device)), &json!("till-1")));
    for command in [piv::select(), piv::verify(PIN), piv::sign(KeyReference::AUTHENTICATION, &[7; 32])] {
        let response = through(&mut session, &mut channel, &command).await.unwrap();
        assert!(response.ends_with(&[0x90, 0x00]), "{response:02X?}");
    }
    // In plain nobody gets at the verified PIN, and the session goes on.
    channel.expect(&piv::sign(KeyReference::AUTHENTICATION, &[7; 32]), 0x6982).await;
    through(&mut session, &mut channel, &piv::sign(KeyReference::AUTHENTICATION, &[8; 32])).await.unwrap();
    channel.operate("reset").await;
    let lost = through(&mut session, &mut channel, &piv::select()).await;
    assert_eq!(lost, Err(SessionError::Ended));
    let mut session = device.insert(&mut channel).await.unwrap();
    through(&mut session, &mut channel, &piv::select()).await.unwrap();
    assert_eq!(device.asked, 1);
}

#[tokio::test]
async fn a_parked_card_knows_its_terminals_again() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let mut device = PairingDevice::enrol(&terminal, PIN).await;
    let mut channel = terminal.present().await;
    let mut session = device.insert(&mut channel).await.unwrap();
    let administrator = daemon.administrator().await;
    // A session in which nothing was done is none that a terminal would miss.
    administrator.post("/v1/cards/till-1/park", json!({})).await.unwrap();
    assert_eq!(daemon.card("till-1").await["state"], "parked");
    let lost = through(&mut session, &mut channel, &piv::select()).await;
    assert_eq!(lost, Err(SessionError::Ended));
    let mut session = device.insert(&mut channel).await.unwrap();
    let response = through(&mut session, &mut channel, &piv::select()).await.unwrap();
    assert!(response.ends_with(&[0x90, 0x00]));
    assert_eq!(device.asked, 1);
}

#[tokio::test]
async fn several_devices_pair_and_each_can_be_revoked() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let mut channel = terminal.present().await;
    let (mut first, mut second) =
        (PairingDevice::enrol(&terminal, PIN).await, PairingDevice::enrol(&terminal, PIN).await);
    first.insert(&mut channel).await.unwrap();
    let mut session = second.insert(&mut channel).await.unwrap();
    assert_eq!(pairings(&daemon).await["pairings"].as_array().unwrap().len(), 2);
    let administrator = daemon.administrator().await;
    administrator.delete(&format!("{PATH}/{}", id(&second))).await.unwrap();
    // The revoked one's session is over at once; the other's pairing is untouched.
    let ended = through(&mut session, &mut channel, &piv::select()).await;
    assert_eq!(ended, Err(SessionError::Ended));
    first.insert(&mut channel).await.unwrap();
    assert_eq!((first.asked, second.asked), (1, 1));
    // Pairing again is possible, and asks again.
    second.insert(&mut channel).await.unwrap();
    assert_eq!(second.asked, 2);
    assert_eq!(administrator.delete(PATH).await.unwrap()["revoked"], 2);
    assert_eq!(pairings(&daemon).await["pairings"], json!([]));
}

#[tokio::test]
async fn sixteen_devices_pair_and_one_more_is_told_why_not() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let mut channel = terminal.present().await;
    for _ in 0..MAX_PAIRINGS {
        PairingDevice::enrol(&terminal, PIN).await.insert(&mut channel).await.unwrap();
    }
    let mut one_more = PairingDevice::enrol(&terminal, PIN).await;
    let refused = one_more.insert(&mut channel).await.err();
    assert!(matches!(refused, Some(PairingError::Full)), "{refused:?}");
    assert!(one_more.kept.is_none());
    assert_eq!(pairings(&daemon).await["pairings"].as_array().unwrap().len(), MAX_PAIRINGS);
}

#[tokio::test]
async fn a_wrong_pin_ends_the_set_up_and_counts() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let mut channel = terminal.present().await;
    let mut device = PairingDevice::enrol(&terminal, "999999").await;
    for tries in [2, 1] {
        let refused = device.insert(&mut channel).await.err();
        assert!(matches!(refused, Some(PairingError::PinWrong(left)) if left == tries), "{refused:?}");
    }
    assert_eq!(pairings(&daemon).await["pairings"], json!([]));
    channel.operate("reset").await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&piv::command(0x20, 0, 0x80, &[], None), 0x63C1).await;
}

#[tokio::test]
async fn a_paired_only_card_answers_nobody_else() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    let administrator = daemon.administrator().await;
    let strict = administrator.put(PATH, json!({ "policy": "paired-only" })).await.unwrap();
    assert_eq!(strict["policy"], "paired-only");
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x6982).await;
    channel.expect(&piv::verify(PIN), 0x6982).await;
    let mut device = PairingDevice::enrol(&terminal, PIN).await;
    let mut session = device.insert(&mut channel).await.unwrap();
    through(&mut session, &mut channel, &piv::select()).await.unwrap();
    // The host's own narrow commands are not the terminal's.
    assert_eq!(terminal.authenticate(&certificate, Some(PIN)).await.unwrap()["result"], "success");
    administrator.put(PATH, json!({ "policy": "open" })).await.unwrap();
    channel.operate("reset").await;
    channel.expect(&piv::select(), 0x9000).await;
}

/// The authority of cards certifies no terminals: what a card shows to everybody admits nobody.
#[tokio::test]
async fn a_cards_certificate_is_no_terminals() {
    let daemon = Daemon::start().await;
    let [terminal, other] =
        [daemon.terminal("till-1", "alice").await, daemon.terminal("till-2", "bob").await];
    terminal.first("9A").await.unwrap();
    other.first("9A").await.unwrap();
    let of_other = card_certificate(&mut other.present().await).await;
    let mut device = PairingDevice::enrol(&terminal, PIN).await;
    let mut channel = terminal.present().await;
    let own = card_certificate(&mut channel).await;
    for certificate in [&own, &of_other] {
        channel.expect(&present_as_terminal(certificate), 0x6982).await;
    }
    channel.expect(&present_as_terminal(&device.identity.certificate), 0x9000).await;
    device.insert(&mut channel).await.unwrap();
}

#[tokio::test]
async fn what_is_changed_on_the_way_is_not_executed() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let mut channel = terminal.present().await;
    let mut device = PairingDevice::enrol(&terminal, PIN).await;
    let mut session = device.insert(&mut channel).await.unwrap();
    through(&mut session, &mut channel, &piv::select()).await.unwrap();
    let wrong = session.wrap(&piv::verify("999999")).unwrap();
    for (what, sent) in [("cut", &wrong[..wrong.len() - 3]), ("changed", &changed(&wrong)[..])] {
        let answer = channel.transmit(sent).await;
        assert!(!answer.ends_with(&[0x90, 0x00]), "{what}");
    }
    // Over: not even the right one is taken any more, and no try is gone.
    assert_eq!(channel.transmit(&wrong).await, Status::SECURITY_STATUS_NOT_SATISFIED.to_bytes());
    let mut session = device.insert(&mut channel).await.unwrap();
    through(&mut session, &mut channel, &piv::select()).await.unwrap();
    let tries = through(&mut session, &mut channel, &piv::command(0x20, 0, 0x80, &[], None)).await;
    assert_eq!(tries.unwrap(), [0x63, 0xC3]);
    let envelope = session.wrap(&piv::select()).unwrap();
    channel.transmit(&envelope).await;
    assert_eq!(channel.transmit(&envelope).await, [0x69, 0x88], "a replay");
}

fn changed(bytes: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[12] ^= 1;
    changed
}

/// Revoking the certificate of a device reaches the card by the authority's list.
#[tokio::test]
async fn a_removed_device_cannot_pair_again() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let mut channel = terminal.present().await;
    let mut device = PairingDevice::enrol(&terminal, PIN).await;
    device.insert(&mut channel).await.unwrap();
    terminal.client.delete(&terminal.path(&format!("devices/{}", device.id))).await.unwrap();
    let reached = async { while pairings(&daemon).await["pairings"] != json!([]) {} };
    soon("the list reaches the card", reached).await;
    let refused = device.insert(&mut channel).await.err();
    assert!(
        matches!(refused, Some(PairingError::Refused(Status::SECURITY_STATUS_NOT_SATISFIED))),
        "{refused:?}"
    );
}
