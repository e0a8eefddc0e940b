//! The authority over its real TLS server, with OpenSSL as the independent client and judge.

#[path = "openssl/pairing.rs"]
mod pairing;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cardhost_authority::Authority;
use cardhost_wire::control::authentication_message;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot};

struct Running {
    url: String,
    folder: TempDir,
    host: reqwest::Client,
    anybody: reqwest::Client,
    _end: oneshot::Sender<()>,
}

async fn start() -> Running {
    start_as(|authority| authority).await
}

async fn start_as(change: impl FnOnce(Authority) -> Authority) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let authority = Arc::new(change(Authority::open(folder.path()).unwrap()));
    authority.host_credential("test").unwrap().write(folder.path(), "host").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let tls = authority.server_tls(&[IpAddr::V4(Ipv4Addr::LOCALHOST)]).unwrap();
    let (end, ended) = oneshot::channel();
    tokio::spawn(cardhost_authority::serve(authority, listener, tls, async { drop(ended.await) }));
    let (host, anybody) = (client(folder.path(), true), client(folder.path(), false));
    Running { url, folder, host, anybody, _end: end }
}

fn client(folder: &Path, as_host: bool) -> reqwest::Client {
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("service-ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let tls = if as_host {
        let chain = vec![CertificateDer::from_pem_file(folder.join("host.pem")).unwrap()];
        tls.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(folder.join("host.key")).unwrap())
            .unwrap()
    } else {
        tls.with_no_client_auth()
    };
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}

/// Runs OpenSSL in the folder; the words are split at spaces.
fn try_openssl(folder: &Path, words: &str) -> Output {
    Command::new("openssl").args(words.split(' ')).current_dir(folder).output().expect("openssl is installed")
}

