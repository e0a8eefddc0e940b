//! Renewal of cards' certificates for pairing, by an authority whose certificates do not live long.

use std::{collections::BTreeSet, time::UNIX_EPOCH};

use cardhost_tests::{
    authority::Authority,
    front::Fault,
    needs_kvm,
    pairing::{PairingDevice, card_certificate, request},
    terminal::PIN,
    until,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use x509_parser::parse_x509_certificate;

use crate::scene::Scene;

const RENEWAL: &str = "/est/pairing-cards/simplereenroll";
const RENEWED: &str = "card-certificate-renewed";

impl Scene {
    /// All certificates that are made here are in their last third at once.
    async fn of_short_certificates() -> Self {
        let scene = Self::with(Authority::start_with(&["--pairing-validity", "60"]).await).await;
        // The host has looked once, before there is a card.
        until("the list is fetched", async || scene.count("SELECT count(*) FROM revocation_list") == 1).await;
        scene.terminal.first("9A").await.unwrap();
        scene
    }

    /// Has the host look after pairing at once, not only with the next hour: a terminal is lost. Waits for its certificate's
    /// revocation.
    async fn look(&self) {
        let wish = json!({ "csr": request("any").1, "pairing_csr": request("till-1").1 });
        let device = self.terminal.client.post(&self.terminal.path("devices"), wish).await.unwrap();
        let path = self.terminal.path(&format!("devices/{}", device["id"].as_str().unwrap()));
        let before = self.daemon.audited("certificate-revoked").await.len();
        self.terminal.client.delete(&path).await.unwrap();
        until("the certificate is revoked", async || {
            self.daemon.audited("certificate-revoked").await.len() > before
        })
        .await;
    }

    /// Waits until so many renewals are audited.
    async fn renewed(&self, times: usize) {
        let is_renewed = async || self.daemon.audited(RENEWED).await.len() == times;
        until("the certificate is renewed", is_renewed).await;
    }

    fn store(&self) -> Connection {
        Connection::open(self.daemon.data().join("store.db")).unwrap()
    }

    fn count(&self, sql: &str) -> i64 {
        self.store().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// True if a renewed certificate waits for the card.
    fn waits(&self) -> bool {
        self.count("SELECT count(*) FROM pairing_keys WHERE renewed IS NOT NULL") == 1
    }
}

/// Serial number and key of a certificate.
fn parsed(certificate: &[u8]) -> (String, Vec<u8>) {
    let (_, parsed) = parse_x509_certificate(certificate).unwrap();
    let serial = hex::encode_upper(parsed.raw_serial());
    (serial.trim_start_matches('0').into(), parsed.public_key().raw.to_vec())
}

#[tokio::test]
async fn a_live_card_has_its_renewed_certificate_at_once_and_its_pairings_go_on() {
    let scene = Scene::of_short_certificates().await;
    let mut device = PairingDevice::enrol(&scene.terminal, PIN).await;
    let mut channel = scene.terminal.present().await;
    device.insert(&mut channel).await.unwrap();
    let first = parsed(&card_certificate(&mut channel).await);
    scene.look().await;
    scene.renewed(1).await;
    until("the card has it", async || !scene.waits()).await;
    let second = parsed(&card_certificate(&mut channel).await);
    assert!(second.0 != first.0 && second.1 == first.1, "another certificate of the same key");
    let both = BTreeSet::from([first.0, second.0.clone()]);
    assert!(scene.authority.valid_to_pair().is_superset(&both), "replaced, not revoked");
    device.insert(&mut channel).await.unwrap();
    assert_eq!(device.asked, 1);
    PairingDevice::enrol(&scene.terminal, PIN).await.insert(&mut channel).await.unwrap();

    // It is in its last third again, and an hour has not passed.
    scene.look().await;
    scene.look().await;
    assert_eq!(parsed(&card_certificate(&mut channel).await), second);
    assert_eq!(scene.daemon.audited(RENEWED).await.len(), 1);
}

#[tokio::test]
async fn a_parked_card_is_renewed_where_it_is_and_has_its_certificate_when_it_wakes() {
    needs_kvm!();
    let mut scene = Scene::of_short_certificates().await;
    let mut channel = scene.terminal.present().await;
    let (first, _) = parsed(&card_certificate(&mut channel).await);
    channel.close().await;
    scene.park().await;
    scene.look().await;
    scene.renewed(1).await;
    assert!(scene.waits());
    assert_eq!(scene.daemon.card("till-1").await["state"], "parked", "nobody woke it");
    // Also over a daemon's end.
    scene.daemon.kill_and_restart().await;
    let mut channel = scene.terminal.present().await;
    card_certificate(&mut channel).await;
    until("the card has it", async || !scene.waits()).await;
    let (second, _) = parsed(&card_certificate(&mut channel).await);
    assert_ne!(second, first);
    let ended = scene.terminal.certificates().await.remove(0);
    scene.terminal.delete(&ended).await.unwrap();
    until("both are revoked with the card", async || scene.authority.valid_to_pair().is_empty()).await;
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_an_hour_later() {
    let scene = Scene::of_short_certificates().await;
    let due = || scene.count("SELECT renew_at FROM pairing_keys");
    for fault in [Fault::Refuse, Fault::LoseRequest, Fault::LoseAnswer] {
        scene.front.break_at(RENEWAL, fault);
        scene.store().execute("UPDATE pairing_keys SET renew_at = 7", []).unwrap();
        scene.look().await;
        until("it is tried", async || due() != 7).await;
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        assert!((now + 3_000..=now + 3_600).contains(&due()), "{fault:?}");
    }
    scene.front.mend();
    assert!(scene.daemon.audited(RENEWED).await.is_empty() && !scene.waits());
    scene.store().execute("UPDATE pairing_keys SET renew_at = 7", []).unwrap();
    scene.look().await;
    scene.renewed(1).await;
}

/// Certified when cards and terminals had one authority, and before requests were kept.
#[tokio::test]
async fn a_card_of_before_is_certified_by_the_cards_authority() {
    let mut scene = Scene::of_short_certificates().await;
    let enrolled = PairingDevice::enrol(&scene.terminal, PIN).await;
    let (by_the_terminals, _) = parsed(&enrolled.identity.certificate);
    assert!(scene.daemon.server.terminate().await);
    let sql = "UPDATE pairing_keys SET renew_at = 0, renewal_request = NULL, certificate = ?1";
    scene.store().execute(sql, [&enrolled.identity.certificate[..]]).unwrap();
    scene.daemon.restart().await;
    scene.renewed(1).await;
    until("the card has it", async || !scene.waits()).await;
    let mut channel = scene.terminal.present().await;
    let (now, _) = parsed(&card_certificate(&mut channel).await);
    assert!(scene.authority.valid_to_pair().contains(&now));
    // What passes as a terminal's is revoked.
    let is_revoked = async || !scene.authority.valid_to_pair().contains(&by_the_terminals);
    until("the one before is revoked", is_revoked).await;
    let other: Value = scene.terminal.client.get("/v1/cards/till-1/pairings").await.unwrap();
    assert_eq!(other["certified"], true);
}
