//! Control messages from a hostile host: whatever comes, the card answers in its protocol or not at all.

use cardhost_guest::Card;
use cardhost_wire::{
    control::{Command, Failure, GuestMessage, HostMessage, SealedRecord},
    key::{Algorithm, KeyReference, Secret},
    pairing::{PairingCommand, PairingPolicy},
    port::{Port, Protocol},
    profiles::{NewProfile, ProfileClass, ProfileCommand, ProfileMetadata},
};
use proptest::prelude::*;

use crate::harness::{Host, Terminal, launch};

/// A card at one of the moments of its life.
fn cards() -> [Card<Host>; 3] {
    let mut opening = Card::new(Host::new(1));
    assert!(opening.transmit(Port::Control, &HostMessage::Launch(launch(true)).encode()).is_none());
    let mut running = Terminal::new();
    let running = std::mem::replace(running.card(), Card::new(Host::new(2)));
    [Card::new(Host::new(3)), opening, running]
}

/// Sends a message; the card must stay in its protocol.
fn send(card: &mut Card<Host>, message: &[u8]) {
    if let Some(answer) = card.transmit(Port::Control, message) {
        assert!(GuestMessage::decode(&answer).is_ok());
    }
    let answer = card.transmit(Port::Apdu(Protocol::ApduGate), &[0, 0xA4, 4, 0]).unwrap();
    assert!(matches!(answer[..], [0x69, 0x85] | [.., 0x90, 0x00]));
}

fn secret() -> impl Strategy<Value = Option<Secret>> {
    let bytes = prop_oneof![Just(b"123456".to_vec()), prop::collection::vec(any::<u8>(), 0..40)];
    prop::option::of(bytes.prop_map(Secret))
}

fn slot() -> impl Strategy<Value = KeyReference> {
    let known = prop::sample::select(&[0x9A, 0x9C, 0x9D, 0x9E, 0x82, 0x95, 0x9B, 0xF9][..]);
    prop_oneof![4 => known, 1 => any::<u8>()].prop_map(KeyReference)
}

fn der() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(vec![0x30, 0]), prop::collection::vec(any::<u8>(), 0..60)]
}

/// One that fits, mostly.
fn profile() -> impl Strategy<Value = NewProfile> {
    let iccid = prop::sample::select(&["8988211000000510217", "89882110000005102191"][..]);
    let key = || prop_oneof![6 => Just(vec![7; 16]), 1 => prop::collection::vec(any::<u8>(), 0..20)];
    (iccid, key(), key(), prop::option::of(".{0,70}")).prop_map(|(iccid, k, opc, nickname)| NewProfile {
        metadata: ProfileMetadata {
            iccid: iccid.parse().unwrap(),
            service_provider_name: "Provider".into(),
            profile_name: String::new(),
            class: ProfileClass::Operational,
            nickname,
            notifications: vec![],
        },
        imsi: "001010123456789".parse().unwrap(),
        k: Secret(k),
        opc: Secret(opc),
    })
}

/// One command of the host; RSA keys take too long for many of them.
pub fn command() -> impl Strategy<Value = Command> {
    let algorithm = prop::sample::select(&[Algorithm::P256, Algorithm::P384][..]);
    prop_oneof![
        (secret(), secret(), secret()).prop_map(|(pin, puk, management_key)| Command::Personalise {
            pin,
            puk,
            management_key
        }),
        Just(()).prop_map(|()| Command::PendingSecrets),
        Just(()).prop_map(|()| Command::AcknowledgeSecrets),
        (slot(), algorithm, der()).prop_map(|(key_reference, algorithm, subject)| Command::GenerateKey {
            key_reference,
            algorithm,
            subject
        }),
        slot().prop_map(Command::RenewalRequest),
        (slot(), der()).prop_map(|(key_reference, certificate)| Command::ImportCertificate {
            key_reference,
            certificate
        }),
        slot().prop_map(Command::ReadCertificate),
        slot().prop_map(Command::DeleteCredential),
        (slot(), any::<[u8; 32]>(), secret()).prop_map(|(key_reference, challenge, pin)| {
            Command::SignChallenge { key_reference, challenge, pin }
        }),
        pairing().prop_map(Command::Pairing),
        profile().prop_map(|profile| Command::Profile(ProfileCommand::Install(profile))),
        profile().prop_map(|profile| Command::Profile(ProfileCommand::Delete(profile.metadata.iccid))),
        Just(()).prop_map(|()| Command::Profile(ProfileCommand::List)),
    ]
}

/// Nothing that takes the applications away in plain.
fn pairing() -> impl Strategy<Value = PairingCommand> {
    prop_oneof![
        der().prop_map(PairingCommand::Request),
        (der(), der(), der()).prop_map(|(certificate, card_authority, terminal_authority)| {
            PairingCommand::Certify { certificate, card_authority, terminal_authority }
        }),
        der().prop_map(PairingCommand::Revoke),
        Just(()).prop_map(|()| PairingCommand::Read),
        (0x5Fu8..0x72).prop_map(PairingCommand::Delete),
        Just(()).prop_map(|()| PairingCommand::SetPolicy(PairingPolicy::Open)),
    ]
}

fn message() -> impl Strategy<Value = HostMessage> {
    let record = (any::<u16>(), prop::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(id, sealed)| SealedRecord { id, sealed });
    prop_oneof![
        any::<bool>().prop_map(|default_keys| HostMessage::Launch(launch(default_keys))),
        prop::collection::vec(record, 0..5).prop_map(HostMessage::State),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..80)).prop_map(HostMessage::Start),
        any::<u64>().prop_map(HostMessage::Committed),
        any::<u64>().prop_map(HostMessage::CommitFailed),
        Just(()).prop_map(|()| HostMessage::SessionState),
        (any::<u32>(), command()).prop_map(|(number, command)| HostMessage::Command(number, command)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        cards().iter_mut().for_each(|card| send(card, &bytes));
    }

    #[test]
    fn any_messages_in_any_order(messages in prop::collection::vec(message(), 1..8)) {
        for mut card in cards() {
            messages.iter().for_each(|message| send(&mut card, &message.encode()));
        }
    }

    #[test]
    fn a_message_with_some_bytes_changed_or_missing(
        message in message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message.encode();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(end.index(bytes.len()) + 1);
        cards().iter_mut().for_each(|card| send(card, &bytes));
    }
}

/// The host's session and the terminal's know nothing of each other, and nothing is done that is not durable.
#[test]
fn a_command_that_is_not_durable_is_not_done() {
    let mut terminal = Terminal::new();
    terminal.host().willing = 0;
    let subject = vec![0x30, 0];
    let (key_reference, algorithm) = (KeyReference::AUTHENTICATION, Algorithm::P256);
    let generate = || Command::GenerateKey { key_reference, algorithm, subject: subject.clone() };
    assert_eq!(terminal.command(generate()).err(), Some(Failure::NotCommitted));
    terminal.host().willing = 1;
    assert!(terminal.command(generate()).is_ok());
    assert_eq!(terminal.command(generate()).err(), Some(Failure::SlotOccupied));
    let delete = Command::DeleteCredential(key_reference);
    assert_eq!(terminal.command(delete).err(), Some(Failure::NotCommitted));
    assert_eq!(terminal.credentials(), [key_reference]);
}
