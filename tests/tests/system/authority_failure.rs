//! Requests and answers that get lost between daemon and authority: afterwards both sides agree.

use cardhost_tests::{
    authority::listed,
    client::{Refusal, refusal},
    front::Fault,
    terminal::PIN,
    until,
};
use serde_json::Value;

use crate::scene::Scene;

const ENROLMENT: &str = "/est/simpleenroll";
/// What the authority is asked about a new card's key to pair with.
const PAIRING: [&str; 3] =
    ["/est/pairing-cards/simpleenroll", "/est/pairing-cards/cacerts", "/est/pairing-terminals/cacerts"];
const REVOCATION: &str = "/v1/revocations";

impl Scene {
    /// Waits until exactly the certificates that the daemon lists are valid at the authority, and one of the card's key to
    /// pair with if there is a card.
    async fn certificates_agree(&self) {
        until("daemon and authority agree", async || {
            let certificates = self.terminal.certificates().await;
            let cards = usize::from(!certificates.is_empty());
            listed(&certificates) == self.authority.valid() && self.authority.valid_to_pair().len() == cards
        })
        .await;
    }

    async fn works(&self, certificate: &Value) {
        let answer = self.terminal.authenticate(certificate, Some(PIN)).await.unwrap();
        assert_eq!(answer["result"], "success");
    }
}

#[tokio::test]
async fn an_enrolment_that_fails_leaves_no_card_and_no_valid_certificate() {
    let scene = Scene::set().await;
    for (fault, expected) in [
        (Fault::Refuse, refusal(409, "authority-refused")),
        (Fault::LoseRequest, refusal(503, "authority-unreachable")),
        (Fault::LoseAnswer, refusal(503, "authority-unreachable")),
    ] {
        scene.front.break_at(ENROLMENT, fault);
        assert_eq!(scene.terminal.first("9A").await, Err(expected), "{fault:?}");
        scene.front.mend();
        scene.certificates_agree().await;
        assert_eq!(scene.daemon.card("till-1").await["state"], "absent", "{fault:?}");
    }
    let certificate = scene.terminal.first("9A").await.unwrap();
    assert_eq!(certificate["card_created"], true);
    scene.works(&certificate).await;
}

#[tokio::test]
async fn a_card_whose_pairing_key_is_not_certified_is_not_left_behind() {
    let scene = Scene::set().await;
    for path in PAIRING {
        for (fault, expected) in [
            (Fault::Refuse, refusal(409, "authority-refused")),
            (Fault::LoseRequest, refusal(503, "authority-unreachable")),
            (Fault::LoseAnswer, refusal(503, "authority-unreachable")),
        ] {
            scene.front.break_at(path, fault);
            assert_eq!(scene.terminal.first("9A").await, Err(expected), "{path} {fault:?}");
            scene.front.mend();
            scene.certificates_agree().await;
            assert_eq!(scene.daemon.card("till-1").await["state"], "absent", "{path} {fault:?}");
        }
    }
    assert!(scene.authority.issued().is_empty(), "the user's key was never asked for");
    let certificate = scene.terminal.first("9A").await.unwrap();
    scene.works(&certificate).await;
    scene.certificates_agree().await;
}

#[tokio::test]
async fn a_revocation_that_fails_keeps_the_certificate_until_it_is_known_to_be_revoked() {
    for fault in [Fault::Refuse, Fault::LoseRequest, Fault::LoseAnswer] {
        let scene = Scene::set().await;
        let certificate = scene.terminal.first("9A").await.unwrap();
        scene.front.break_at(REVOCATION, fault);
        let refused: Result<Value, Refusal> = scene.terminal.delete(&certificate).await;
        assert!(refused.is_err(), "{fault:?}: {refused:?}");
        scene.front.mend();
        if !scene.terminal.certificates().await.is_empty() {
            // Not carried forward by itself: the caller asks again.
            let _ = scene.terminal.delete(&certificate).await;
        }
        scene.certificates_agree().await;
        assert!(scene.authority.valid().is_empty(), "{fault:?}");
        assert_eq!(scene.daemon.card("till-1").await["state"], "absent", "{fault:?}");
    }
}

#[tokio::test]
async fn a_daemon_killed_while_an_answer_is_lost_agrees_with_the_authority_after_its_start() {
    let mut scene = Scene::set().await;
    scene.front.break_at(ENROLMENT, Fault::LoseAnswer);
    assert!(scene.terminal.first("9A").await.is_err());
    assert_eq!(scene.authority.issued().len(), 1);
    scene.daemon.server.kill().await;
    scene.front.mend();
    scene.daemon.restart().await;
    scene.certificates_agree().await;
    assert!(scene.authority.valid().is_empty());

    let certificate = scene.terminal.first("9A").await.unwrap();
    scene.front.break_at(REVOCATION, Fault::LoseAnswer);
    assert!(scene.terminal.delete(&certificate).await.is_err());
    scene.daemon.server.kill().await;
    scene.front.mend();
    scene.daemon.restart().await;
    scene.certificates_agree().await;
    assert!(scene.authority.valid().is_empty());
}

#[tokio::test]
async fn an_authority_that_was_away_is_used_again() {
    let mut scene = Scene::set().await;
    let certificate = scene.terminal.first("9A").await.unwrap();
    scene.authority.server.kill().await;
    assert!(scene.terminal.create("9C").await.is_err());
    scene.authority.restart().await;
    scene.certificates_agree().await;
    scene.works(&certificate).await;
    scene.terminal.create("9C").await.unwrap();
    scene.certificates_agree().await;
    assert_eq!(scene.authority.valid().len(), 2);
}
