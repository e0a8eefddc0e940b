//! Devices: certification requests in, client certificates out.

use serde_json::json;

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

/// The request with its last signature byte changed.
fn forged(request: &str) -> String {
    use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
    let mut der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).unwrap().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}
