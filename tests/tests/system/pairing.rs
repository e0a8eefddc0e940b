//! Certification of keys to pair with, and the revocation list on its way to the cards: what authority, host and cards know
//! of each other, whatever is refused, lost or killed between them.

use std::collections::BTreeSet;

use cardhost_tests::{
    authority::Authority,
    client::{Client, Refusal, refusal},
    daemon::Daemon,
    foreign::ForeignAuthority,
    front::{Fault, Front},
    needs_kvm,
    pairing::request,
    process::command,
    saboteur::{Saboteur, can_trace},
    until,
};
use serde_json::{Value, json};
use x509_parser::pem::parse_x509_pem;

use crate::scene::Scene;

const ENROLMENT: &str = "/est/pairing-terminals/simpleenroll";
const CARD_ENROLMENT: &str = "/est/pairing-cards/simpleenroll";
const LIST: &str = "/pairing/crl";
const DEVICES: &str = "/v1/terminals/till-1/devices";
const PAIRINGS: &str = "/v1/cards/till-1/pairings";

impl Scene {
    async fn enrol(&self, wish: &Value) -> Result<Value, Refusal> {
        self.terminal.client.post(DEVICES, wish.clone()).await
    }

    /// Serial numbers of the pairing certificates of the terminal's devices.
    async fn listed(&self) -> BTreeSet<String> {
        let list = self.terminal.client.get(DEVICES).await.unwrap();
        let devices = list["devices"].as_array().unwrap().iter();
        devices.filter_map(|device| Some(device["pairing_serial"].as_str()?.to_uppercase())).collect()
    }

    /// Waits until exactly the certificates of the devices, and so many of cards, are valid to pair with.
    async fn agreed(&self, cards: usize) {
        until("host and authority agree on who may pair", async || {
            let (listed, valid) = (self.listed().await, self.authority.valid_to_pair());
            valid.is_superset(&listed) && valid.len() == listed.len() + cards
        })
        .await;
    }

    /// The number of the newest revocation list that the card accepted. Wakes it.
    async fn accepted(&self) -> u64 {
        let pairings = self.terminal.client.get(PAIRINGS).await.unwrap();
        pairings["revocations"].as_u64().unwrap()
    }

    /// Waits until a list of at least this number is noted for the card, which is left alone.
    async fn noted(&self, number: u64) {
        until("the card accepts the list", async || noted(&self.daemon) >= Some(number)).await;
    }

    /// Enrols a device to pair and removes it: the next list has one entry more.
    async fn lose_a_terminal(&self) {
        let device = self.enrol(&wish("till-1")).await.unwrap();
        let path = format!("{DEVICES}/{}", device["id"].as_str().unwrap());
        self.terminal.client.delete(&path).await.unwrap();
    }

    /// What `cardhost card pairings` prints.
    async fn command(&self, options: &[&str]) -> String {
        let mut shows = command("cardhost", ["card", "pairings", "till-1", "--data"]);
        let output = shows.arg(self.daemon.data()).args(options).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What the host notes of its one card.
fn noted(daemon: &Daemon) -> Option<u64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let store = rusqlite::Connection::open_with_flags(daemon.data().join("store.db"), flags).unwrap();
    let number = store.query_row("SELECT revocations FROM cards", [], |row| row.get::<_, Option<i64>>(0));
    number.unwrap().map(i64::unsigned_abs)
}

/// A wish for a device that pairs.
fn wish(terminal: &str) -> Value {
    json!({ "csr": request("any").1, "pairing_csr": request(terminal).1 })
}

#[tokio::test]
async fn an_enrolled_device_gets_a_pairing_certificate_that_ends_with_it() {
    let scene = Scene::set().await;
    let device = scene.enrol(&wish("till-1")).await.unwrap();
    let [own, authority] = ["pem", "authority_pem"].map(|member| {
        let pem = device["pairing"][member].as_str().unwrap();
        parse_x509_pem(pem.as_bytes()).unwrap().1
    });
    let (own, authority) = (own.parse_x509().unwrap(), authority.parse_x509().unwrap());
    // The terminal knows cards by another authority than the one that certified it.
    assert!(authority.is_ca() && own.verify_signature(Some(authority.public_key())).is_err());
    assert_eq!(own.subject().to_string(), "CN=till-1");
    assert_ne!(own.issuer(), authority.subject());
    let usage = own.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_agreement() && usage.value.flags.count_ones() == 1);
    scene.agreed(0).await;
    assert_eq!(scene.listed().await.len(), 1);

