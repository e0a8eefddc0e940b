//! The host's commands on the control stream.

use cardhost_wire::{
    control::{Answer, Command, Failure, authentication_message},
    key::{Algorithm, KeyReference, Secret},
};
use der::{Decode, Encode};
use p256::ecdsa::signature::Verifier;
use sha2::{Digest, Sha256};
use x509_cert::{name::Name, request::CertReq};

use crate::harness::{PIN, Terminal, hex};

const SLOT: KeyReference = KeyReference::AUTHENTICATION;

fn subject() -> Vec<u8> {
    "CN=terminal".parse::<Name>().unwrap().to_der().unwrap()
}

fn secret(bytes: &[u8]) -> Option<Secret> {
    Some(Secret(bytes.to_vec()))
}

fn generate(terminal: &mut Terminal, key_reference: KeyReference) -> Result<CertReq, Failure> {
    let command = Command::GenerateKey { key_reference, algorithm: Algorithm::P256, subject: subject() };
    match terminal.command(command)? {
        Answer::CertificationRequest(request) => Ok(CertReq::from_der(&request).unwrap()),
        _ => panic!("no request"),
    }
}

/// The slot's own attestation certificate is a certificate over its key.
fn certificate(terminal: &mut Terminal, reference: KeyReference) -> Vec<u8> {
    terminal.ok(0xF9, reference.0, 0, &[])
}

fn import(
    terminal: &mut Terminal,
    key_reference: KeyReference,
    certificate: &[u8],
) -> Result<Answer, Failure> {
    terminal.command(Command::ImportCertificate { key_reference, certificate: certificate.to_vec() })
}

fn issued(terminal: &mut Terminal, reference: KeyReference) -> Vec<u8> {
    generate(terminal, reference).unwrap();
    let certificate = certificate(terminal, reference);
    import(terminal, reference, &certificate).unwrap();
    certificate
}

fn sign(
    terminal: &mut Terminal,
    key_reference: KeyReference,
    pin: Option<Secret>,
) -> Result<Vec<u8>, Failure> {
    match terminal.command(Command::SignChallenge { key_reference, challenge: [6; 32], pin })? {
        Answer::Signature { algorithm: Algorithm::P256, signature } => Ok(signature),
        _ => panic!("no signature"),
    }
}

#[test]
fn personalisation_makes_what_is_missing_and_delivers_it_until_acknowledged() {
    let mut terminal = Terminal::blank();
    terminal
        .command(Command::Personalise { pin: secret(b"112233"), puk: None, management_key: None })
        .unwrap();
    let Ok(Answer::Secrets {
        pin: None,
        puk: Some(puk),
        management_key: Some(key),
        security_domain_keys: Some(domain),
        second_security_domain_keys: None,
    }) = terminal.command(Command::PendingSecrets)
    else {
        panic!("other secrets")
    };
    assert_eq!(domain.0.len(), 48);
    assert!(puk.0.len() == 8 && puk.0.iter().all(u8::is_ascii_digit));
    assert_eq!(terminal.verify(b"112233\xFF\xFF"), 0x9000);
    assert_eq!(terminal.authenticate_with(0x0C, &key.0), 0x9000);
    assert_eq!(terminal.status(0x2C, 0, 0x80, &[&puk.0, PIN].concat()), 0x9000);
    let mut terminal = terminal.restarted();
    assert!(terminal.command(Command::PendingSecrets).is_ok());
    terminal.command(Command::AcknowledgeSecrets).unwrap();
    assert_eq!(terminal.command(Command::PendingSecrets).unwrap_err(), Failure::NoSecrets);
    assert_eq!(terminal.command(Command::AcknowledgeSecrets).unwrap_err(), Failure::NoSecrets);
}

