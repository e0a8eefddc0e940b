//! Hostile and broken input: a clear error each, the host lives, nobody else notices.

use std::{io::ErrorKind, sync::Arc};

use cardhost_tests::{
    channel::Channel,
    client::{Client, refusal, tls},
    daemon::{Daemon, PASSWORD},
    piv, soon,
    terminal::PIN,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const TERMINALS: &str = "/v1/terminals";

#[tokio::test]
async fn a_token_is_refused_after_logout_and_from_another_client_certificate() {
    let daemon = Daemon::start().await;
    let till = daemon.terminal("till-1", "alice").await;
    let other = daemon.terminal("till-2", "bob").await;
    let mut stolen = daemon.anonymous(Some(&other.device));
    stolen.token.clone_from(&till.client.token);
    assert_eq!(stolen.get(TERMINALS).await, Err(refusal(401, "unauthenticated")));
    let mut bare = daemon.anonymous(None);
    bare.token.clone_from(&till.client.token);
    assert_eq!(bare.get(TERMINALS).await, Err(refusal(401, "unauthenticated")));
    till.client.get(TERMINALS).await.unwrap();
    till.client.delete("/v1/sessions/current").await.unwrap();
    assert_eq!(till.client.get(TERMINALS).await, Err(refusal(401, "unauthenticated")));
    assert_eq!(till.open().await.err(), Some(refusal(401, "unauthenticated")));
}

#[tokio::test]
async fn unknown_members_and_malformed_values_are_refused() {
    let daemon = Daemon::start().await;
    let till = daemon.terminal("till-1", "alice").await;
    let path = till.path("certificates");
    for (body, expected) in [
        (json!({ "key_reference": "9A", "algorithm": "P-256", "more": 1 }), refusal(422, "invalid-value")),
        (json!({ "key_reference": "9B", "algorithm": "P-256" }), refusal(422, "invalid-value")),
        (json!({ "key_reference": "9A", "algorithm": "RSA-512" }), refusal(422, "invalid-value")),
        (json!({ "key_reference": "9A" }), refusal(422, "invalid-value")),
        (json!([]), refusal(422, "invalid-value")),
    ] {
        assert_eq!(till.client.post(&path, body.clone()).await, Err(expected), "{body}");
    }
    assert_eq!(daemon.card("till-1").await["state"], "absent");
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off_and_others_are_served_meanwhile() {
    let daemon = Daemon::start().await;
    let client = daemon.administrator().await;
    let mut endless = connect(&daemon).await;
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 60000\r\n\r\n{";
    endless.write_all(head.as_bytes()).await.unwrap();
    client.get(TERMINALS).await.unwrap();
    let mut answer = Vec::new();
    // A close without notice is an end, too.
    let _ = soon("the server's own end", endless.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    client.get(TERMINALS).await.unwrap();
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_before_its_end() {
    let daemon = Daemon::start().await;
    let mut long = connect(&daemon).await;
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 100000000\r\n\r\n";
    long.write_all(head.as_bytes()).await.unwrap();
    long.write_all(&vec![b' '; 100_000]).await.unwrap();
    let mut answer = [0; 12];
    soon("the refusal", long.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_thousand_idle_connections_hinder_nobody() {
    let daemon = Daemon::start().await;
    let mut card = used_card(&daemon).await;
    let address = daemon.address();
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    let client = daemon.administrator().await;
    client.get(TERMINALS).await.unwrap();
    card.expect(&piv::verify(""), 0x9000).await;
    let is_open = |connection: &&TcpStream| {
        connection.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    assert_eq!(idle.iter().filter(is_open).count(), 1000);
}

/// A channel to a card that has its PIN verified.
async fn used_card(daemon: &Daemon) -> Channel {
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&piv::verify(PIN), 0x9000).await;
    channel
}

#[tokio::test]
async fn a_login_flood_is_held_off_while_others_are_served() {
    let daemon = Daemon::start().await;
    let mut card = used_card(&daemon).await;
    let client = daemon.administrator().await;
    let mut flood = JoinSet::new();
    for attempt in 0..100 {
        let attacker: Client = daemon.anonymous(None);
        flood.spawn(async move { attacker.log_in(&format!("user-{attempt}"), PASSWORD).await.err() });
    }
    client.get(TERMINALS).await.unwrap();
    card.expect(&piv::verify(""), 0x9000).await;
    let refused = soon("the flood's end", flood.join_all()).await;
    let wrong = refusal(401, "login-refused");
    let held_off = refusal(429, "too-many-requests");
    assert!(refused.iter().flatten().all(|refusal| [&wrong, &held_off].contains(&refusal)), "{refused:?}");
    assert!(refused.contains(&Some(held_off)), "nobody was held off");
    assert!(refused.iter().all(Option::is_some));
    daemon.administrator().await;
}

#[tokio::test]
async fn malformed_commands_are_answered_and_no_other_card_notices() {
    let daemon = Daemon::start().await;
    let (till, other) = (daemon.terminal("till-1", "alice").await, daemon.terminal("till-2", "bob").await);
    till.first("9A").await.unwrap();
    other.first("9A").await.unwrap();
    let (mut hostile, mut quiet) = (till.present().await, other.present().await);
    quiet.expect(&piv::select(), 0x9000).await;
    quiet.expect(&piv::verify(PIN), 0x9000).await;
    let (card, neighbour) = (daemon.card_pid("till-1").await, daemon.card_pid("till-2").await);
    for command in malformed() {
        let response = hostile.transmit(&command).await;
        let what = hex::encode(&command[..command.len().min(16)]);
        assert!(matches!(response[..], [0x60..=0x6F, _]), "{what}: {}", hex::encode(&response));
        quiet.expect(&piv::verify(""), 0x9000).await;
    }
    assert_eq!(daemon.card_pid("till-1").await, card);
    hostile.expect(&piv::select(), 0x9000).await;
    // Longer than any APDU: the channel ends, the card stays.
    hostile.send(&vec![0; 70_000]).await;
    hostile.closed().await;
    till.present().await.expect(&piv::select(), 0x9000).await;
    quiet.expect(&piv::verify(""), 0x9000).await;
    assert_eq!(daemon.card_pid("till-2").await, neighbour);
}

/// No APDUs, and APDUs that no application takes.
fn malformed() -> Vec<Vec<u8>> {
    let select = piv::select();
    let truncated = (0..4).chain(6..16).map(|length| select[..length].to_vec());
    let mut commands: Vec<Vec<u8>> = truncated.collect();
    commands.push([&select[..], &[0; 40]].concat());
    commands.push([&[0x00, 0xA4, 0x04, 0x00, 0x00, 0xFF, 0xFF][..], &[0; 12]].concat());
    commands.push([&[0x00, 0xDB, 0x3F, 0xFF, 0x00, 0x00, 0x00][..]].concat());
    commands.push([&[0x00, 0xCB, 0x3F, 0xFF, 0x00, 0xFF, 0xFF][..], &[0x5C; 0xFFFF], &[0, 0]].concat());
    commands.push(vec![0xFF; 65_544]);
    commands.push(vec![0xFF, 0xA4, 0x00, 0x00]);
    commands.push(vec![0x00, 0x60, 0x00, 0x00]);
    commands.push(vec![0x00, 0x9F, 0x00, 0x00]);
    commands
}

async fn connect(daemon: &Daemon) -> TlsStream<TcpStream> {
    let connector = TlsConnector::from(Arc::new(tls(daemon.ca_pem(), None)));
    let stream = TcpStream::connect(daemon.address()).await.unwrap();
    soon("TLS", connector.connect("localhost".try_into().unwrap(), stream)).await.unwrap()
}
