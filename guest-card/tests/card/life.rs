//! Launch, start, refusal, restart: what the card answers at each moment of its life.

use cardhost_guest::{ATR, Card};
use cardhost_wire::{
    control::{
        Answer, Command, Credential, GuestMessage, HostMessage, Launch, Refusal, SealedRecord, Started,
    },
    key::{Algorithm, KeyReference, Secret},
    port::{Port, Protocol},
};

use crate::harness::{Host, PIN, Terminal, hex, launch};

fn blank() -> Card<Host> {
    Card::new(Host::new(1))
}

fn tell(card: &mut Card<Host>, message: &HostMessage) -> Option<GuestMessage> {
    let answer = card.transmit(Port::Control, &message.encode())?;
    Some(GuestMessage::decode(&answer).unwrap())
}

fn launched(launch: Launch, records: Vec<SealedRecord>, head: Option<Vec<u8>>) -> Option<GuestMessage> {
    let mut card = blank();
    assert!(tell(&mut card, &HostMessage::Launch(launch)).is_none());
    match tell(&mut card, &HostMessage::State(records)) {
        None => tell(&mut card, &HostMessage::Start(head)),
        early => early,
    }
}

fn refusal(answer: Option<GuestMessage>) -> Refusal {
    match answer {
        Some(GuestMessage::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn assert_serves_nothing(card: &mut Card<Host>) {
    for protocol in Protocol::ALL {
        let answer = card.transmit(Port::Apdu(protocol), &hex("00A4040005A000000308")).unwrap();
        assert_eq!(answer, [0x69, 0x85]);
    }
}

/// A card with a key in 9A, and what its host stores.
fn stored() -> (Vec<SealedRecord>, Vec<u8>) {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    terminal.generate(0x9A, 0x11);
    (terminal.host().records(), terminal.host().head().unwrap())
}

#[test]
fn nothing_is_served_before_the_card_has_started() {
    let mut card = blank();
    assert_serves_nothing(&mut card);
    assert!(tell(&mut card, &HostMessage::Launch(launch(true))).is_none());
    assert_serves_nothing(&mut card);
    assert!(tell(&mut card, &HostMessage::State(vec![])).is_none());
    assert_serves_nothing(&mut card);
    let started = tell(&mut card, &HostMessage::Start(None));
    let expected = Started { atr: ATR.to_vec(), epoch: 0, credentials: vec![] };
    assert!(matches!(started, Some(GuestMessage::Started(started)) if started == expected));
}

#[test]
fn a_start_out_of_order_is_refused_for_good() {
    let unexpected = [
        HostMessage::State(vec![]),
        HostMessage::Start(None),
        HostMessage::Command(1, Command::PendingSecrets),
        HostMessage::SessionState,
        HostMessage::Launch(Launch { version: 0, ..launch(false) }),
    ];
    for message in unexpected {
        let mut card = blank();
        assert_eq!(refusal(tell(&mut card, &message)), Refusal::BadLaunch);
        assert_eq!(refusal(tell(&mut card, &HostMessage::Launch(launch(false)))), Refusal::BadLaunch);
        assert_serves_nothing(&mut card);
    }
}

#[test]
fn a_second_launch_ends_a_running_card() {
    for message in [HostMessage::Launch(launch(true)), HostMessage::State(vec![]), HostMessage::Start(None)] {
        let mut terminal = Terminal::new();
        assert_eq!(refusal(tell(terminal.card(), &message)), Refusal::BadLaunch);
        assert_serves_nothing(terminal.card());
    }
}

#[test]
fn a_malformed_message_is_refused() {
    let mut card = blank();
    let answer = card.transmit(Port::Control, &[0xFF; 9]).unwrap();
    assert!(matches!(GuestMessage::decode(&answer), Ok(GuestMessage::Refused(Refusal::BadLaunch))));
}

#[test]
fn verdicts_on_commits_that_are_over_say_nothing() {
    let mut terminal = Terminal::new();
    assert!(tell(terminal.card(), &HostMessage::Committed(1)).is_none());
    assert!(tell(terminal.card(), &HostMessage::CommitFailed(9)).is_none());
    assert_eq!(terminal.verify(PIN), 0x9000);
}

#[test]
fn a_stored_card_starts_with_its_epoch_and_credentials() {
    let (records, head) = stored();
    let Some(GuestMessage::Started(started)) = launched(launch(false), records, Some(head)) else { panic!() };
    assert_eq!(started.epoch, 2);
    let [Credential::Key(key)] = &started.credentials[..] else { panic!() };
    assert!(key.key_reference == KeyReference::AUTHENTICATION && key.algorithm == Algorithm::P256);
}

#[test]
fn another_cards_owners_or_policys_state_is_not_authentic() {
    let (records, head) = stored();
    for change in [
        |launch: &mut Launch| launch.card[0] ^= 1,
        |launch: &mut Launch| launch.owner[0] ^= 1,
        |launch: &mut Launch| launch.image_policy[0] ^= 1,
        |launch: &mut Launch| launch.card_key[0] ^= 1,
    ] {
        let mut other = launch(false);
        change(&mut other);
        let answer = launched(other, records.clone(), Some(head.clone()));
        assert_eq!(refusal(answer), Refusal::NotAuthentic);
    }
}

#[test]
fn a_state_without_its_head_or_of_another_epoch_is_inconsistent() {
    let (records, head) = stored();
    let headless = launched(launch(false), records.clone(), None);
    assert_eq!(refusal(headless), Refusal::Inconsistent);
    let missing = launched(launch(false), vec![], Some(head.clone()));
    assert_eq!(refusal(missing), Refusal::Inconsistent);
    let mut exchanged = records;
    let id = exchanged[0].id;
    exchanged[0].id = exchanged[1].id;
    exchanged[1].id = id;
    assert_eq!(refusal(launched(launch(false), exchanged, Some(head))), Refusal::Inconsistent);
}

#[test]
fn more_state_than_a_card_holds_is_refused_as_it_arrives() {
    let record = |id, length| SealedRecord { id, sealed: vec![1; length] };
    let many = (0..1000).map(|id| record(id, 40)).collect();
    assert_eq!(refusal(launched(launch(false), many, None)), Refusal::Inconsistent);
    let long = (0..30).map(|id| record(id, 16 * 1024)).collect();
    assert_eq!(refusal(launched(launch(false), long, None)), Refusal::Inconsistent);
}

#[test]
fn what_the_host_stores_shows_no_secret() {
    let mut terminal = Terminal::new();
    let pin = terminal.pin_status();
    assert_eq!(pin, 0x63C3);
    for record in terminal.host().records() {
        assert!(!record.sealed.windows(6).any(|window| window == b"123456"));
    }
}

fn new_card(default_keys: bool) -> Card<Host> {
    let mut card = blank();
    assert!(tell(&mut card, &HostMessage::Launch(launch(default_keys))).is_none());
    assert!(matches!(tell(&mut card, &HostMessage::Start(None)), Some(GuestMessage::Started(_))));
    card
}

fn apdu(card: &mut Card<Host>, command: &str) -> Vec<u8> {
    card.transmit(Port::Apdu(Protocol::ApduGate), &hex(command)).unwrap()
}

const SELECT_PIV: &str = "00A4040C05A000000308";

#[test]
fn well_known_secrets_come_with_the_first_use() {
    let mut card = new_card(true);
    assert_eq!(card.platform_mut().commits, 0);
    assert_eq!(apdu(&mut card, SELECT_PIV), [0x90, 0x00]);
    assert_eq!(card.platform_mut().commits, 1);
    assert_eq!(apdu(&mut card, "0020008008313233343536FFFF"), [0x90, 0x00]);
    let mut card = new_card(false);
    assert_eq!(apdu(&mut card, SELECT_PIV), [0x90, 0x00]);
    assert_eq!(apdu(&mut card, "00200080"), [0x69, 0x84]);
    assert_eq!(card.platform_mut().commits, 0);
}

#[test]
fn a_card_is_not_used_without_the_secrets_it_is_to_have() {
    let mut card = new_card(true);
    card.platform_mut().willing = 0;
    assert_eq!(apdu(&mut card, SELECT_PIV), [0x65, 0x81]);
    card.platform_mut().willing = 1;
    assert_eq!(apdu(&mut card, SELECT_PIV), [0x90, 0x00]);
    assert_eq!(apdu(&mut card, "00200080"), [0x63, 0xC3]);
}

#[test]
fn who_personalises_first_chooses_the_secrets() {
    let mut card = new_card(true);
    let pin = Some(Secret(b"654321".to_vec()));
    let personalise = Command::Personalise { pin, puk: None, management_key: None };
    let answer = tell(&mut card, &HostMessage::Command(3, personalise));
    assert!(matches!(answer, Some(GuestMessage::Answer(3, Ok(Answer::Done)))));
    assert_eq!(apdu(&mut card, SELECT_PIV), [0x90, 0x00]);
    assert_eq!(apdu(&mut card, "0020008008313233343536FFFF"), [0x63, 0xC2]);
    assert_eq!(apdu(&mut card, "0020008008363534333231FFFF"), [0x90, 0x00]);
}

#[test]
fn a_reset_ends_the_session_of_its_protocol_only() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.verify(PIN), 0x9000);
    terminal.card().reset(Port::Apdu(Protocol::Spi));
    terminal.card().reset(Port::Control);
    assert_eq!(terminal.pin_status(), 0x9000);
    terminal.card().reset(Port::Apdu(Protocol::ApduGate));
    assert_eq!(terminal.pin_status(), 0x6D00);
    terminal.select();
    assert_eq!(terminal.pin_status(), 0x63C3);
}

/// One seed for two cards, as if a template had been cloned with it, and the same hardware words.
#[test]
fn two_cards_of_one_seed_have_nothing_in_common() {
    let secrets = |card: u8| {
        let mut twin = blank();
        let launch = Launch { card: [card; 16], ..launch(false) };
        assert!(tell(&mut twin, &HostMessage::Launch(launch)).is_none());
        assert!(tell(&mut twin, &HostMessage::Start(None)).is_some());
        let personalise = Command::Personalise { pin: None, puk: None, management_key: None };
        assert!(tell(&mut twin, &HostMessage::Command(1, personalise)).is_some());
        let answer = tell(&mut twin, &HostMessage::Command(2, Command::PendingSecrets));
        match answer {
            Some(GuestMessage::Answer(2, Ok(Answer::Secrets { management_key: Some(key), .. }))) => {
                key.0.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(secrets(1), secrets(1));
    assert_ne!(secrets(1), secrets(2));
}