#[test]
fn personalisation_happens_once_and_checks_its_secrets() {
    let mut terminal = Terminal::blank();
    for (pin, puk, management_key) in [
        (secret(b"12345"), None, None),
        (secret(b"123456789"), None, None),
        (secret(b"12345\xFF"), None, None),
        (None, secret(b"1234567"), None),
        (None, None, secret(&[1; 20])),
    ] {
        let refused = terminal.command(Command::Personalise { pin, puk, management_key });
        assert_eq!(refused.unwrap_err(), Failure::Malformed);
    }
    let all = || Command::Personalise {
        pin: secret(b"12345678"),
        puk: secret(b"87654321"),
        management_key: secret(&[1; 24]),
    };
    terminal.command(all()).unwrap();
    assert_eq!(terminal.command(all()).unwrap_err(), Failure::AlreadyPersonalised);
    let made = terminal.command(Command::PendingSecrets).unwrap();
    assert!(matches!(made, Answer::Secrets { pin: None, puk: None, management_key: None, .. }));
    assert_eq!(terminal.authenticate_with(0x0A, &[1; 24]), 0x9000);
}

#[test]
fn a_request_is_signed_by_its_key() {
    let mut terminal = Terminal::new();
    let request = generate(&mut terminal, SLOT).unwrap();
    let key = request.info.public_key.subject_public_key.raw_bytes();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).unwrap();
    let signature = p256::ecdsa::DerSignature::from_bytes(request.signature.raw_bytes()).unwrap();
    key.verify(&request.info.to_der().unwrap(), &signature).unwrap();
    assert_eq!(request.info.subject.to_der().unwrap(), subject());
    assert_eq!(terminal.credentials(), [SLOT]);
}

#[test]
fn requests_for_other_algorithms_are_well_formed() {
    let mut terminal = Terminal::new();
    for (slot, algorithm) in [(0x82, Algorithm::P384), (0x83, Algorithm::Rsa2048), (0x84, Algorithm::Rsa3072)]
    {
        let command =
            Command::GenerateKey { key_reference: KeyReference(slot), algorithm, subject: subject() };
        let Ok(Answer::CertificationRequest(request)) = terminal.command(command) else {
            panic!("no request")
        };
        CertReq::from_der(&request).unwrap();
    }
}

#[test]
fn a_slot_is_generated_once() {
    let mut terminal = Terminal::new();
    generate(&mut terminal, SLOT).unwrap();
    assert_eq!(generate(&mut terminal, SLOT).unwrap_err(), Failure::SlotOccupied);
    for reference in [0x9B, 0xF9, 0x80, 0x00] {
        assert_eq!(generate(&mut terminal, KeyReference(reference)).unwrap_err(), Failure::Malformed);
    }
    let bad = Command::GenerateKey {
        key_reference: KeyReference(0x82),
        algorithm: Algorithm::P256,
        subject: hex("3000FF"),
    };
    assert_eq!(terminal.command(bad).unwrap_err(), Failure::Malformed);
}

#[test]
fn only_a_certificate_over_the_slots_key_is_stored() {
    let mut terminal = Terminal::new();
    let other = KeyReference::CARD_AUTHENTICATION;
    generate(&mut terminal, SLOT).unwrap();
    generate(&mut terminal, other).unwrap();
    let (mine, foreign) = (certificate(&mut terminal, SLOT), certificate(&mut terminal, other));
    assert_eq!(import(&mut terminal, SLOT, &foreign).unwrap_err(), Failure::CertificateMismatch);
    assert_eq!(import(&mut terminal, SLOT, &mine[1..]).unwrap_err(), Failure::Malformed);
    assert_eq!(import(&mut terminal, KeyReference(0x82), &mine).unwrap_err(), Failure::NoKey);
    let absent = terminal.command(Command::ReadCertificate(SLOT));
    assert_eq!(absent.unwrap_err(), Failure::NoCertificate);
    import(&mut terminal, SLOT, &mine).unwrap();
    let Ok(Answer::Certificate(stored)) = terminal.command(Command::ReadCertificate(SLOT)) else { panic!() };
    assert_eq!(stored, mine);
    let object = terminal.ok(0xCB, 0x3F, 0xFF, &hex("5C035FC105"));
    assert!(object.ends_with(&hex("710100FE00")));
}