    let path = format!("{DEVICES}/{}", device["id"].as_str().unwrap());
    scene.terminal.client.delete(&path).await.unwrap();
    scene.agreed(0).await;
    assert!(scene.authority.valid_to_pair().is_empty());

    scene.enrol(&wish("till-1")).await.unwrap();
    scene.daemon.administrator().await.delete("/v1/terminals/till-1").await.unwrap();
    until("it is revoked with the terminal", async || scene.authority.valid_to_pair().is_empty()).await;
}

#[tokio::test]
async fn an_enrolment_that_fails_accepts_no_device_and_can_be_repeated() {
    let scene = Scene::set().await;
    let devices = scene.terminal.client.get(DEVICES).await.unwrap();
    for (fault, expected) in [
        (Fault::Refuse, refusal(409, "authority-refused")),
        (Fault::LoseRequest, refusal(503, "authority-unreachable")),
        (Fault::LoseAnswer, refusal(503, "authority-unreachable")),
    ] {
        let wish = wish("till-1");
        scene.front.break_at(ENROLMENT, fault);
        assert_eq!(scene.enrol(&wish).await, Err(expected), "{fault:?}");
        assert_eq!(scene.terminal.client.get(DEVICES).await.unwrap(), devices, "{fault:?}");
        scene.front.mend();
        // The same request again, while the revocation of what was lost may be under way.
        let device = scene.enrol(&wish).await.unwrap();
        scene.agreed(0).await;
        assert_eq!(scene.listed().await.len(), 1);
        scene.terminal.client.delete(&format!("{DEVICES}/{}", device["id"].as_str().unwrap())).await.unwrap();
        scene.agreed(0).await;
    }
}

#[tokio::test]
async fn a_lost_enrolment_is_revoked_and_its_request_gets_a_new_certificate() {
    let scene = Scene::set().await;
    let wish = wish("till-1");
    scene.front.break_at(ENROLMENT, Fault::LoseAnswer);
    assert!(scene.enrol(&wish).await.is_err());
    let lost = scene.authority.valid_to_pair();
    assert_eq!(lost.len(), 1);
    scene.front.mend();
    scene.agreed(0).await;
    scene.enrol(&wish).await.unwrap();
    scene.agreed(0).await;
    assert!(scene.authority.valid_to_pair().is_disjoint(&lost));
}

#[tokio::test]
async fn a_daemon_killed_at_any_write_of_an_enrolment_leaves_no_certificate_without_its_device() {
    if !can_trace(module_path!()) {
        return;
    }
    let mut scene = Scene::set().await;
    for write in 1.. {
        let wish = wish("till-1");
        let mut saboteur = Saboteur::attach(scene.daemon.server.pid(), write).await;
        let struck = tokio::select! {
            device = scene.enrol(&wish) => {
                device.unwrap();
                false
            }
            () = saboteur.strike() => true,
        };
        if !struck {
            saboteur.release().await;
            assert!(write > 2, "the wish and the device are written");
            break;
        }
        scene.daemon.server.kill().await;
        saboteur.detach().await;
        scene.daemon.restart().await;
        scene.agreed(0).await;
        scene.enrol(&wish).await.unwrap();
        scene.agreed(0).await;
    }
}

