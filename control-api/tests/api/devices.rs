//! Devices: certification requests in, client certificates out.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData as _,
};
use serde_json::json;
use x509_parser::pem::parse_x509_pem;

use crate::support::{Daemon, device_request, enrol, refusal};

#[tokio::test]
async fn a_device_is_certified_listed_and_removed() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let (id, _) = enrol(&alice, "till").await;
    let devices = alice.get("/v1/terminals/till/devices").await.unwrap();
    assert_eq!(devices["devices"][0]["id"], json!(id));
    alice.delete(&format!("/v1/terminals/till/devices/{id}")).await.unwrap();
    let again = alice.delete(&format!("/v1/terminals/till/devices/{id}")).await;
    assert_eq!(again, Err(refusal(404, "not-found")));
}

#[tokio::test]
async fn only_one_whole_request_with_its_own_signature_is_certified() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let (_, request) = device_request();
    let forged = forged(&request);
    for csr in
        ["", "nonsense", &format!("{request}{request}"), &request.replace("REQUEST", "RESPONSE"), &forged]
    {
        let refused = alice.post("/v1/terminals/till/devices", json!({ "csr": csr })).await;
        assert_eq!(refused, Err(refusal(422, "invalid-value")), "{csr}");
    }
}

fn pairing_request(names: &[(DnType, &str)], key: &KeyPair) -> String {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    names.iter().for_each(|(kind, name)| parameters.distinguished_name.push(kind.clone(), *name));
    parameters.serialize_request(key).unwrap().pem().unwrap()
}

#[tokio::test]
async fn a_device_that_is_to_pair_gets_the_certificate_of_the_cards_authority_too() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let key = KeyPair::generate().unwrap();
    let pairing_csr = pairing_request(&[(DnType::CommonName, "till")], &key);
    let wish = json!({ "csr": device_request().1, "pairing_csr": pairing_csr });
    let device = alice.post_with_key("/v1/terminals/till/devices", "key", wish.clone()).await.unwrap();
    let [own, authority] = ["pem", "authority_pem"]
        .map(|member| parse_x509_pem(device["pairing"][member].as_str().unwrap().as_bytes()).unwrap().1);
    let (own, authority) = (own.parse_x509().unwrap(), authority.parse_x509().unwrap());
    // What certifies cards certifies no terminal.
    assert!(authority.is_ca() && own.verify_signature(Some(authority.public_key())).is_err());
    assert_eq!(&*own.public_key().subject_public_key.data, key.der_bytes());
    let again = alice.post_with_key("/v1/terminals/till/devices", "key", wish).await.unwrap();
    assert_eq!(again, device);
    let devices = alice.get("/v1/terminals/till/devices").await.unwrap();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
    assert_eq!(devices["devices"][0]["pairing_serial"], json!(hex::encode(own.raw_serial())));
    let (_, plain) = enrol(&alice, "till").await;
    drop(plain);
    let devices = alice.get("/v1/terminals/till/devices").await.unwrap();
    let pairs = |device: &serde_json::Value| device["pairing_serial"].is_string();
    assert_eq!(devices["devices"].as_array().unwrap().iter().filter(|device| pairs(device)).count(), 1);
}

#[tokio::test]
async fn a_device_is_not_accepted_without_the_pairing_that_it_asks_for() {
    let daemon = Daemon::start().await;
    let alice = daemon.terminal("till", "alice").await;
    let key = KeyPair::generate().unwrap();
    let good = pairing_request(&[(DnType::CommonName, "till")], &key);
    let large = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    for pairing_csr in [
        "nonsense".to_owned(),
        forged(&good),
        format!("{good}{good}"),
        pairing_request(&[(DnType::CommonName, "till")], &large),
        pairing_request(&[(DnType::CommonName, "till-2")], &key),
        pairing_request(&[(DnType::CommonName, "till"), (DnType::CountryName, "DE")], &key),
        pairing_request(&[], &key),
    ] {
        let wish = json!({ "csr": device_request().1, "pairing_csr": pairing_csr });
        let refused = alice.post("/v1/terminals/till/devices", wish).await;
        assert_eq!(refused, Err(refusal(422, "invalid-value")), "{pairing_csr}");
    }
    assert_eq!(alice.get("/v1/terminals/till/devices").await.unwrap(), json!({ "devices": [] }));
}

/// The request with its last signature byte changed.
fn forged(request: &str) -> String {
    use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
    let mut der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).unwrap().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}