#[test]
fn a_renewal_has_the_certificates_subject_and_key() {
    let mut terminal = Terminal::new();
    let missing = terminal.command(Command::RenewalRequest(SLOT));
    assert_eq!(missing.unwrap_err(), Failure::NoKey);
    generate(&mut terminal, SLOT).unwrap();
    let missing = terminal.command(Command::RenewalRequest(SLOT));
    assert_eq!(missing.unwrap_err(), Failure::NoCertificate);
    let der = certificate(&mut terminal, SLOT);
    import(&mut terminal, SLOT, &der).unwrap();
    let certificate = x509_cert::Certificate::from_der(&der).unwrap();
    let Ok(Answer::CertificationRequest(request)) = terminal.command(Command::RenewalRequest(SLOT)) else {
        panic!()
    };
    let request = CertReq::from_der(&request).unwrap();
    assert_eq!(&request.info.subject, certificate.tbs_certificate().subject());
    assert_eq!(&request.info.public_key, certificate.tbs_certificate().subject_public_key_info());
    let Ok(Answer::CertificationRequest(next)) = terminal.command(Command::RenewalRequest(SLOT)) else {
        panic!()
    };
    assert_ne!(request.info.attributes, CertReq::from_der(&next).unwrap().info.attributes);
}

#[test]
fn a_challenge_is_signed_with_the_pin_and_bound_to_the_certificate() {
    let mut terminal = Terminal::new();
    assert_eq!(sign(&mut terminal, SLOT, None).unwrap_err(), Failure::NoKey);
    generate(&mut terminal, SLOT).unwrap();
    assert_eq!(sign(&mut terminal, SLOT, secret(b"123456")).unwrap_err(), Failure::NoCertificate);
    let certificate = certificate(&mut terminal, SLOT);
    import(&mut terminal, SLOT, &certificate).unwrap();
    assert_eq!(sign(&mut terminal, SLOT, None).unwrap_err(), Failure::PinRequired);
    let signature = sign(&mut terminal, SLOT, secret(b"123456")).unwrap();
    let parsed = x509_cert::Certificate::from_der(&certificate).unwrap();
    let key = parsed.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    let message = authentication_message(&[6; 32], &Sha256::digest(&certificate).into());
    let signature = p256::ecdsa::DerSignature::from_bytes(&signature).unwrap();
    p256::ecdsa::VerifyingKey::from_sec1_bytes(key).unwrap().verify(&message, &signature).unwrap();
}

#[test]
fn wrong_pins_of_the_host_count_and_block() {
    let mut terminal = Terminal::new();
    issued(&mut terminal, SLOT);
    assert_eq!(sign(&mut terminal, SLOT, secret(b"12")).unwrap_err(), Failure::Malformed);
    for remaining in [2, 1, 0] {
        assert_eq!(sign(&mut terminal, SLOT, secret(b"000000")).unwrap_err(), Failure::PinWrong(remaining));
    }
    assert_eq!(sign(&mut terminal, SLOT, secret(b"123456")).unwrap_err(), Failure::PinBlocked);
    assert_eq!(terminal.pin_status(), 0x6983);
}

#[test]
fn a_key_without_pin_signs_without_and_the_host_shares_no_pin_state() {
    let mut terminal = Terminal::new();
    issued(&mut terminal, KeyReference::CARD_AUTHENTICATION);
    issued(&mut terminal, SLOT);
    assert!(sign(&mut terminal, KeyReference::CARD_AUTHENTICATION, None).is_ok());
    assert_eq!(terminal.verify(PIN), 0x9000);
    assert_eq!(sign(&mut terminal, SLOT, None).unwrap_err(), Failure::PinRequired);
    terminal.select();
    assert!(sign(&mut terminal, SLOT, secret(b"123456")).is_ok());
    assert_eq!(terminal.pin_status(), 0x63C3);
}

#[test]
fn deleting_erases_key_and_certificate() {
    let mut terminal = Terminal::new();
    issued(&mut terminal, SLOT);
    let delete = || Command::DeleteCredential(SLOT);
    terminal.host().willing = 0;
    assert_eq!(terminal.command(delete()).unwrap_err(), Failure::NotCommitted);
    assert_eq!(terminal.credentials(), [SLOT]);
    terminal.host().willing = usize::MAX;
    assert!(matches!(terminal.command(delete()), Ok(Answer::Done)));
    assert!(terminal.credentials().is_empty());
    assert_eq!(terminal.status(0xF7, 0, SLOT.0, &[]), 0x6A88);
    assert_eq!(terminal.status(0xCB, 0x3F, 0xFF, &hex("5C035FC105")), 0x6A82);
    assert!(matches!(terminal.command(delete()), Ok(Answer::Done)));
}
