//! The terminal's channel to a card in its microVM.

use cardhost_tests::{
    client::refusal,
    daemon::Daemon,
    piv,
    process::ended,
    terminal::{PIN, PUK},
    until,
};
use cardhost_wire::key::KeyReference;

const DIGEST: [u8; 32] = [0x42; 32];

#[tokio::test]
async fn the_reader_fills_with_the_first_certificate_and_empties_with_the_last_deletion() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let mut channel = terminal.open().await.unwrap();
    assert_eq!(channel.event().await["event"], "absent");
    let certificate = terminal.first("9A").await.unwrap();
    let present = channel.until("present").await;
    assert!(present["atr"].as_str().unwrap().starts_with("3b"), "{present}");
    channel.expect(&piv::select(), 0x9000).await;
    assert_eq!(terminal.open().await.err(), Some(refusal(409, "channel-in-use")));
    terminal.delete(&certificate).await.unwrap();
    channel.until("absent").await;
}

#[tokio::test]
async fn a_reset_and_a_new_channel_clear_the_pin_and_rest_does_not_share_it() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    let sign = piv::sign(KeyReference::AUTHENTICATION, &DIGEST);
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&sign, 0x6982).await;
    assert_eq!(terminal.authenticate(&certificate, Some(PIN)).await.unwrap()["result"], "success");
    channel.expect(&sign, 0x6982).await;
    channel.expect(&piv::verify(PIN), 0x9000).await;
    channel.expect(&sign, 0x9000).await;
    assert_eq!(terminal.authenticate(&certificate, None).await, Err(refusal(403, "pin-required")));
    channel.operate("reset").await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&sign, 0x6982).await;
    channel.expect(&piv::verify(PIN), 0x9000).await;
    channel.close().await;
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&sign, 0x6982).await;
}

#[tokio::test]
async fn the_last_credential_erased_by_apdu_takes_the_card_and_its_certificate_is_revoked() {
    let daemon = Daemon::start().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let pid = daemon.card_pid("till-1").await;
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    for left in [2, 1, 0] {
        channel.expect(&piv::verify("999999"), 0x63C0 + left).await;
    }
    channel.expect(&piv::verify(PIN), 0x6983).await;
    for left in [2, 1, 0] {
        channel.expect(&piv::reset_retry_counter("99999999", PIN), 0x63C0 + left).await;
    }
    channel.expect(&piv::reset_retry_counter(PUK, PIN), 0x6983).await;
    // The answer comes before the end.
    channel.expect(&piv::reset(), 0x9000).await;
    channel.until("absent").await;
    ended(pid).await;
    assert!(terminal.certificates().await.is_empty());
    // The destruction goes on for a moment after the process.
    until("the card's destruction", async || daemon.card("till-1").await["state"] == "absent").await;
}