#[tokio::test]
async fn a_foreign_authority_certifies_no_pairing_and_nothing_else_fails() {
    let authority = ForeignAuthority::start(&[]).await;
    let mut daemon = Daemon::start_with(authority.options()).await;
    let terminal = daemon.terminal("till-1", "alice").await;
    let refused = terminal.client.post(DEVICES, wish("till-1")).await;
    assert_eq!(refused, Err(refusal(409, "pairing-unavailable")));
    terminal.first("9A").await.unwrap();
    let pairings = terminal.client.get(PAIRINGS).await.unwrap();
    let none = json!({ "certified": false, "policy": "open", "revocations": null, "pairings": [] });
    assert_eq!(pairings, none);
    let administrator = daemon.administrator().await;
    let set = async |client: &Client, policy| client.put(PAIRINGS, json!({ "policy": policy })).await;
    assert_eq!(set(&administrator, "paired-only").await, Err(refusal(409, "pairing-unavailable")));
    assert_eq!(set(&administrator, "open").await.unwrap(), none);
    let status = terminal.client.get("/v1/cards/till-1/certification/40").await;
    assert_eq!(status, Err(refusal(409, "pairing-unavailable")));
    let revoked = administrator.delete("/v1/cards/till-1/certification").await;
    assert_eq!(revoked, Err(refusal(404, "not-found")));

    // Under an authority that offers it, the card is certified with its next certificate; what was lost is not forgotten.
    let authority = Authority::start().await;
    let front = Front::start(&authority).await;
    daemon.server.kill().await;
    daemon.restart_as(authority.options(&front)).await;
    assert_eq!(terminal.client.get(PAIRINGS).await.unwrap(), none);
    let refused = set(&daemon.administrator().await, "paired-only").await;
    assert_eq!(refused, Err(refusal(409, "pairing-unavailable")));
    for fault in [Fault::LoseAnswer, Fault::Refuse, Fault::LoseRequest] {
        front.break_at(CARD_ENROLMENT, fault);
        assert!(terminal.create("9C").await.is_err(), "{fault:?}");
        assert_eq!(terminal.client.get(PAIRINGS).await.unwrap(), none, "{fault:?}");
    }
    front.mend();
    terminal.create("9C").await.unwrap();
    assert_eq!(terminal.client.get(PAIRINGS).await.unwrap()["certified"], true);
    assert_eq!(authority.valid_to_pair().len(), 1, "the one whose answer was lost");
}

#[tokio::test]
async fn a_new_card_is_certified_under_its_identity_and_revoked_when_it_is_destroyed() {
    let scene = Scene::set().await;
    let certificate = scene.terminal.first("9A").await.unwrap();
    scene.agreed(1).await;
    let pairings = scene.terminal.client.get(PAIRINGS).await.unwrap();
    assert_eq!((&pairings["certified"], &pairings["policy"]), (&json!(true), &json!("open")));
    let audited = scene.daemon.audited("card-certified").await;
    assert_eq!(audited.len(), 1);
    scene.terminal.create("9C").await.unwrap();
    scene.agreed(1).await;
    assert_eq!(scene.daemon.audited("card-certified").await.len(), 1, "once for its life");
    for certificate in [certificate, scene.terminal.certificates().await.remove(1)] {
        scene.terminal.delete(&certificate).await.unwrap();
    }
    scene.agreed(0).await;
}

