//! Daemon, launcher, authority or card killed at each durable write of each step of a certificate's life: afterwards both sides
//! agree, and a caller who asks again gets an answer that fits.

use std::time::Duration;

use cardhost_tests::{
    authority::listed,
    needs_kvm,
    process::{children, command, ended, kill},
    saboteur::{Saboteur, can_trace},
    soon,
    terminal::{PIN, id, wish},
    until,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::scene::Scene;

/// A step of a certificate's life.
#[derive(Clone, Copy, Debug)]
enum Step {
    First,
    Second,
    Renew,
    DeleteOne,
    DeleteLast,
}

impl Step {
    const ALL: [Self; 5] = [Self::First, Self::Second, Self::Renew, Self::DeleteOne, Self::DeleteLast];

    /// How many certificates there are before it.
    const fn before(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second | Self::Renew | Self::DeleteLast => 1,
            Self::DeleteOne => 2,
        }
    }
}

const SLOTS: [&str; 2] = ["9A", "9C"];

impl Scene {
    /// Makes or deletes certificates until there are as many as the step needs.
    async fn prepare(&self, step: Step) -> Vec<Value> {
        loop {
            let certificates = self.terminal.certificates().await;
            match certificates.len() {
                count if count == step.before() => return certificates,
                count if count > step.before() => {
                    let deleted = self.terminal.delete(&certificates[count - 1]).await;
                    deleted.expect("a certificate is deleted");
                }
                0 => drop(self.terminal.first(SLOTS[0]).await.expect("a first certificate")),
                _ => {
                    let taken = certificates[0]["key_reference"] == SLOTS[0];
                    self.terminal.create(SLOTS[usize::from(taken)]).await.expect("another certificate");
                }
            }
        }
    }

    /// Sends the step's request. `None` if no answer came.
    async fn request(&self, step: Step, certificates: &[Value]) -> Option<StatusCode> {
        let path = |rest: &str| self.terminal.path(&format!("certificates{rest}"));
        let last = || format!("/{}", id(certificates.last().expect("a certificate")));
        let client = &self.terminal.client;
        let request = match step {
            Step::First => {
                let mut wish = wish(SLOTS[0]);
                wish["pin"] = PIN.into();
                client.request(Method::POST, &path("")).json(&wish)
            }
            Step::Second => {
                let taken = certificates[0]["key_reference"] == SLOTS[0];
                client.request(Method::POST, &path("")).json(&wish(SLOTS[usize::from(taken)]))
            }
            Step::Renew => client.request(Method::POST, &path(&format!("{}/renewal", last()))),
            Step::DeleteOne | Step::DeleteLast => client.request(Method::DELETE, &path(&last())),
        };
        Some(request.send().await.ok()?.status())
    }

    /// The first reconciliation of a daemon that was started anew left nothing open: before, both sides may agree on
    /// what is about to change.
    async fn reconciled(&self, context: &str) {
        until(&format!("{context}: nothing is open"), async || {
            let figures = self.daemon.anonymous(None).request(Method::GET, "/metrics").send().await;
            let figures = figures.expect("the daemon answers").text().await.expect("figures");
            let open = ["cardhost_intents_open 0", "cardhost_revocations_open 0"];
            open.iter().all(|none| figures.lines().any(|line| line == *none))
        })
        .await;
    }

    /// Both sides agree, the card is there exactly while it has a credential, and every certificate works.
    async fn agrees(&self, context: &str) {
        // A daemon that goes on tells no client when it is done: both sides are asked until they agree.
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        let agreed = async {
            loop {
                let certificates = self.terminal.certificates().await;
                let is_absent = self.daemon.card("till-1").await["state"] == "absent";
                let agreed = listed(&certificates) == self.authority.valid()
                    && self.authority.valid_to_pair().len() == usize::from(!is_absent);
                if agreed && is_absent == certificates.is_empty() {
                    return certificates;
                }
                pause.tick().await;
            }
        };
        let certificates = soon(&format!("{context}: daemon and authority agree"), agreed).await;
        for certificate in &certificates {
            let answer = self.terminal.authenticate(certificate, Some(PIN)).await;
            assert_eq!(answer.unwrap()["result"], "success", "{context}");
        }
    }

