//! The pairing authorities behind their EST labels, with OpenSSL as the judge of their certificates and of the list.

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{Running, openssl, start, start_as, try_openssl};

const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const LABELS: [&str; 2] = ["pairing-cards", "pairing-terminals"];

/// Fetches the list of terminals into `crl.pem`; its number.
async fn list(authority: &Running) -> u64 {
    let answer = authority.anybody.get(format!("{}/pairing/crl", authority.url)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/pkix-crl");
    fs::write(authority.file("crl.der"), answer.bytes().await.unwrap()).unwrap();
    openssl(authority.path(), "crl -inform DER -in crl.der -out crl.pem");
    let verified = try_openssl(authority.path(), "crl -in crl.pem -CAfile pairing-terminals-ca.pem -noout");
    assert!(String::from_utf8_lossy(&verified.stderr).contains("verify OK"));
    let number = openssl(authority.path(), "crl -in crl.pem -noout -crlnumber");
    u64::from_str_radix(number.trim().trim_start_matches("crlNumber=0x"), 16).unwrap()
}

/// OpenSSL's verdict on `card.pem` by `crl.pem`, for people.
fn checked(authority: &Running) -> String {
    let words = "verify -crl_check -CAfile pairing-terminals-ca.pem -CRLfile crl.pem card.pem";
    let output = try_openssl(authority.path(), words);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn a_pairing_certificate_is_for_key_agreement_and_chains_to_its_own_authority() {
    let authority = start().await;
    for label in LABELS {
        let address = format!("{}/.well-known/est/{label}/cacerts", authority.url);
        let answer = authority.anybody.get(address).send().await.unwrap();
        let base64: String = answer.text().await.unwrap().split_whitespace().collect();
        fs::write(authority.file("ca.p7"), STANDARD.decode(base64).unwrap()).unwrap();
        openssl(authority.path(), "pkcs7 -inform DER -in ca.p7 -print_certs -out certs.pem");
        openssl(authority.path(), "x509 -in certs.pem -out ca.pem");
        let told = fs::read_to_string(authority.file("ca.pem")).unwrap();
        let own = fs::read_to_string(authority.file(&format!("{label}-ca.pem"))).unwrap();
        assert_eq!(told.trim(), own.replace("\r\n", "\n").trim());

        let request = authority.request(P256);
        authority.enrol(&format!("{label}/simpleenroll"), &request).await;
        for name in ["issuing", "service", LABELS[0], LABELS[1]] {
            let verified = try_openssl(authority.path(), &format!("verify -CAfile {name}-ca.pem card.pem"));
            assert_eq!(verified.status.success(), name == label, "{label} by {name}");
        }
        let text = openssl(authority.path(), "x509 -in card.pem -noout -subject -text");
        assert!(text.contains("subject=CN = card"), "{text}");
        assert!(text.contains("X509v3 Key Usage: critical\n                Key Agreement\n"), "{text}");
        assert_eq!(text.matches("X509v3").count(), 2, "the heading and this extension: {text}");
    }
}

#[tokio::test]
async fn only_a_p256_key_is_certified_to_pair() {
    let authority = start().await;
    for key in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-384", "ec -pkeyopt ec_paramgen_curve:secp256k1"]
    {
        let request = authority.request(key);
        for label in LABELS {
            let refused = authority.est(&format!("{label}/simpleenroll"), &request).await;
            assert_eq!(refused.status(), 400, "{label} {key}");
        }
    }
    for request in ["", "not base64!", &STANDARD.encode([0x30; 4000])] {
        assert_eq!(authority.est("pairing-cards/simpleenroll", request).await.status(), 400, "{request}");
    }
    for operation in LABELS
        .map(|label| ["simpleenroll", "simplereenroll"].map(|name| format!("{label}/{name}")))
        .as_flattened()
    {
        let address = format!("{}/.well-known/est/{operation}", authority.url);
        let request = authority.request(P256);
        assert_eq!(authority.anybody.post(address).body(request).send().await.unwrap().status(), 401);
    }
    for path in ["pairing-cards/serverkeygen", "pairing/cacerts", "pairing/simpleenroll", "other/cacerts"] {
        assert_eq!(authority.est(path, "").await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn the_same_request_pairs_with_the_same_certificate_until_it_is_revoked() {
    let authority = start().await;
    let mut issued = Vec::new();
    for label in LABELS {
        let [enroll, renew] = ["simpleenroll", "simplereenroll"].map(|name| format!("{label}/{name}"));
        let request = authority.request(P256);
        assert_eq!(authority.est(&renew, &request).await.status(), 400);
        // Other authorities certified this key: that counts nothing here, nor is it the same request.
        for other in ["simpleenroll", "pairing-cards/simpleenroll", "pairing-terminals/simpleenroll"] {
            if other != enroll {
                issued.push(authority.enrol(other, &request).await);
            }
        }
        assert_eq!(authority.est(&renew, &request).await.status(), 400);
        let first = authority.enrol(&enroll, &request).await;
        assert!(!issued.contains(&first));
        assert_eq!(authority.enrol(&enroll, &request).await, first);
        let renewed = authority.enrol(&renew, &request).await;
        assert_ne!(renewed, first);
        assert_eq!(authority.enrol(&renew, &request).await, renewed);
        for certificate in [&first, &renewed] {
            authority.post("/v1/revocations", json!({ "certificate": certificate })).await;
        }
        assert_eq!(authority.est(&renew, &request).await.status(), 400);
        assert_ne!(authority.enrol(&enroll, &request).await, first);
    }
}

/// A host has one request of a card, which may have slept over the end of its certificate.
#[tokio::test]
async fn a_cards_certificate_is_renewed_time_and_again_with_one_request() {
    let authority = start_as(|authority| authority.with_pairing_validity(Duration::ZERO)).await;
    let request = authority.request(P256);
    let mut issued = vec![authority.enrol("pairing-cards/simpleenroll", &request).await];
    for _ in 0..3 {
        let renewed = authority.enrol("pairing-cards/simplereenroll", &request).await;
        assert!(!issued.contains(&renewed));
        issued.push(renewed);
    }
    let of_terminal = authority.request(P256);
    authority.enrol("pairing-terminals/simpleenroll", &of_terminal).await;
    let expired = authority.est("pairing-terminals/simplereenroll", &of_terminal).await;
    assert_eq!(expired.status(), 400, "it has expired");
}

/// Whoever revokes a card's certificate means the card.
#[tokio::test]
async fn the_revocation_of_a_cards_certificate_is_one_of_its_key() {
    let authority = start().await;
    let request = authority.request(P256);
    let first = authority.enrol("pairing-cards/simpleenroll", &request).await;
    let renewed = authority.enrol("pairing-cards/simplereenroll", &request).await;
    let as_terminal = authority.enrol("pairing-terminals/simpleenroll", &request).await;
    let other = authority.enrol("pairing-cards/simpleenroll", &authority.request(P256)).await;
    for (certificate, already) in [(&first, false), (&renewed, true), (&other, false), (&as_terminal, false)]
    {
        let answer = authority.post("/v1/revocations", json!({ "certificate": certificate })).await;
        assert_eq!(answer, (200, json!({ "revoked": true, "already": already })));
    }
    assert_eq!(authority.est("pairing-cards/simplereenroll", &request).await.status(), 400);
}

#[tokio::test]
async fn a_revoked_terminal_is_on_its_own_list_whose_number_rises_and_a_card_on_none() {
    let authority = start().await;
    let before = list(&authority).await;
    let request = authority.request(P256);
    let card = authority.enrol("pairing-cards/simpleenroll", &request).await;
    let revoked = authority.post("/v1/revocations", json!({ "certificate": card })).await;
    assert_eq!(revoked, (200, json!({ "revoked": true, "already": false })));
    let request = authority.request(P256);
    let certificate = authority.enrol("pairing-terminals/simpleenroll", &request).await;
    assert_eq!(list(&authority).await, before, "nothing was revoked");
    assert!(checked(&authority).contains("card.pem: OK"));
    let body = json!({ "certificate": certificate, "reason": "cessationOfOperation" });
    for already in [false, true] {
        let answer = authority.post("/v1/revocations", body.clone()).await;
        assert_eq!(answer, (200, json!({ "revoked": true, "already": already })));
    }
    assert_eq!(list(&authority).await, before + 1);
    assert!(checked(&authority).contains("certificate revoked"));
    let other = authority.anybody.get(format!("{}/crl", authority.url)).send().await.unwrap();
    fs::write(authority.file("other.der"), other.bytes().await.unwrap()).unwrap();
    let other = openssl(authority.path(), "crl -inform DER -in other.der -noout -text");
    assert!(other.contains("No Revoked Certificates"), "{other}");
    let own = openssl(authority.path(), "crl -in crl.pem -noout -text");
    assert_eq!(own.matches("Serial Number").count(), 1, "{own}");
}

#[tokio::test]
async fn a_pairing_certificate_authenticates_nobody() {
    let authority = start().await;
    let request = authority.request(P256);
    for label in LABELS {
        authority.enrol(&format!("{label}/simpleenroll"), &request).await;
        assert_eq!(authority.verify("sha256").await["reason"], "unknown-issuer");
        // By OCSP neither: to the issuing authority its serial number is unknown.
        assert!(status(&authority, "issuing", "-sha1").await.contains("card.pem: unknown"), "{label}");
    }
}

/// OpenSSL's words about the status of `card.pem`, verified by the certificate of the authority that is asked.
async fn status(authority: &Running, ca: &str, hash: &str) -> String {
    status_of(authority, &format!("{hash} -issuer {ca}-ca.pem -cert card.pem"), ca).await
}

async fn status_of(authority: &Running, what: &str, ca: &str) -> String {
    let asked = format!("ocsp {what}");
    openssl(authority.path(), &format!("{asked} -reqout request.der"));
    let request = fs::read(authority.file("request.der")).unwrap();
    let answer = authority.anybody.post(format!("{}/ocsp", authority.url)).body(request).send().await;
    fs::write(authority.file("response.der"), answer.unwrap().bytes().await.unwrap()).unwrap();
    openssl(authority.path(), &format!("{asked} -no_nonce -respin response.der -CAfile {ca}-ca.pem"))
}

#[tokio::test]
async fn the_status_of_a_card_is_answered_by_its_authority_and_lasts_an_hour() {
    let authority = start().await;
    let request = authority.request(P256);
    let certificate = authority.enrol("pairing-cards/simpleenroll", &request).await;
    for hash in ["-sha1", "-sha256", "-sha384"] {
        let good = status(&authority, "pairing-cards", hash).await;
        assert!(good.contains("card.pem: good") && good.contains("Next Update: "), "{good}");
    }
    let renewed = authority.enrol("pairing-cards/simplereenroll", &request).await;
    authority.post("/v1/revocations", json!({ "certificate": renewed, "reason": "keyCompromise" })).await;
    for pem in [&certificate, &renewed] {
        fs::write(authority.file("card.pem"), pem).unwrap();
        let revoked = status(&authority, "pairing-cards", "-sha256").await;
        assert!(revoked.contains("card.pem: revoked") && revoked.contains("keyCompromise"), "{revoked}");
    }
    let request = authority.request(P256);
    authority.enrol("pairing-terminals/simpleenroll", &request).await;
    let serial = openssl(authority.path(), "x509 -in card.pem -noout -serial");
    let of_terminal = format!("0x{}", serial.trim().trim_start_matches("serial="));
    let asked = format!("-sha256 -issuer pairing-cards-ca.pem -serial {of_terminal}");
    let told = status_of(&authority, &asked, "pairing-cards").await;
    assert!(told.contains(&format!("{of_terminal}: unknown")), "{told}");
}
