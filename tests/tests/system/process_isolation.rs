//! The main story with cards as processes, on every machine; and that nobody can mistake them for microVMs.

use cardhost_tests::{
    daemon::Daemon,
    piv,
    process::{children, command, ended, kill},
    terminal::PIN,
};
use cardhost_wire::key::KeyReference;

const DIGEST: [u8; 32] = [0x42; 32];

#[tokio::test]
async fn a_card_as_a_process_lives_its_whole_life() {
    let daemon = Daemon::start_with_processes().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    assert_eq!(daemon.card("till-1").await["isolation"], "process");
    let first = terminal.first("9A").await.unwrap();
    let second = terminal.create("9E").await.unwrap();
    assert_eq!(terminal.authenticate(&first, Some(PIN)).await.unwrap()["result"], "success");
    let mut channel = terminal.present().await;
    channel.expect(&piv::select(), 0x9000).await;
    channel.expect(&piv::verify(PIN), 0x9000).await;
    channel.expect(&piv::sign(KeyReference::AUTHENTICATION, &DIGEST), 0x9000).await;

    terminal.delete(&first).await.unwrap();
    let (card, guests) = processes(&daemon).await;
    let deleted = terminal.delete(&second).await.unwrap();
    assert_eq!(deleted["card_destroyed"], true);
    ended(card).await;
    ended(guests[0]).await;
    assert_eq!(daemon.card("till-1").await["state"], "absent");
}

#[tokio::test]
async fn a_killed_guest_or_tender_comes_back_with_all_it_acknowledged() {
    let daemon = Daemon::start_with_processes().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let certificate = terminal.first("9A").await.unwrap();
    let mut channel = terminal.present().await;
    for kills_guest in [true, false] {
        let (card, guests) = processes(&daemon).await;
        kill(if kills_guest { guests[0] } else { card });
        // A card's process finds its guest gone at the next use, which may fail for that.
        let _ = terminal.authenticate(&certificate, Some(PIN)).await;
        for process in [card, guests[0]] {
            ended(process).await;
        }
        channel.until("absent").await;
        channel.until("present").await;
        assert_eq!(terminal.authenticate(&certificate, Some(PIN)).await.unwrap()["result"], "success");
    }
}

/// The card's process and its one guest.
async fn processes(daemon: &Daemon) -> (u32, Vec<u32>) {
    let card = daemon.card_pid("till-1").await;
    let guests = children(card);
    assert_eq!(guests.len(), 1, "a card's process has one guest");
    (card, guests)
}

#[tokio::test]
async fn every_listing_and_log_names_it() {
    let daemon = Daemon::start_with_processes().await;
    let terminal = daemon.terminal("till-1", "alice").await;
    terminal.first("9A").await.unwrap();
    let cards = daemon.administrator().await.get("/v1/cards").await.unwrap();
    assert_eq!(cards["cards"][0]["isolation"], "process");
    assert!(daemon.server.log().contains("cards are processes, not microVMs"), "{}", daemon.server.log());
    let mut list = command("cardhost", ["card", "list"]);
    let output = list.env("CARDHOST_DATA", daemon.data()).output().await.unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("ISOLATION") && table.contains("process"), "{table}");
}

#[tokio::test]
async fn the_demonstration_says_what_it_shows() {
    let output = command("cardhost", ["demo", "--insecure-process-isolation"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("NOT A MICROVM") && said.contains("every step held"), "{said}");
}