    /// Who asks again after a failure gets it done, or hears that it is done or not possible any more.
    async fn repeats(&self, step: Step, certificates: &[Value], context: &str) {
        let status = self.request(step, certificates).await.expect("the daemon answers");
        let fits = status.is_success() || matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT);
        assert!(fits, "{context}: asked again: {status}");
        self.agrees(context).await;
    }

    /// Halts a process at the n-th write of the step. `None` if the step was done with fewer.
    async fn struck(&self, pid: u32, step: Step, certificates: &[Value], write: u32) -> Option<Saboteur> {
        let mut saboteur = Saboteur::attach(pid, write).await;
        tokio::select! {
            answer = self.request(step, certificates) => {
                assert!(answer.is_some_and(|status| status.is_success()), "{step:?}: {answer:?}");
                saboteur.release().await;
                None
            }
            () = saboteur.strike() => Some(saboteur),
        }
    }

    /// Halts a process at the n-th write of the step, kills those that `victims` then names, and waits for the daemon's
    /// answer. False if the step was done with fewer writes.
    async fn kill_at(
        &self,
        halted: u32,
        victims: impl FnOnce() -> Vec<u32>,
        step: Step,
        certificates: &[Value],
        write: u32,
    ) -> bool {
        let mut saboteur = Saboteur::attach(halted, write).await;
        let request = self.request(step, certificates);
        tokio::pin!(request);
        let struck = tokio::select! {
            answer = &mut request => {
                assert!(answer.is_some_and(|status| status.is_success()), "{step:?}: {answer:?}");
                false
            }
            () = saboteur.strike() => true,
        };
        if !struck {
            saboteur.release().await;
            return false;
        }
        victims().into_iter().for_each(kill);
        saboteur.release().await;
        request.await.expect("the daemon lives");
        true
    }

    /// The daemon's launcher and its cards.
    fn processes(&self) -> Vec<u32> {
        let launchers = children(self.daemon.server.pid());
        self.cards().into_iter().chain(launchers).collect()
    }

    fn cards(&self) -> Vec<u32> {
        children(self.daemon.server.pid()).into_iter().flat_map(children).collect()
    }

    async fn audit_log_verifies(&self) {
        let mut verify = command("cardhost", ["audit", "verify", "--data"]);
        let verified = verify.arg(self.daemon.data()).output().await.expect("the command");
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
}

/// The least number of writes of a step: an intent and an outcome.
const LEAST: u32 = 2;

#[tokio::test]
async fn a_daemon_killed_at_any_write_agrees_with_the_authority_afterwards() {
    needs_kvm!();
    if !can_trace(module_path!()) {
        return;
    }
    let mut scene = Scene::set().await;
    for step in Step::ALL {
        for write in 1.. {
            let context = format!("{step:?}, daemon killed at write {write}");
            let certificates = scene.prepare(step).await;
            let Some(saboteur) = scene.struck(scene.daemon.server.pid(), step, &certificates, write).await
            else {
                assert!(write > LEAST, "{context}");
                break;
            };
            let processes = scene.processes();
            scene.daemon.server.kill().await;
            saboteur.detach().await;
            for process in processes {
                ended(process).await;
            }
            scene.audit_log_verifies().await;
            scene.daemon.restart().await;
            scene.reconciled(&context).await;
            scene.agrees(&context).await;
            scene.repeats(step, &certificates, &context).await;
        }
    }
    scene.audit_log_verifies().await;
}

#[tokio::test]
async fn an_authority_killed_at_any_write_agrees_with_the_daemon_afterwards() {
    needs_kvm!();
    if !can_trace(module_path!()) {
        return;
    }
    let mut scene = Scene::set().await;
    for step in Step::ALL {
        for write in 1.. {
            let context = format!("{step:?}, authority killed at write {write}");
            let certificates = scene.prepare(step).await;
            let authority = scene.authority.server.pid();
            if !scene.kill_at(authority, || vec![authority], step, &certificates, write).await {
                assert!(write > 1, "{step:?} writes at the authority");
                break;
            }
            scene.authority.server.kill().await;
            scene.authority.restart().await;
            scene.agrees(&context).await;
            scene.repeats(step, &certificates, &context).await;
        }
    }
    scene.audit_log_verifies().await;
}

#[tokio::test]
async fn a_card_killed_at_any_write_leaves_both_sides_agreed() {
    needs_kvm!();
    if !can_trace(module_path!()) {
        return;
    }
    let scene = Scene::set().await;
    for step in Step::ALL {
        for write in 1.. {
            let context = format!("{step:?}, card killed at write {write}");
            let certificates = scene.prepare(step).await;
            let daemon = scene.daemon.server.pid();
            if !scene.kill_at(daemon, || scene.cards(), step, &certificates, write).await {
                assert!(write > LEAST, "{context}");
                break;
            }
            scene.agrees(&context).await;
            scene.repeats(step, &certificates, &context).await;
        }
    }
    scene.audit_log_verifies().await;
}

/// Only a card's destruction has the launcher write: its bucket's wrapping key is rotated and the earlier one retired.
#[tokio::test]
async fn a_launcher_killed_at_any_write_of_a_destruction_is_replaced_and_finishes_it() {
    needs_kvm!();
    if !can_trace(module_path!()) {
        return;
    }
    let scene = Scene::set().await;
    let step = Step::DeleteLast;
    for write in 1.. {
        let context = format!("{step:?}, launcher killed at write {write}");
        let certificates = scene.prepare(step).await;
        let launcher = children(scene.daemon.server.pid()).remove(0);
        if !scene.kill_at(launcher, || vec![launcher], step, &certificates, write).await {
            // Two replacements of the file: content, folder, overwriting, each time.
            assert_eq!(write, 7, "{context}");
            break;
        }
        scene.agrees(&context).await;
        scene.repeats(step, &certificates, &context).await;
    }
    scene.audit_log_verifies().await;
}