fn openssl(folder: &Path, words: &str) -> String {
    let output = try_openssl(folder, words);
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Running {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Makes a key and a request with OpenSSL and returns the request in base64.
    fn request(&self, key: &str) -> String {
        openssl(
            self.path(),
            &format!(
                "req -new -newkey {key} -nodes -keyout card.key -subj /CN=card -outform DER -out card.csr"
            ),
        );
        STANDARD.encode(fs::read(self.file("card.csr")).unwrap())
    }

    async fn est(&self, operation: &str, request: &str) -> reqwest::Response {
        let address = format!("{}/.well-known/est/{operation}", self.url);
        self.host.post(address).body(request.to_owned()).send().await.unwrap()
    }

    /// Enrols and leaves the certificate in `card.pem`.
    async fn enrol(&self, operation: &str, request: &str) -> String {
        let answer = self.est(operation, request).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/pkcs7-mime; smime-type=certs-only");
        let base64: String = answer.text().await.unwrap().split_whitespace().collect();
        fs::write(self.file("card.p7"), STANDARD.decode(base64).unwrap()).unwrap();
        openssl(self.path(), "pkcs7 -inform DER -in card.p7 -print_certs -out certs.pem");
        openssl(self.path(), "x509 -in certs.pem -out card.pem");
        fs::read_to_string(self.file("card.pem")).unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.host.post(format!("{}{path}", self.url)).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// A fresh challenge's name, and OpenSSL's signature over its message with `card.key`.
    async fn signed_challenge(&self, digest: &str) -> (Value, String) {
        let (status, answer) = self.post("/v1/challenges", json!({})).await;
        assert_eq!(status, 200);
        let challenge = STANDARD.decode(answer["challenge"].as_str().unwrap()).unwrap();
        openssl(self.path(), "x509 -in card.pem -outform DER -out card.der");
        let hash = Sha256::digest(fs::read(self.file("card.der")).unwrap()).into();
        fs::write(self.file("message"), authentication_message(&challenge.try_into().unwrap(), &hash))
            .unwrap();
        openssl(self.path(), &format!("dgst -{digest} -sign card.key -out signature message"));
        (answer["challenge_id"].clone(), STANDARD.encode(fs::read(self.file("signature")).unwrap()))
    }

    async fn verify(&self, digest: &str) -> Value {
        let (id, signature) = self.signed_challenge(digest).await;
        let certificate = fs::read_to_string(self.file("card.pem")).unwrap();
        let body = json!({ "challenge_id": id, "certificate": certificate, "signature": signature });
        self.post("/v1/verifications", body).await.1
    }
}

#[tokio::test]
async fn every_key_is_certified_and_verified() {
    let authority = start().await;
    for (key, digest) in [
        ("rsa:2048", "sha256"),
        ("rsa:3072", "sha256"),
        ("ec -pkeyopt ec_paramgen_curve:P-256", "sha256"),
        ("ec -pkeyopt ec_paramgen_curve:P-384", "sha384"),
    ] {
        let request = authority.request(key);
        authority.enrol("simpleenroll", &request).await;
        openssl(authority.path(), "verify -CAfile issuing-ca.pem card.pem");
        assert!(
            openssl(authority.path(), "x509 -in card.pem -noout -subject").contains("CN = card"),
            "{key}"
        );
        assert_eq!(authority.verify(digest).await, json!({ "result": "success" }), "{key}");
    }
}

#[tokio::test]
async fn the_same_request_gets_the_same_certificate_and_a_renewal_a_new_one() {
    let authority = start().await;
    let request = authority.request("rsa:2048");
    assert_eq!(authority.est("simplereenroll", &request).await.status(), 400);
    let first = authority.enrol("simpleenroll", &request).await;
    assert_eq!(authority.enrol("simpleenroll", &request).await, first);
    let renewed = authority.enrol("simplereenroll", &request).await;
    assert_ne!(renewed, first);
    assert_eq!(authority.enrol("simplereenroll", &request).await, renewed);
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_everywhere() {
    let authority = start().await;
    let request = authority.request("ec -pkeyopt ec_paramgen_curve:P-256");
    let certificate = authority.enrol("simpleenroll", &request).await;
    assert!(ocsp(&authority).await.contains("card.pem: good"));
    let body = json!({ "certificate": certificate, "reason": "cessationOfOperation" });
    assert_eq!(
        authority.post("/v1/revocations", body.clone()).await.1,
        json!({ "revoked": true, "already": false })
    );
    assert_eq!(authority.post("/v1/revocations", body).await.1, json!({ "revoked": true, "already": true }));
    assert_eq!(authority.verify("sha256").await, json!({ "result": "failure", "reason": "revoked" }));
    assert!(ocsp(&authority).await.contains("card.pem: revoked"));
    let crl = authority.anybody.get(format!("{}/crl", authority.url)).send().await.unwrap();
    fs::write(authority.file("crl.der"), crl.bytes().await.unwrap()).unwrap();
    openssl(authority.path(), "crl -inform DER -in crl.der -out crl.pem");
    let refused =
        try_openssl(authority.path(), "verify -crl_check -CAfile issuing-ca.pem -CRLfile crl.pem card.pem");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("revoked"));
}

/// OpenSSL's verdict on the OCSP answer for `card.pem`.
async fn ocsp(authority: &Running) -> String {
    openssl(authority.path(), "ocsp -issuer issuing-ca.pem -cert card.pem -reqout request.der");
    let request = fs::read(authority.file("request.der")).unwrap();
    let answer =
        authority.anybody.post(format!("{}/ocsp", authority.url)).body(request).send().await.unwrap();
    fs::write(authority.file("response.der"), answer.bytes().await.unwrap()).unwrap();
    let words = "ocsp -issuer issuing-ca.pem -cert card.pem -reqin request.der -no_nonce -respin response.der -CAfile issuing-ca.pem";
    openssl(authority.path(), words)
}

#[tokio::test]
async fn only_a_fresh_signature_by_the_certified_key_succeeds() {
    let authority = start().await;
    let request = authority.request("ec -pkeyopt ec_paramgen_curve:P-256");
    let certificate = authority.enrol("simpleenroll", &request).await;
    let (id, signature) = authority.signed_challenge("sha256").await;
    let body = json!({ "challenge_id": id, "certificate": certificate, "signature": signature });
    assert_eq!(authority.post("/v1/verifications", body.clone()).await.1["result"], "success");
    assert_eq!(authority.post("/v1/verifications", body).await.1["reason"], "unknown-challenge");
    openssl(authority.path(), "ecparam -name prime256v1 -genkey -noout -out card.key");
    assert_eq!(authority.verify("sha256").await["reason"], "bad-signature");
    openssl(authority.path(), "req -x509 -new -key card.key -subj /CN=card -days 9 -out card.pem");
    assert_eq!(authority.verify("sha256").await["reason"], "unknown-issuer");
}

#[tokio::test]
async fn bad_input_is_refused_and_changes_nothing() {
    let authority = start().await;
    for request in ["", "not base64!", "AAAA", &STANDARD.encode([0x30; 4000])] {
        assert_eq!(authority.est("simpleenroll", request).await.status(), 400, "{request}");
    }
    let good = authority.request("ec -pkeyopt ec_paramgen_curve:P-256");
    let mut bytes = STANDARD.decode(&good).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(authority.est("simpleenroll", &STANDARD.encode(&bytes)).await.status(), 400);
    let small = authority.request("rsa:1024");
    assert_eq!(authority.est("simpleenroll", &small).await.status(), 400);
    let huge = "A".repeat(1 << 20);
    assert_eq!(authority.est("simpleenroll", &huge).await.status(), 413);
    for (path, body) in [
        ("/v1/challenges", json!({ "extra": 1 })),
        ("/v1/verifications", json!({ "challenge_id": "x" })),
        ("/v1/verifications", json!({ "challenge_id": "x", "certificate": "x", "signature": "" })),
        ("/v1/revocations", json!({ "certificate": "x" })),
    ] {
        assert_eq!(authority.post(path, body).await.0, 400, "{path}");
    }
    let answer = authority.anybody.post(format!("{}/ocsp", authority.url)).body("x").send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap()[..], [0x30, 0x03, 0x0A, 0x01, 0x01], "malformedRequest");
}

#[tokio::test]
async fn everything_that_changes_something_needs_a_host_credential() {
    let authority = start().await;
    let paths = [
        "/.well-known/est/simpleenroll",
        "/.well-known/est/simplereenroll",
        "/v1/challenges",
        "/v1/verifications",
        "/v1/revocations",
    ];
    for path in paths {
        let answer =
            authority.anybody.post(format!("{}{path}", authority.url)).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
    let public =
        authority.anybody.get(format!("{}/.well-known/est/cacerts", authority.url)).send().await.unwrap();
    assert_eq!(public.status(), 200);
}