#[tokio::test]
async fn operators_set_the_policy_and_end_pairings() {
    let scene = Scene::set().await;
    scene.terminal.first("9A").await.unwrap();
    let administrator = scene.daemon.administrator().await;
    let setting = json!({ "policy": "paired-only" });
    let refused = scene.terminal.client.put(PAIRINGS, setting.clone()).await;
    assert_eq!(refused, Err(refusal(403, "administrator-only")));
    assert_eq!(administrator.put(PAIRINGS, setting).await.unwrap()["policy"], "paired-only");
    scene.park().await;
    assert_eq!(scene.terminal.client.get(PAIRINGS).await.unwrap()["policy"], "paired-only");
    // What goes over REST goes on.
    scene.terminal.create("9E").await.unwrap();
    let unknown = administrator.put(PAIRINGS, json!({ "policy": "closed" })).await;
    assert_eq!(unknown, Err(refusal(422, "invalid-value")));
    for path in ["60", "6F", "70", "6", "xx"] {
        let none = scene.terminal.client.delete(&format!("{PAIRINGS}/{path}")).await;
        assert_eq!(none, Err(refusal(404, "not-found")), "{path}");
    }
    assert_eq!(scene.terminal.client.delete(PAIRINGS).await.unwrap(), json!({ "revoked": 0 }));
    assert_eq!(scene.daemon.audited("pairing-policy-set").await.len(), 1);

    let shown = scene.command(&["--json", "--revoke-all", "--policy", "open"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["policy"], &shown["pairings"]), (&json!("open"), &json!([])));
    let shown = scene.command(&[]).await;
    let number = scene.accepted().await;
    let expected = format!("ID  TERMINAL  SERIAL\ncertified: true, policy: open, revocations: {number}\n");
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_terminals_revocation_reaches_a_live_card_at_once_and_a_parked_one_when_it_wakes() {
    needs_kvm!();
    let scene = Scene::set().await;
    scene.terminal.first("9A").await.unwrap();
    let first = scene.accepted().await;
    let pid = scene.daemon.card_pid("till-1").await;
    scene.lose_a_terminal().await;
    scene.noted(first + 1).await;
    assert_eq!(scene.daemon.card_pid("till-1").await, pid, "it was live, and still is");
    assert_eq!(scene.accepted().await, first + 1);

    scene.park().await;
    scene.lose_a_terminal().await;
    scene.agreed(1).await;
    assert_eq!(noted(&scene.daemon), Some(first + 1), "it is parked");
    // The list may still be on its way from the authority: then the card gets it live.
    let administrator = scene.daemon.administrator().await;
    administrator.post("/v1/cards/till-1/wake", json!({})).await.unwrap();
    scene.noted(first + 2).await;
    assert_eq!(scene.accepted().await, first + 2);
}

#[tokio::test]
async fn a_list_that_is_withheld_comes_when_it_can_and_an_older_one_is_ignored() {
    let mut scene = Scene::set().await;
    scene.terminal.first("9A").await.unwrap();
    let first = scene.accepted().await;
    scene.authority.server.kill().await;
    let copy = scene.authority.copy();
    scene.authority.restart().await;

    scene.front.break_at(LIST, Fault::LoseAnswer);
    scene.lose_a_terminal().await;
    scene.agreed(1).await;
    assert_eq!(scene.accepted().await, first, "the list is withheld");
    // Also over a daemon's end.
    scene.daemon.kill_and_restart().await;
    assert_eq!(scene.accepted().await, first);
    scene.front.mend();
    scene.noted(first + 1).await;
    assert_eq!(scene.accepted().await, first + 1);

    // The authority forgets what it revoked: its list is older than the card's.
    scene.authority.server.kill().await;
    scene.authority.put_back(&copy);
    scene.authority.restart().await;
    scene.daemon.kill_and_restart().await;
    scene.park().await;
    scene.terminal.create("9C").await.unwrap();
    assert_eq!(scene.accepted().await, first + 1);
    // Until it has revoked more than that.
    scene.lose_a_terminal().await;
    scene.lose_a_terminal().await;
    scene.noted(first + 2).await;
    assert_eq!(scene.accepted().await, first + 2);
}

/// A host whose store forgot that the card has a newer list offers an older one: the card says so, and it is noted.
#[tokio::test]
async fn a_card_that_knows_a_newer_list_is_not_asked_again() {
    let mut scene = Scene::set().await;
    scene.terminal.first("9A").await.unwrap();
    let first = scene.accepted().await;
    let open = |scene: &Scene| rusqlite::Connection::open(scene.daemon.data().join("store.db")).unwrap();
    let list = "SELECT list FROM revocation_list";
    let older: Vec<u8> = open(&scene).query_row(list, [], |row| row.get(0)).unwrap();
    scene.lose_a_terminal().await;
    scene.noted(first + 1).await;
    assert!(scene.daemon.server.terminate().await);
    let forget = "UPDATE revocation_list SET number = ?1, list = ?2";
    open(&scene).execute(forget, rusqlite::params![first as i64, older]).unwrap();
    open(&scene).execute("UPDATE cards SET revocations = 0", []).unwrap();
    scene.front.break_at(LIST, Fault::LoseRequest);
    scene.daemon.restart().await;
    assert_eq!(scene.accepted().await, first + 1);
    assert_eq!(noted(&scene.daemon), Some(first + 1));
}
